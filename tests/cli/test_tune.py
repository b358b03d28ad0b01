from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("peft")

from tests.backends.huggingface import tiny

DEMO = Path(__file__).parents[2] / "examples" / "demo_model"
ROWS = "".join(f"the {one} is,red\n" for one in ("cat", "dog", "house", "sea", "mat", "sky", "hat", "sun"))


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "data.csv").write_text("prompt,answer\n" + ROWS)
    return tiny.save(tmp_path / "model", tiny.causal("llama"), tiny.bpe())


def test_a_plan_a_report_and_a_folder(run, model: str) -> None:
    result = run("tune", model, "data.csv", "-o", "soft", "--epochs", "2", "--virtual-tokens", "3")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.index("all frozen") < result.stdout.index("held-out loss") < result.stdout.index("before")
    assert "wrote soft; its report.html" in result.stderr
    assert Path("soft/report.html").is_file()
    answer = run("complete", "the cat is", "--model", f"hf:{model}?soft_prompt=soft&max_tokens=2")
    assert answer.exit_code == 0, answer.stderr
    again = run("tune", model, "data.csv", "-o", "soft")
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)


def test_json_is_one_object(run, model: str) -> None:
    result = run("tune", model, "data.csv", "-o", "soft", "--epochs", "1", "--json")
    told = json.loads(result.stdout)
    assert told["folder"] == "soft"
    assert told["plan"]["parameters"] == 128
    assert told["loss_after"] <= told["loss_before"]


def test_a_result_that_is_no_better_ends_with_status_1(run, model: str) -> None:
    arguments = ["tune", model, "data.csv", "-o", "soft", "--source-recipe", "--epochs", "1", "--learning-rate", "1e-9"]
    result = run(*arguments, "--seed", "3")
    if result.exit_code:  # whether noise helps this model is a matter of the seed
        assert "nothing was saved" in result.stderr
        assert run(*arguments, "--seed", "3", "--keep-worse").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["absent.csv", "-o", "x"], "absent.csv: there is no such file"),
        (["data.csv"], "Missing option '-o'"),
        (["data.csv", "-o", "x", "--prompt-column", "promt"], "did you mean 'prompt'"),
        (["data.csv", "-o", "x", "--max-steps", "3"], "--max-steps goes with --method lora and full"),
        (["data.csv", "-o", "x", "--method", "full", "--virtual-tokens", "3"], "does not go with --method full"),
        (["data.csv", "-o", "x", "--held-out", "2"], "held_out must be between 0 and 1"),
    ],
)
def test_wrong_words_are_answered_in_one_line(run, model: str, arguments: list[str], fault: str) -> None:
    result = run("tune", model, *arguments)
    assert result.exit_code in (1, 2)
    assert fault.lower() in result.stderr.lower()


def test_bake_names_the_tokens(run) -> None:
    arguments = ["tune", "bake", str(DEMO / "demo-q8_0.gguf"), "out.gguf"]
    result = run(*arguments, f"json={DEMO / 'json_prompt'}")
    assert result.stdout.startswith("json: <|json_0|><|json_1|>"), result.stderr
    assert Path("out.gguf").is_file()
    assert "is not a NAME=FOLDER" in run(*arguments, "json").stderr


def test_help_tells_of_both(run) -> None:
    assert "tune bake" in run("tune", "--help").stdout
    assert "NAME=FOLDER" in run("tune", "bake", "--help").stdout
