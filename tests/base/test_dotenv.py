"""Keys are read from a `.env` file as people write it, and nothing of it is ever shown."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainkit.base import keys
from chainkit.base.dotenv import dotenv_values
from chainkit.base.errors import ChainkitError
from chainkit.base.keys import KEY_VARIABLES, find_key, need_key, store_key, stored_providers


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keys, "ENV_FILE", ".env")
    return tmp_path / ".env"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=x", "x"),
        ("export A=x", "x"),
        ("  A = x  ", "x"),
        ("A='x y'", "x y"),
        ('A="x # y"', "x # y"),
        ('A="x" # why', "x"),
        ("A=x # why", "x"),
        ("A=x#y", "x#y"),
        ("A=x=y==", "x=y=="),
        ("A=$HOME${HOME}\\n", "$HOME${HOME}\\n"),
        ("A=", ""),
        ("A= # why", ""),
        ("A=''", ""),
        ("A=x\r", "x"),
        ("A=1\nA=2", "2"),
        ("\ufeffA=x", "x"),
    ],
)
def test_a_line_is_read_as_people_write_it(file: Path, line: str, value: str) -> None:
    file.write_text(line, "utf-8")
    assert dotenv_values(file) == {"A": value}


@pytest.mark.parametrize("line", ["", "  ", "# A=x", "A", "just words", "=x", "1A=x", "A B=x", "set A=x"])
def test_a_line_without_name_and_sign_says_nothing(file: Path, line: str) -> None:
    file.write_text(f"{line}\nB=y\n")
    assert dotenv_values(file) == {"B": "y"}


@pytest.mark.parametrize("value", ["'secret", '"secret', "\"secret'", "'secret' more", "'"])
def test_a_quotation_mark_without_its_pair_names_the_line_and_not_the_value(file: Path, value: str) -> None:
    file.write_text(f"# first\nA={value}\n")
    with pytest.raises(ChainkitError, match="line 2 of .*env.*quotation mark") as caught:
        dotenv_values(file)
    assert "secret" not in str(caught.value)


def test_what_is_not_utf_8_is_named_only_in_a_value(file: Path) -> None:
    file.write_bytes(b"# Schl\xfcssel\nA=x\n")
    assert dotenv_values(file) == {"A": "x"}
    file.write_bytes(b"A=\xfc\n")
    with pytest.raises(ChainkitError, match="line 1 of .* not UTF-8"):
        dotenv_values(file)


def test_no_file_and_a_folder_of_that_name_hold_nothing(file: Path) -> None:
    assert dotenv_values(file) == {}
    file.mkdir()
    assert dotenv_values(file) == {}


def test_a_file_that_cannot_be_read_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    file.write_text("A=x")
    monkeypatch.setattr(Path, "read_text", refuse)  # root, who runs tests in containers, may read everything
    with pytest.raises(ChainkitError, match="env cannot be read: Permission denied"):
        dotenv_values(file)


@settings(deadline=None)  # it writes a file each time
@given(st.text())
def test_any_text_gives_values_or_an_error_of_chainkit(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.env"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(ChainkitError):
        assert all(name.isidentifier() for name in dotenv_values(path))


def test_the_environment_comes_first_then_the_file_then_the_stored_key(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_key("cohere", "stored")
    assert need_key("cohere").secret == "stored"
    file.write_text("COHERE_API_KEY='in file'\n")
    assert (need_key("cohere").secret, need_key("cohere").source) == ("in file", f"COHERE_API_KEY in {file}")
    monkeypatch.setenv("COHERE_API_KEY", "set")
    assert (need_key("cohere").secret, need_key("cohere").source) == ("set", "COHERE_API_KEY")


def test_a_blank_value_of_the_file_is_none(file: Path) -> None:
    file.write_text("CO_API_KEY=\nCOHERE_API_KEY=' '\n")
    assert find_key("cohere") is None


def test_nothing_but_keys_is_taken_and_the_file_stays_as_it_is(file: Path) -> None:
    before = dict(os.environ)
    text = "GROQ_API_KEY=g\nGROQ_BASE_URL=https://example.org\n"
    file.write_text(text)
    assert need_key("groq").secret == "g"
    store_key("groq", "stored")
    assert file.read_text("utf-8") == text
    assert dict(os.environ) == before
    assert stored_providers() == ["groq"]
    assert all(find_key(provider) is None for provider in KEY_VARIABLES if provider != "groq")


def test_only_the_current_folder_is_looked_at(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("GROQ_API_KEY=g\n")
    below = file.parent / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert find_key("groq") is None
