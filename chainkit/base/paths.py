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


def _place(kind: str, variable: str, default: str) -> Path:
    if home := os.environ.get("CHAINKIT_HOME"):
        return Path(home).expanduser() / kind
    if base := os.environ.get(variable):
        return Path(base) / "chainkit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "chainkit" / kind
    return Path.home() / default / "chainkit"
