"""Keys are found where users put them, and stay secret."""

import json
import stat
import sys
from pathlib import Path

import pytest

from chainkit.base.errors import ChainkitError, MissingKey
from chainkit.base.keys import find_key, forget_key, keys_file, need_key, store_key, stored_providers


def test_a_stored_key_is_found_and_forgotten() -> None:
    store_key("openai", " sk-stored \n")
    key = need_key("openai")
    assert (key.secret, key.source) == ("sk-stored", str(keys_file()))
    assert stored_providers() == ["openai"]
    assert forget_key("openai")
    assert not forget_key("openai")
    assert find_key("openai") is None


def test_the_environment_wins_over_the_stored_key(monkeypatch: pytest.MonkeyPatch) -> None:
    store_key("openai", "sk-stored")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    assert need_key("openai").source == "OPENAI_API_KEY"


def test_a_second_variable_is_looked_at_when_the_first_is_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CO_API_KEY", " ")
    monkeypatch.setenv("COHERE_API_KEY", "co-2")
    assert need_key("cohere").source == "COHERE_API_KEY"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_only_the_user_can_read_the_keys_file() -> None:
    path = store_key("openai", "sk-1")
    path.chmod(0o644)
    store_key("groq", "sk-2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_not_in_its_repr() -> None:
    store_key("openai", "sk-very-secret")
    assert "very-secret" not in repr(need_key("openai"))


def test_a_missing_key_names_its_variables() -> None:
    with pytest.raises(MissingKey, match="CO_API_KEY or COHERE_API_KEY"):
        need_key("cohere")


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        store_key("openai", "  ")


@pytest.mark.parametrize("content", ["{broken", '["a"]', '{"openai": 3}'])
def test_a_broken_keys_file_is_named_and_its_content_is_not_shown(content: str) -> None:
    keys_file().parent.mkdir(parents=True)
    keys_file().write_text(content)
    with pytest.raises(ChainkitError, match=r"keys\.json") as caught:
        find_key("openai")
    assert content not in str(caught.value)


def test_storing_leaves_other_keys_and_no_temporary_file() -> None:
    store_key("openai", "sk-1")
    store_key("groq", "sk-2")
    assert json.loads(keys_file().read_text("utf-8")) == {"openai": "sk-1", "groq": "sk-2"}
    assert list(Path(keys_file().parent).iterdir()) == [keys_file()]
