"""Trained virtual tokens before a text: what `chainkit.tune` makes and PEFT calls prompt tuning.

Sessions and runtimes treat a virtual token as a token number above the vocabulary, so a soft prompt is cached, shared
and forked like any other text prefix. Only at the model's input are these numbers replaced by their vectors. After
B. Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning", 2021.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.base.errors import ModelFileError, SoftPromptMismatch

CONFIG, WEIGHTS, FINGERPRINT = "adapter_config.json", "adapter_model.safetensors", "fingerprint.json"
FIRST_VIRTUAL = 1 << 61
_BLOCK = 1 << 16  # numbers for one soft prompt
_DIGEST_BYTES = 5
_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_HEADER_LIMIT = 1 << 20  # bytes
_ALIKE = 0.5  # quantised rows differ by up to 0.4 of their length, those of another model by 1.4

Vectors = NDArray[np.float32]


class SoftPrompt:
    """Virtual tokens with their vectors.

    Attributes:
        name: Where it came from.
        vectors: One for each virtual token, [v, D].
        tokens: Token numbers that stand for them in sessions.
        fingerprint: Fingerprint of the model that it was trained on, or None.
        digest: Hash of the vectors; part of cache keys.
    """

    def __init__(self, name: str, vectors: Vectors, fingerprint: Mapping[str, Any] | None = None) -> None:
        if vectors.ndim != 2 or not 0 < len(vectors) < _BLOCK or not np.isfinite(vectors).all():
            raise ModelFileError(name, f"is not a soft prompt: its vectors are {vectors.shape}, or not finite")
        self.name, self.fingerprint = name, fingerprint
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        digest = hashlib.sha256(self.vectors.tobytes())
        self.digest = digest.hexdigest()
        # from what they hold, so that what one process has stored of a text is right in another
        first = FIRST_VIRTUAL + int.from_bytes(digest.digest()[:_DIGEST_BYTES], "little") * _BLOCK
        self.tokens = list(range(first, first + len(vectors)))
        with _registering:
            self._held = _alive.setdefault(first, _Held(self.vectors))

    def __repr__(self) -> str:
        return f"SoftPrompt({self.name!r}, tokens={self.tokens[0]:x}+{len(self.tokens)})"

    def require_fit(self, width: int, vocabulary: int, rows: Mapping[int, Vectors] | None) -> None:
        """Refuse a model that this was not trained on.

        Args:
            width: D of the model.
            vocabulary: Its number of tokens.
            rows: Vectors of some of its tokens, as far as they can be had.

        Raises:
            SoftPromptMismatch: It is another model.
        """
        if self.vectors.shape[1] != width:
            raise SoftPromptMismatch(
                self.name, f"was trained on a model of width {self.vectors.shape[1]}, and this one has {width}"
            )
        if self.fingerprint is None:
            return
        known = int(self.fingerprint["vocabulary"])
        if known > vocabulary and not rows:
            raise SoftPromptMismatch(self.name, f"was trained on a model of {known} tokens, not {vocabulary}")
        for token, expected in _sampled(self.fingerprint).items():
            if rows and token in rows and _distance(rows[token][: len(expected)], expected) > _ALIKE:
                raise SoftPromptMismatch(self.name, f"was trained on another model: token {token} has another vector")


class _Held:
    """Vectors that are there as long as one of the soft prompts that hold them."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors


_alive: weakref.WeakValueDictionary[int, _Held] = weakref.WeakValueDictionary()
_registering, _lock = threading.Lock(), threading.Lock()


def is_virtual(token: int) -> bool:
    """Whether a token is one of a soft prompt."""
    return token >= FIRST_VIRTUAL


def virtual_count(tokens: Sequence[int]) -> int:
    """How many virtual tokens stand before the others."""
    return next((place for place, token in enumerate(tokens) if token < FIRST_VIRTUAL), len(tokens))


def holder(tokens: Sequence[int]) -> object:
    """What keeps the vectors of the first tokens in memory, if those are virtual."""
    return _alive[_first(tokens[0])] if tokens and is_virtual(tokens[0]) else None


