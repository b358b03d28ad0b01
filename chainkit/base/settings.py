"""What a user has chosen once and for all: the file `settings.json` in the folder of settings.

{
  "model": "gguf:/models/llama.gguf",
  "aliases": {"small": "smollm2:", "big": "openai:gpt-4o"},
  "templates": {"translate": {"system": "Answer in {language}.", "prompt": "", "model": ""}},
  "save_conversations": true
}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeGuard, cast

from chainkit.base.errors import ChainkitError, nearest
from chainkit.base.paths import config_dir
from chainkit.base.private import read_object, write_object


@dataclass(frozen=True, kw_only=True)
class UserSettings:
    """Settings from the file; missing ones have these defaults.

    Attributes:
        model: Spec of the model to use where none is named; empty for none.
        aliases: The user's own names of models, each with its spec.
        templates: Prompt templates by name; each has some of the texts "system", "prompt" and "model".
        save_conversations: Whether `chainkit chat` saves conversations.
    """

    model: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    templates: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    save_conversations: bool = True


def settings_file() -> Path:
    """The file of settings; it need not exist."""
    return config_dir() / "settings.json"


def user_settings() -> UserSettings:
    """What the user has chosen.

    Raises:
        ChainkitError: The file cannot be read, or holds a setting that is unknown or of another kind.
    """
    path = settings_file()
    found = read_object(path)
    known = [one.name for one in fields(UserSettings)]
    for name, value in found.items():
        if name not in known:
            hint = nearest(name, known)
            advice = f"did you mean '{hint}'?" if hint else f"settings: {', '.join(known)}"
            raise ChainkitError(f"{path}: no setting is named '{name}'; {advice}")
        if not _fits(name, value):
            raise ChainkitError(f"{path}: '{name}' must be {_KINDS[name]}; mend it or delete the line")
    return UserSettings(**cast("dict[str, Any]", found))


def change_settings(**values: object) -> Path:
    """Change some settings and leave the others; returns the file.

    Raises:
        ChainkitError: As `user_settings`, or the file cannot be written.
    """
    user_settings()
    path = settings_file()
    write_object(path, read_object(path) | values)
    return path


_KINDS = {
    "model": "a text",
    "aliases": "an object of texts",
    "templates": "an object of objects of texts",
    "save_conversations": "true or false",
}


def _fits(name: str, value: object) -> bool:
    if name == "model":
        return isinstance(value, str)
    if name == "save_conversations":
        return isinstance(value, bool)
    if name == "aliases":
        return _maps_to_text(value)
    return isinstance(value, dict) and all(map(_maps_to_text, cast("dict[str, object]", value).values()))


def _maps_to_text(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(one, str) for one in cast("dict[str, object]", value).values())
