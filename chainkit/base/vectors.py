"""Post-processing of embeddings: truncate, normalize, quantize."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np

from chainkit.base.errors import BadTexts, Unsupported

Array = np.ndarray[Any, Any]
Storage = Literal["float32", "float16", "int8"]


def texts_of(given: Iterable[Any]) -> list[str]:
    """A list of texts, checked.

    Raises:
        BadTexts: One text instead of a list of them, or things that are not texts.
    """
    if isinstance(given, str):
        raise BadTexts("a list of texts is wanted, got one text; write [text], or use embed_query")
    texts: list[str] = []
    for row, text in enumerate(given):
        if not isinstance(text, str):
            raise BadTexts(f"text {row} is of type {type(text).__name__}, not str")
        texts.append(text)
    return texts


def fluency_of(embeddings: Any, texts: Sequence[str]) -> float:
    """How well a model knows the languages of texts, 0 to 1, where it says so, else 1."""
    while not hasattr(embeddings, "fluency") and hasattr(embeddings, "embeddings"):  # a cache
        embeddings = embeddings.embeddings
    return float(embeddings.fluency(texts)) if hasattr(embeddings, "fluency") else 1.0


def unit(vectors: Array) -> Array:
    """Normalize vectors to length 1; a zero vector is returned unchanged.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)


def first_dimensions(vectors: Array, count: int | None) -> Array:
    """The first numbers of each vector, as models are trained for by Matryoshka representation learning.

    Kusupati et al. 2022, "Matryoshka Representation Learning". Other models lose much by it.

    Args:
        vectors: N x D.
        count: How many to keep; None keeps all.

    Raises:
        Unsupported: There are fewer.
    """
    if count is None or not len(vectors):
        return vectors if count is None else vectors[:, :count]
    if count > vectors.shape[1]:
        raise Unsupported(f"{count} dimensions were asked for, and the model's vectors have {vectors.shape[1]}")
    return vectors[:, :count]


def stored_as(vectors: Array, storage: Storage) -> Array:
    """The vectors as numbers of this type.

    In int8 each vector is stretched so that its largest number is 127 or -127: directions, and with them cosines, stay
    within about 0.01; lengths are lost.

    >>> stored_as(np.array([[0.6, -0.8]], np.float32), "int8").tolist()
    [[95, -127]]

    Args:
        vectors: N x D, float32.
        storage: "float32", "float16" or "int8": 4, 2 or 1 byte for each number.

    Raises:
        ValueError: Another type.
    """
    if storage not in get_args(Storage):
        raise ValueError(f"vectors can be stored as {', '.join(get_args(Storage))}, not as {storage!r}")
    if storage != "int8":
        return vectors.astype(storage, copy=False)
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    return np.round(vectors * (127 / np.where(largest == 0, 1, largest))).astype(np.int8)
