"""Validate the caller's items as vectors."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from chainkit.base import opening
from chainkit.base.errors import BadTexts, BadVectors
from chainkit.base.vectors import fluency_of, texts_of

Array = np.ndarray[Any, Any]
Vectors = Array | Sequence[Sequence[float]]
Items = Sequence[str] | Vectors
Source = Embeddings | Vectors | str | None
"""What turns texts into vectors: an object, a spec such as "minilm", None for `DEFAULT`; or the vectors themselves."""

DEFAULT = "minilm"
"""The spec of the embeddings that stand in where texts come without any."""

_SAMPLE, _FLUENT = 200, 0.1
_ROWS_AT_ONCE = 65_536
_HALF = re.compile("[\ud800-\udfff]")


class UnknownLanguage(UserWarning):
    """The embedding model does not know the language of most texts, so their similarities mean little."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"the embedding model does not know the language of most of these texts (such as {text[:30]!r}), so their "
            "similarities mean little; take a multilingual one, such as "
            "'minilm:intfloat/multilingual-e5-small?query_prompt=query: '"
        )


@dataclass(frozen=True, eq=False)
class Given:
    """Different items in an order of their own, so that no result depends on the order they came in.

    Attributes:
        texts: The different texts, sorted; None where only vectors were given.
        vectors: One for each different item, float32, M x D.
        rows: For each item as it was given, its place in `vectors`; N of them.
    """

    texts: list[str] | None
    vectors: Array
    rows: Array


def read_given(items: Items, embeddings: Source, large: int) -> Given:
    """Sort out equal items and embed each text once.

    Args:
        items: Texts, or vectors (N x D).
        embeddings: What turns texts into vectors, None for `DEFAULT`, or the vectors of the texts themselves.
        large: More vectors than this, given without texts, are taken as they are.

    Raises:
        BadTexts: No texts, blank ones, or things that are not texts.
        BadVectors: Vectors that are not finite or differ in length.
    """
    if not are_texts(items):
        vectors = checked_vectors(items)
        if len(vectors) > large:  # sorting would copy all rows
            return Given(None, vectors, np.arange(len(vectors)))
        unique, rows = np.unique(vectors, axis=0, return_inverse=True)
        return Given(None, unique, rows.reshape(-1))
    texts = checked_texts(items)
    unique = sorted(set(texts))
    places = {text: place for place, text in enumerate(unique)}
    rows = np.array([places[text] for text in texts])
    if embeddings is None or isinstance(embeddings, str | Embeddings):
        return Given(unique, embedded(unique, embeddings), rows)
    vectors = checked_vectors(embeddings)
    if len(vectors) != len(texts):
        raise BadVectors(f"{len(texts)} texts and {len(vectors)} vectors; each text needs its vector")
    first = {text: row for row, text in reversed(list(enumerate(texts)))}
    return Given(unique, vectors[[first[text] for text in unique]], rows)


def vectors_of(items: Items, embeddings: Embeddings | str | None) -> Array:
    """The vectors of items in their own order, float32, N x D; raises as `read_given`."""
    if not are_texts(items):
        return checked_vectors(items)
    texts = checked_texts(items)
    unique = sorted(set(texts))
    places = {text: place for place, text in enumerate(unique)}
    return embedded(unique, embeddings)[[places[text] for text in texts]]


