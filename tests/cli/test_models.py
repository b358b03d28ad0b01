from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from chainkit import registry
from chainkit.backends.openai.services import SERVICES, Service
from chainkit.backends.partners import PARTNERS, Partner
from chainkit.base.keys import KEY_VARIABLES
from chainkit.base.paths import models_dir
from chainkit.base.settings import settings_file, user_settings
from chainkit.cli import models
from chainkit.cli.models import NEEDS, Needs

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_every_provider_of_the_registry_has_a_row() -> None:
    assert set(registry.providers()) - set(registry.ALIASES) <= set(NEEDS)


def test_every_extra_that_is_named_exists() -> None:
    extras = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    assert {NEEDS[name].extra for name in registry.providers() if name in NEEDS} - {""} <= set(extras)


def test_every_provider_that_needs_a_key_has_a_variable() -> None:
    assert {needs.key for needs in NEEDS.values()} - {""} <= set(KEY_VARIABLES)


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda service: service.name)
def test_a_service_needs_what_its_profile_says(service: Service) -> None:
    needs = NEEDS[service.name]
    assert (needs.extra, needs.key) == ("openai", service.keys or "")
    assert needs.address == ("" if service.base_url else service.base_url_variable)
    assert needs.server == ("" if service.keys else service.base_url_variable)


@pytest.mark.parametrize("partner", PARTNERS, ids=lambda partner: partner.name)
def test_a_partner_needs_what_its_row_says(partner: Partner) -> None:
    key = partner.provider if partner.key_option else ""
    assert NEEDS[partner.provider] == Needs((partner.package,), partner.extra, key)


def rows(run) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in json.loads(run("models", "--json").stdout)["providers"]}