def vectors_of(tokens: Sequence[int]) -> Vectors:
    """The vectors of virtual tokens, [T, D]; somebody must still hold their soft prompts."""
    return np.stack([_alive[_first(token)].vectors[token - _first(token)] for token in tokens])


def _first(token: int) -> int:
    """The first number of the soft prompt that a virtual token belongs to."""
    return token - (token - FIRST_VIRTUAL) % _BLOCK


def sampled_tokens(vocabulary: int) -> list[int]:
    """The tokens whose vectors tell a model from another."""
    return sorted({round(place) for place in np.linspace(3, vocabulary - 1, 16)})


def fingerprint(vocabulary: int, rows: Mapping[int, Vectors]) -> dict[str, Any]:
    """What tells a model from another, also when it is quantised: the first numbers of some rows of its token table."""
    sample = {str(token): [float(f"{value:.4g}") for value in row[:32]] for token, row in rows.items()}
    return {"vocabulary": vocabulary, "rows": sample}


def as_soft_prompt(given: SoftPrompt | str | os.PathLike[str] | None) -> SoftPrompt | None:
    """What a user may give for one: the object, its folder, or nothing.

    Raises:
        ModelFileError: The folder holds no soft prompt.
        TypeError: It is something else.
    """
    if given is None or isinstance(given, SoftPrompt):
        return given
    if isinstance(given, str | os.PathLike):
        return load_soft_prompt(given)
    raise TypeError(f"soft_prompt is a folder or a SoftPrompt, not a {type(given).__name__}")


def load_soft_prompt(folder: str | os.PathLike[str]) -> SoftPrompt:
    """The soft prompt of a folder, as `chainkit.tune` and PEFT write them; read once.

    Raises:
        ModelFileError: The folder holds no soft prompt, or a damaged one, or another kind of adapter.
    """
    path = Path(folder).expanduser()
    try:
        changed = tuple((path / name).stat().st_mtime_ns for name in (CONFIG, WEIGHTS))
    except OSError as error:
        raise ModelFileError(path, f"is not a soft prompt: a folder with {CONFIG} and {WEIGHTS} is expected") from error
    with _lock:
        return _load(path, changed)


@lru_cache(maxsize=256)
def _load(path: Path, _changed: tuple[int, ...]) -> SoftPrompt:
    config = _object(path / CONFIG)
    kind = config.get("peft_type")
    if kind not in ("PROMPT_TUNING", "P_TUNING", "CPT"):
        raise ModelFileError(
            path,
            f"holds an adapter of kind {kind}; soft prompts are PROMPT_TUNING, P_TUNING and CPT of PEFT, "
            "others are loaded with peft.PeftModel.from_pretrained",
        )
    vectors = _vectors(path / WEIGHTS)
    known = _object(path / FINGERPRINT) if (path / FINGERPRINT).is_file() else None
    return SoftPrompt(str(path), vectors, known)


def _vectors(path: Path) -> Vectors:
    data = path.read_bytes()
    length = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else len(data)
    if length > min(len(data) - 8, _HEADER_LIMIT):
        raise ModelFileError(path, "is cut short or no safetensors file")
    try:
        header = json.loads(data[8 : 8 + length])
        entry = header["prompt_embeddings"]
        kind, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        raw, dtype = data[8 + length :][start:end], np.dtype(_DTYPES[kind])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(path, "holds no prompt_embeddings that can be read") from error
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise ModelFileError(path, "is cut short: the numbers of prompt_embeddings are not all there")
    raw = np.frombuffer(raw, dtype)
    values = (raw.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else raw.astype(np.float32)
    return values.reshape(shape)


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelFileError(path, "is not JSON") from error
    if not isinstance(value, dict):
        raise ModelFileError(path, "is JSON, but no object")
    return value


def _sampled(known: Mapping[str, Any]) -> dict[int, Vectors]:
    return {int(token): np.asarray(row, np.float32) for token, row in known["rows"].items()}


def _distance(one: Vectors, other: Vectors) -> float:
    return float(np.linalg.norm(one - other) / max(float(np.linalg.norm(other)), 1e-9))
