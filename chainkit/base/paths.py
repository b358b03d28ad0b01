"""Where chainkit keeps what it stores for a user."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def config_dir() -> Path:
    """The folder of settings and keys: `CHAINKIT_HOME`, else the system's place for settings."""
    return _place("config", "XDG_CONFIG_HOME", ".config")


def cache_dir() -> Path:
    """The folder of what can be made again: converted models, embeddings."""
    return _place("cache", "XDG_CACHE_HOME", ".cache")


def models_dir() -> Path:
    """The folder of downloaded models: `CHAINKIT_MODELS`, else a folder beside other user data."""
    if chosen := os.environ.get("CHAINKIT_MODELS"):
        return Path(chosen).expanduser()
    return _place("data", "XDG_DATA_HOME", ".local/share") / "models"


def parts(path: Path) -> list[Path]:
    """All files of a model in several files ("-00001-of-00003.gguf"), or the one file.

    >>> [part.name for part in parts(Path("m-00001-of-00002.gguf"))]
    ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf']
    """
    stem, mark, total = path.name.removesuffix(".gguf").rpartition("-of-")
    head, dash, number = stem.rpartition("-")
    numbered = mark and dash and len(number) == len(total) == 5 and number.isdecimal() and total.isdecimal()
    if not numbered or int(total) > 999:
        return [path]
    return [path.with_name(f"{head}-{part:05d}-of-{total}.gguf") for part in range(1, int(total) + 1)]


def _place(kind: str, variable: str, default: str) -> Path:
    if home := os.environ.get("CHAINKIT_HOME"):
        return Path(home).expanduser() / kind
    if base := os.environ.get(variable):
        return Path(base) / "chainkit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "chainkit" / kind
    return Path.home() / default / "chainkit"