def test_what_lacks_a_key_says_how_to_set_it(run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    assert rows(run)["openai"]["fix"] == "chainkit keys set openai"
    assert rows(run)["openai"]["usable"] is False
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abcdef0123456789")
    assert rows(run)["openai"] == {
        "name": "openai",
        "offers": ["chat", "text", "embeddings"],
        "installed": True,
        "key": "OPENAI_API_KEY",
        "usable": True,
        "fix": None,
    }


def test_a_partner_is_shown_as_the_others_are(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NEEDS, "cohere", Needs(("no_such_library",), "cohere", "cohere"))
    assert rows(run)["cohere"]["fix"] == "pip install 'chainkit[cohere]'"
    monkeypatch.setitem(NEEDS, "cohere", Needs(("json",), "cohere", "cohere"))
    assert rows(run)["cohere"]["fix"] == "chainkit keys set cohere"
    assert "no key (CO_API_KEY or COHERE_API_KEY)" in run("models").stdout


def test_a_service_without_an_address_says_how_to_name_it(run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "sk-abcdef0123456789")
    assert rows(run)["azure_openai"]["fix"] == "export AZURE_OPENAI_BASE_URL=..."
    assert "no address" in run("models").stdout
    monkeypatch.setenv("AZURE_OPENAI_BASE_URL", "https://mine.openai.azure.com/openai/v1")
    assert rows(run)["azure_openai"]["usable"] is True


def test_a_key_under_another_name_counts(run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.setenv("HF_TOKEN", "hf-abcdef0123456789")
    assert rows(run)["huggingface_router"]["key"] == "HF_TOKEN"


def test_a_server_that_was_not_asked_is_not_called_ready(run) -> None:
    pytest.importorskip("openai")
    line = next(line for line in run("models").stdout.splitlines() if line.startswith("ollama"))
    assert "ready" not in line
    assert "OLLAMA_BASE_URL" in line


def test_what_can_be_used_comes_first(run) -> None:
    names = [line.split()[0] for line in run("models").stdout.splitlines() if line]
    usable = {name for name, row in rows(run).items() if row["usable"]}
    listed = [name for name in names if name in NEEDS]
    assert set(listed[: len(usable)]) == usable


def test_what_lacks_a_library_says_how_to_install_it(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NEEDS, "gguf", Needs(("no_such_library|nor_this",), "gguf"))
    assert rows(run)["gguf"]["fix"] == "pip install 'chainkit[gguf]'"
    assert "pip install 'chainkit[gguf]'" in run("models").stdout


def test_one_of_several_libraries_is_enough() -> None:
    assert models._installed("no_such_library|json")
    assert not models._installed("no_such_library|nor_this")


def test_local_models_are_listed_with_their_names(run) -> None:
    assert f"put a GGUF file into {models_dir()}" in run("models").stdout
    models_dir().mkdir(parents=True)
    path = models_dir() / "small.gguf"
    path.write_bytes(b"x" * 1500)
    assert json.loads(run("models", "--json").stdout)["files"] == [
        {"path": str(path), "bytes": 1500, "spec": f"gguf:{path}"}
    ]
    shown = run("models").stdout
    assert f"gguf:{path}" in shown
    assert "1.5 kB" in shown


def test_the_model_used_without_a_name_is_shown(run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(run("models", "--json").stdout)["default"] is None
    monkeypatch.setenv("CHAINKIT_MODEL", "fake:?api_key=sk-hidden")
    assert json.loads(run("models", "--json").stdout)["default"] == "fake:?api_key=***"
    assert "Used without --model: fake:?api_key=***" in run("models").stdout


def test_a_default_is_set_shown_and_forgotten(run, monkeypatch: pytest.MonkeyPatch) -> None:
    set_ = run("models", "default", "fake:?reply=mine")
    assert set_.stdout == f"used without -m from now on: fake:?reply=mine (saved in {settings_file()})\n"
    assert run("models", "default").stdout == "fake:?reply=mine\n"
    assert run("chat", "hello").stdout == "mine\n"
    assert "Used without --model: fake:?reply=mine" in run("models").stdout
    monkeypatch.setenv("CHAINKIT_MODEL", "fake:?reply=variable")
    assert run("chat", "hello").stdout == "variable\n"
    assert "CHAINKIT_MODEL is set and wins" in run("models", "default", "--forget").stderr
    monkeypatch.delenv("CHAINKIT_MODEL")
    assert "no language model is set up" in run("models", "default").stderr


def test_a_default_that_is_a_file_is_kept_with_its_whole_path(run, tmp_path: Path) -> None:
    Path("m.gguf").write_bytes(b"x")
    for given in ("m.gguf", "gguf:./m.gguf"):
        run("models", "default", given)
        assert user_settings().model == f"gguf:{tmp_path / 'm.gguf'}"


def test_an_alias_is_set_listed_used_and_forgotten(run) -> None:
    assert run("models", "alias", "short", "fake:?reply=a").stdout.startswith(
        "short is an alias of fake:?reply=a (saved in "
    )
    run("models", "alias", "other", "short?reply=b")
    assert [line.split() for line in run("models", "alias").stdout.splitlines()[2:]] == [
        ["other", "fake:?reply=b"],
        ["short", "fake:?reply=a"],
    ]
    assert run("models", "alias", "other").stdout == "fake:?reply=b\n"
    assert json.loads(run("models", "--json").stdout)["aliases"] == {"short": "fake:?reply=a", "other": "fake:?reply=b"}
    assert run("chat", "-m", "other", "hello").stdout == "b\n"
    assert run("complete", "-m", "short", "hello").stdout == "a\n"
    assert run("models", "alias", "--forget", "short").stdout == "forgot the alias short\n"
    assert "no alias is named 'othre'; did you mean 'other'" in run("models", "alias", "othre").stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["default", "opnai:x"], "did you mean 'openai'"),
        (["default", ""], "the name of a model is empty"),
        (["alias", "x", "nothing"], "names no provider"),
        (["alias", "openai", "fake:"], "it is the name of a provider"),
        (["alias", "a:b", "fake:"], "letters, digits and the signs"),
        (["alias", "none"], "no alias is named 'none'"),
    ],
)
def test_a_default_or_alias_that_cannot_be_is_refused(run, arguments: list[str], told: str) -> None:
    result = run("models", *arguments)
    assert result.exit_code == 1
    assert told in result.stderr
    assert not settings_file().exists()


def test_keys_in_aliases_are_not_shown(run) -> None:
    shown = [run("models", "alias", "mine", "openai:x?api_key=sk-secret-1"), run("models", "alias"), run("models")]
    assert not any("secret" in one.output for one in shown)
