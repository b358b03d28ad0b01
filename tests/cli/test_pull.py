"""`chainkit pull` against the hub on loopback, through to a model that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from chainkit.hub.local import folder_of, pulled_gguf
from tests.hub.conftest import DEMO, hub  # noqa: F401 - a fixture
from tests.hub.server import Hub

REPO = "org/demo-GGUF"


@pytest.fixture
def stocked(hub: Hub) -> Hub:  # noqa: F811
    data = DEMO.read_bytes()
    hub.repos[REPO] = {"demo.Q8_0.gguf": data, "demo.Q4_0.gguf": data, "README.md": b"hi"}
    hub.repos["org/one"] = {"demo-q8_0.gguf": data}
    return hub


def test_size_and_fit_are_said_and_the_name_to_use_is_the_result(run, stocked: Hub) -> None:
    result = run("pull", f"{REPO}:Q8_0")
    assert result.stdout == f"gguf:{REPO}:Q8_0\n"
    assert "demo.Q8_0.gguf, 3.8 MB; needs 122 MB of" in result.stderr
    assert "on this machine with a context of 2048: fits" in result.stderr
    assert pulled_gguf(f"{REPO}:q8_0").read_bytes() == DEMO.read_bytes()


def test_a_pulled_model_runs_by_its_short_name_and_is_listed(run, stocked: Hub) -> None:
    pytest.importorskip("jinja2")
    spec = run("pull", f"{REPO}:Q8_0").stdout.strip()
    stocked.requests.clear()
    answer = run("complete", "The lighthouse", "--model", spec, "--max-tokens", "3")
    assert answer.exit_code == 0, answer.stderr
    (listed,) = json.loads(run("models", "--json").stdout)["files"]
    assert listed["bytes"] == DEMO.stat().st_size
    assert f"{REPO}/demo.Q8_0.gguf" in run("models").stdout
    assert sized(run, spec)["parameters"] == 3_476_224
    assert stocked.requests == []


def sized(run, spec: str) -> dict:
    result = run("size", spec, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["model"]


def test_the_size_of_a_model_on_the_hub_needs_its_header_only(run, stocked: Hub) -> None:
    assert sized(run, f"gguf:{REPO}:Q4_0") == sized(run, f"{REPO}:Q4_0") | {"name": "demo.Q4_0.gguf"}
    assert [span for _, span in stocked.downloads()] == ["bytes=0-1048575"] * 2


def test_a_model_of_an_unknown_kind_is_fetched_without_a_verdict(run, stocked: Hub) -> None:
    stocked.repos["org/odd"] = {"config.json": b'{"model_type": "odd"}', "model.safetensors": b"\2\0\0\0\0\0\0\0{}"}
    result = run("pull", "org/odd")
    assert result.stdout == "hf:org/odd\n"
    assert "whether it fits cannot be said" in result.stderr


def test_what_was_not_pulled_says_the_command(run, stocked: Hub) -> None:
    result = run("complete", "x", "--model", f"gguf:{REPO}:Q8_0")
    assert result.exit_code == 1
    assert f"run: chainkit pull {REPO}:Q8_0" in result.stderr


def test_several_models_are_listed_and_nothing_is_fetched(run, stocked: Hub) -> None:
    result = run("pull", REPO)
    assert result.exit_code == 1
    assert f"{REPO} has 2 models; name one of them" in result.stderr
    assert "Q4_0 (0.00 GB)" in result.stderr
    assert stocked.downloads() == []


def test_a_dry_run_reads_the_header_only(run, stocked: Hub) -> None:
    told = json.loads(run("pull", "org/one", "--dry-run", "--json", "--device", "pi4-2gb").stdout)
    assert (told["bytes"], told["answer"], told["path"]) == (DEMO.stat().st_size, "fits", None)
    assert [span for _, span in stocked.downloads()] == ["bytes=0-1048575"]
    assert not folder_of("org/one").exists()


def test_what_does_not_fit_is_not_fetched_unless_forced(run, stocked: Hub) -> None:
    result = run("pull", "org/one", "--ram", "100MB")
    assert result.exit_code == 1
    assert "does not fit 0.1 GB of memory; --force" in result.stderr
    assert not folder_of("org/one").exists()
    assert run("pull", "org/one", "--ram", "100MB", "--force").exit_code == 0


def test_offline_shows_what_is_here_and_asks_nobody(run, stocked: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    run("pull", "org/one")
    stocked.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # restored afterwards; the flag sets it for the process
    assert run("pull", "org/one", "--offline").stdout == "gguf:org/one\n"
    result = run("pull", f"{REPO}:Q8_0", "--offline")
    assert "is not here, and offline mode is on" in result.stderr
    assert "offline mode is on" in run("size", f"{REPO}:Q8_0").stderr
    assert stocked.requests == []


def test_a_folder_of_safetensors_runs_by_the_name_of_its_repository(run, stocked: Hub, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.backends.huggingface import tiny

    made = Path(tiny.save(tmp_path / "tiny", tiny.causal("llama"), tiny.bpe()))
    stocked.repos["org/tiny"] = {path.name: path.read_bytes() for path in made.iterdir() if path.is_file()}
    assert run("pull", "org/tiny").stdout == "hf:org/tiny\n"
    stocked.requests.clear()
    answer = run("complete", "the cat", "--model", "hf:org/tiny", "--max-tokens", "2")
    assert answer.exit_code == 0, answer.stderr
    assert "hf:org/tiny" in run("models").stdout
    assert stocked.requests == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nonsense", "is not a model on a hub"),
        ("org/nothing", "has no org/nothing"),
        (f"{REPO}:Q5_K_M", "has no 'Q5_K_M'"),
        ("org/one@v9", "no revision 'v9'"),
    ],
)
def test_wrong_names_are_answered_in_a_line(run, stocked: Hub, name: str, complaint: str) -> None:
    result = run("pull", name)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