def embedded(texts: list[str], embeddings: Embeddings | str | None) -> Array:
    """The vectors of texts, float32, N x D; through `embed_array` where the embeddings have it.

    Raises:
        BadVectors: The embeddings gave too few vectors, or vectors that cannot be compared.

    Warns:
        UnknownLanguage: The model splits the words of most texts into single letters.
    """
    model: Embeddings = opening.embeddings(DEFAULT if embeddings is None else embeddings)
    direct = getattr(model, "embed_array", None)
    vectors = checked_vectors(direct(texts) if callable(direct) else model.embed_documents(texts))
    if len(vectors) != len(texts):
        raise BadVectors(f"{type(model).__name__} gave {len(vectors)} vectors for {len(texts)} texts")
    sample = texts[:: len(texts) // _SAMPLE + 1]
    foreign = [text for text in sample if any(map(_is_foreign, text))]
    if 2 * len(foreign) > len(sample) and fluency_of(model, foreign) < _FLUENT:
        warnings.warn(UnknownLanguage(foreign[0]), stacklevel=5)
    return vectors


def _is_foreign(letter: str) -> bool:
    """Whether a letter is of another script than the Latin one."""
    return letter > "\u024f" and letter.isalpha()


def checked_texts(items: Items, *, blank_too: bool = False) -> list[str]:
    """The items as a list of texts.

    Raises:
        BadTexts: One of them is not text, not valid Unicode, or (unless `blank_too`) blank.
    """
    texts = texts_of(items)
    for row, text in enumerate(texts):
        if not text.isascii() and _HALF.search(text):
            raise BadTexts(f"text {row} has half of a surrogate pair, which is not a character; read it as UTF-8 again")
    blank = [row for row, text in enumerate(texts) if not text.strip()]
    if blank and not blank_too:
        more = f" and {len(blank) - 5} more" if len(blank) > 5 else ""
        where = ", ".join(map(str, blank[:5]))
        raise BadTexts(f"blank texts have no meaning to compare; leave them out: texts {where}{more}")
    return texts


def checked_vectors(given: Any) -> Array:
    """Vectors as float32, N x D.

    Raises:
        BadVectors: There are none, they differ in length, or a value is not a finite number.
    """
    vectors = given if isinstance(given, np.ndarray) else _stacked(given)
    if vectors.ndim != 2 or vectors.size == 0:
        raise BadVectors(f"vectors must be a table of N rows and D columns, got an array of shape {vectors.shape}")
    if vectors.dtype.kind not in "fiu":
        raise BadVectors(f"vectors must hold real numbers, got {vectors.dtype}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is named below
        vectors = vectors.astype(np.float32, copy=False)
    bad = [
        start + int(row)
        for start in range(0, len(vectors), _ROWS_AT_ONCE)
        for row in np.flatnonzero(~np.isfinite(vectors[start : start + _ROWS_AT_ONCE]).all(axis=1))
    ]
    if bad:
        raise BadVectors(f"vector {bad[0]} has a value that is not finite (NaN or infinite); {len(bad)} such vectors")
    return vectors


def unit(vectors: Array) -> Array:
    """Normalize vectors to length 1; a zero vector stays zero and is similar to none."""
    # lengths in float64: squares of large float32 numbers are infinite
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    # "unsafe" lets the division write float32 without a float64 copy of everything
    return np.divide(vectors, np.where(lengths == 0, 1, lengths), out=np.empty_like(vectors), casting="unsafe")


def are_texts(items: Items) -> bool:
    """Whether the items are texts rather than vectors.

    Raises:
        BadTexts: There are no items, or a single string was given instead of a list.
    """
    if isinstance(items, str):
        raise BadTexts("a list of texts is wanted, got one text; write [text]")
    if isinstance(items, np.ndarray):
        return items.dtype.kind in "UO"
    if isinstance(items, Mapping | Set | bytes) or not hasattr(items, "__len__"):
        raise BadTexts(f"a list of texts or of vectors is wanted, got {type(items).__name__}; write list(...)")
    if len(items) == 0:
        raise BadTexts("no texts were given")
    return not _is_vector(next(iter(items)))


def counted(items: Items) -> int:
    """How many items there are; raises as `are_texts`."""
    are_texts(items)
    return len(items)


def _is_vector(item: Any) -> bool:
    return isinstance(item, np.ndarray) or (isinstance(item, Sequence) and not isinstance(item, (str, bytes)))


def _stacked(given: Any) -> Array:
    rows = list(given)
    for row, vector in enumerate(rows):
        if not _is_vector(vector):
            raise BadVectors(f"vector {row} is of type {type(vector).__name__}, not a list of numbers")
        if len(vector) != len(rows[0]):
            raise BadVectors(
                f"vectors differ in length: vector 0 has {len(rows[0])} numbers, vector {row} has {len(vector)}; "
                "were they made by different models?"
            )
    try:
        return np.array(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BadVectors(f"vectors must hold real numbers: {error}") from error
