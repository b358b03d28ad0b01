"""Models that were pulled: where they lie, and the command that brings one that is not here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainkit.base.errors import ModelFileError, SpecError
from chainkit.base.paths import models_dir, parts
from chainkit.hub.choice import HubFile, chosen
from chainkit.hub.names import HubName, is_hub_name

RECORD = ".pulled.json"
"""In the folder of a repository: what came from where."""


@dataclass(frozen=True)
class LocalModel:
    """A model on the disk.

    Attributes:
        path: Its file, the first of its files, or its folder.
        size: Bytes of all its files.
        spec: What to write for it.
    """

    path: Path
    size: int
    spec: str


def folder_of(repo: str) -> Path:
    """Where the files of a repository go: a folder of the same name in the models folder."""
    return models_dir() / repo


def record(repo: str) -> dict[str, Any]:
    """Name -> size and hashes of the files that were pulled from a repository; empty if none were."""
    try:
        value = json.loads((folder_of(repo) / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    files = value.get("files") if isinstance(value, dict) else None
    return files if isinstance(files, dict) else {}


def pulled_gguf(text: str) -> Path:
    """The GGUF file of a name like `ORG/REPO:Q4_K_M`.

    Raises:
        ModelFileError: It was not pulled yet; the message has the command.
        SpecError: The name is none, or fits several files that were pulled.
    """
    name = HubName.parse(text)
    folder = folder_of(name.repo)
    here = [
        HubFile(path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.glob("**/*.gguf"))
        if path.is_file()
    ]
    if not here:
        raise _not_here(name)
    if name.pick and not any(name.pick.lower() in file.name.lower() for file in here):
        raise _not_here(name)
    return folder / chosen(here, name).files[0].name


def pulled_folder(text: str) -> Path | None:
    """The folder of a transformers model that was pulled; None if `text` names none that was."""
    if not is_hub_name(text):
        return None
    folder = folder_of(HubName.parse(text).repo)
    return folder if (folder / "config.json").is_file() else None


def spec_of(path: Path, name: HubName) -> str:
    """What to write for a model that was pulled: short, and the same on every machine that has pulled it."""
    if path.suffix.lower() != ".gguf":
        return f"hf:{name.repo}"
    try:
        short = f"gguf:{name.repo}:{name.pick}" if name.pick else f"gguf:{name.repo}"
        return short if pulled_gguf(short.partition(":")[2]) == path else f"gguf:{path}"
    except (SpecError, ModelFileError):
        return f"gguf:{path}"


def local_models() -> Iterator[LocalModel]:
    """All models in the models folder, by name: GGUF files, and folders of transformers."""
    root = models_dir()
    for config in sorted(root.glob("*/*/config.json")):
        weights = list(config.parent.glob("*.safetensors"))
        if weights:
            name = config.parent.relative_to(root).as_posix()
            yield LocalModel(config.parent, sum(path.stat().st_size for path in weights), f"hf:{name}")
    for path in sorted(root.glob("**/*.gguf")):
        yield from _gguf(root, path)


def _gguf(root: Path, path: Path) -> Iterator[LocalModel]:
    files = parts(path)
    if path == files[0]:
        yield LocalModel(path, sum(part.stat().st_size for part in files if part.exists()), f"gguf:{path}")


def _not_here(name: HubName) -> ModelFileError:
    return ModelFileError(name, f"was not pulled yet, and there is no file of this name; run: chainkit pull {name}")
