from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from chainkit.base.keys import find_key, keys_file, store_key

SECRET = "sk-abcdef0123456789"


def test_a_key_is_read_from_standard_input_and_never_shown(run) -> None:
    result = run("keys", "set", "OpenAI", input=f"{SECRET}\n")
    assert result.exit_code == 0
    assert SECRET not in result.output
    key = find_key("openai")
    assert key is not None
    assert key.secret == SECRET


@pytest.mark.skipif(sys.platform == "win32", reason="modes")
def test_only_the_user_can_read_the_file(run) -> None:
    run("keys", "set", "openai", input=SECRET)
    assert stat.S_IMODE(keys_file().stat().st_mode) == 0o600


@pytest.mark.parametrize("extra", [[SECRET], [f"--key={SECRET}"], ["--key", SECRET], ["a", SECRET]])
def test_a_key_as_an_argument_is_refused_without_repeating_it(run, extra: list[str]) -> None:
    result = run("keys", "set", "openai", *extra)
    assert result.exit_code == 2
    assert "not given as an argument" in result.stderr
    assert SECRET not in result.output
    assert find_key("openai") is None


@pytest.mark.parametrize("text", ["", " \n", "two words", "two\nlines", "schlüssel", "a\x07b"])
def test_what_cannot_be_a_key_is_refused_and_not_shown(run, text: str) -> None:
    result = run("keys", "set", "openai", input=text)
    assert result.exit_code == 1
    assert not text.strip() or text.strip() not in result.output
    assert find_key("openai") is None


def test_an_unknown_provider_gets_the_nearest_name(run) -> None:
    assert "did you mean 'openai'?" in run("keys", "set", "opnai", input=SECRET).stderr
    assert "providers with keys: openai" in run("keys", "set", "zzz", input=SECRET).stderr


def test_the_list_says_where_each_key_comes_from(run, monkeypatch: pytest.MonkeyPatch) -> None:
    store_key("openai", SECRET)
    monkeypatch.setenv("GROQ_API_KEY", SECRET)
    result = run("keys", "list", "--json")
    sources = {row["provider"]: row["source"] for row in json.loads(result.stdout)}
    assert sources["openai"] == str(keys_file())
    assert sources["groq"] == "GROQ_API_KEY"
    assert sources["anthropic"] is None
    table = run("keys", "list")
    assert "not set (ANTHROPIC_API_KEY)" in table.stdout
    assert SECRET[:6] not in result.output + table.output


def test_the_environment_wins_and_the_user_is_told(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-environment")
    assert "OPENAI_API_KEY is set too and wins" in run("keys", "set", "openai", input=SECRET).stderr
    assert "still set" in run("keys", "forget", "openai").stderr
    assert "unset it there" in run("keys", "forget", "openai").stderr


def test_a_forgotten_key_is_gone(run) -> None:
    store_key("openai", SECRET)
    assert run("keys", "forget", "openai").exit_code == 0
    assert find_key("openai") is None
    again = run("keys", "forget", "openai")
    assert again.exit_code == 1
    assert "no key for openai is stored" in again.stderr


def test_a_stored_key_of_a_provider_that_is_gone_can_be_forgotten(run) -> None:
    store_key("oldcorp", SECRET)
    assert run("keys", "forget", "oldcorp").exit_code == 0


def test_a_broken_file_of_keys_is_named(run) -> None:
    keys_file().parent.mkdir(parents=True)
    keys_file().write_text("{")
    result = run("keys", "list")
    assert result.exit_code == 1
    assert "not valid JSON" in result.stderr


def test_a_key_is_stored_under_the_name_that_an_alias_stands_for(run) -> None:
    assert run("keys", "set", "together-ai", input=SECRET).exit_code == 0
    assert find_key("together") is not None
    assert run("keys", "forget", "gemini").exit_code == 1


def test_a_key_in_the_current_folder_is_listed_and_wins(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainkit.base.keys.ENV_FILE", ".env")
    (tmp_path / ".env").write_text(f"XAI_API_KEY={SECRET}\n")
    result = run("keys", "list", "--json")
    assert {row["provider"]: row["source"] for row in json.loads(result.stdout)}["xai"].startswith("XAI_API_KEY in ")
    assert "XAI_API_KEY in" in run("keys", "set", "xai", input=SECRET).stderr
    assert SECRET not in result.output
