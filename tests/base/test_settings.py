from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from chainkit.base.errors import ChainkitError
from chainkit.base.private import read_object, write_object
from chainkit.base.settings import UserSettings, change_settings, settings_file, user_settings


def test_what_was_not_chosen_has_its_usual_value() -> None:
    assert user_settings() == UserSettings(model="", aliases={}, templates={}, save_conversations=True)


def test_a_change_leaves_the_other_settings() -> None:
    change_settings(model="fake:", aliases={"a": "fake:"})
    path = change_settings(save_conversations=False)
    assert path == settings_file()
    assert user_settings() == UserSettings(model="fake:", aliases={"a": "fake:"}, save_conversations=False)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files")
def test_only_its_user_can_read_it() -> None:
    previous = os.umask(0)
    try:
        change_settings(model="fake:")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(settings_file().stat().st_mode) == 0o600
    assert list(settings_file().parent.iterdir()) == [settings_file()]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not valid JSON"),
        ("[]", "does not hold a JSON object"),
        ('{"save_conversation": false}', "no setting is named 'save_conversation'; did you mean 'save_conversations'"),
        ('{"xyz": 1}', "no setting is named 'xyz'; settings: model, aliases, templates, save_conversations"),
        ('{"save_conversations": "no"}', "'save_conversations' must be true or false"),
        ('{"model": 1}', "'model' must be a text"),
        ('{"aliases": {"a": 1}}', "'aliases' must be an object of texts"),
        ('{"templates": {"a": "b"}}', "'templates' must be an object of objects of texts"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named_and_left(text: str, told: str) -> None:
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text(text)
    with pytest.raises(ChainkitError, match=told) as caught:
        user_settings()
    assert str(settings_file()) in str(caught.value)
    with pytest.raises(ChainkitError):
        change_settings(model="fake:")
    assert settings_file().read_text("utf-8") == text


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_object(path, {"a": 1})
    with pytest.raises(TypeError):
        write_object(path, {"a": object()})
    assert read_object(path) == {"a": 1}
    assert json.loads(path.read_text("utf-8")) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
