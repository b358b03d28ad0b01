"""Saved KV cache of a text, so that a long prefix is computed only once.

The file begins with an eight-byte magic, the length of a JSON header and the header: the model and settings it was made
for, its tokens, and the hash of the rest, which is in llama.cpp's own format.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainkit.backends.llama_cpp.contexts import flash
from chainkit.base.copying import put
from chainkit.base.errors import ModelFileError, StateMismatch

if TYPE_CHECKING:
    from chainkit.backends.llama_cpp.runtime import LlamaRuntime

VERSION = 1
_MAGIC = b"ckstate\x01"
_LONGEST_HEADER = 1 << 28
_SAMPLE = 1 << 16


@dataclass(frozen=True)
class SavedState:
    """A text and its KV cache.

    Attributes:
        tokens: The text.
        data: llama.cpp's own bytes.
    """

    tokens: list[int]
    data: bytes


def fingerprint(runtime: LlamaRuntime) -> dict[str, Any]:
    """What must be the same for a state to fit: the model's file, its adapters, and how keys and values are stored."""
    weights, settings = runtime.weights, runtime.settings
    return {
        "model": _sample(weights.path),
        "adapters": [[_sample(adapter.path), adapter.scale] for adapter in settings.adapters],
        "library": f"{weights.library.layout.package} {weights.library.layout.version}",
        "kv_type": settings.kv_type,
        "flash_attention": flash(weights, settings),
    }


def write(path: Path, state: SavedState, made_for: dict[str, Any]) -> None:
    """Write a state; a file that is there is replaced in one step."""
    digest = hashlib.sha256(state.data).hexdigest()
    header = made_for | {"version": VERSION, "tokens": state.tokens, "bytes": len(state.data), "sha256": digest}
    head = json.dumps(header).encode()
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(_MAGIC + struct.pack("<I", len(head)) + head)
            file.write(state.data)
        put(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path, made_for: dict[str, Any]) -> SavedState:
    """Read a state.

    Raises:
        ModelFileError: The file is absent, damaged or of another kind.
        StateMismatch: It was made with another model or other settings; the message says which.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ModelFileError(path, f"cannot be read ({error.strerror})") from error
    header, data = _parts(path, raw)
    for name, value in made_for.items():
        if header.get(name) != value:
            raise StateMismatch(path, _difference(name, header.get(name), value))
    if len(data) != header.get("bytes") or hashlib.sha256(data).hexdigest() != header.get("sha256"):
        raise ModelFileError(path, "is damaged or cut short; save the state again")
    return SavedState(header["tokens"], data)


def _parts(path: Path, raw: bytes) -> tuple[dict[str, Any], bytes]:
    start = len(_MAGIC) + 4
    if raw[: len(_MAGIC)] != _MAGIC or len(raw) < start:
        raise ModelFileError(path, "is not a saved state of chainkit")
    (length,) = struct.unpack_from("<I", raw, len(_MAGIC))
    try:
        header = json.loads(raw[start : start + min(length, _LONGEST_HEADER)])
    except ValueError as error:
        raise ModelFileError(path, "is damaged or cut short; save the state again") from error
    version = header.get("version") if isinstance(header, dict) else None
    if version != VERSION:
        raise ModelFileError(path, f"has version {version!r}, and {VERSION} is known; save the state again")
    tokens = header.get("tokens")
    if not isinstance(tokens, list) or not tokens or not all(type(token) is int for token in tokens):
        raise ModelFileError(path, "is damaged: it holds no tokens")
    return header, raw[start + length :]


def _difference(name: str, found: object, wanted: object) -> str:
    if name in ("model", "adapters"):
        return f"was made with {'another model' if name == 'model' else 'other adapters'}; save it again with this one"
    return f"was made with {name}={found}, and this model has {name}={wanted}; save it again, or load it as it was made"


def _sample(path: Path) -> str:
    """The hash of a file's length, beginning, middle and end: reading all of a model would take as long as its text."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for place in (0, size // 3, 2 * size // 3, max(0, size - _SAMPLE)):
            file.seek(place)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def vocabulary_fits(tokens: Sequence[int], size: int) -> bool:
    """Whether all tokens are ones that a model has."""
    return all(0 <= token < size for token in tokens)
