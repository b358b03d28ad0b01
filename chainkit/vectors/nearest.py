"""Find the items most similar to a query, and near-duplicate texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from langchain_core.embeddings import Embeddings

from chainkit.base import opening
from chainkit.base.errors import BadTexts, BadVectors
from chainkit.base.hiding import hides_given_keys
from chainkit.vectors.given import DEFAULT, Items, are_texts, checked_vectors, unit, vectors_of

Array = np.ndarray[Any, Any]

_ROWS_AT_ONCE = 1024
_COLUMNS_AT_ONCE = 16_384  # 64 MB of cosines at a time


Alike = Literal["duplicate", "paraphrase"]

LEVELS: Mapping[str, float] = {"duplicate": 0.9, "paraphrase": 0.7}
"""The least cosine of near-duplicates and of paraphrases, for MiniLM.

On the labelled pairs of MSRP, 0.7 has the best F1 (0.80: precision 0.75, recall 0.85); 0.9 finds 32 % of the
paraphrases, with a precision of 0.88.
"""


@dataclass(frozen=True)
class Match:
    """An item that is like a question.

    Attributes:
        row: Index among the items.
        score: Cosine, -1 to 1.
        text: The item; None where vectors were given.
    """

    row: int
    score: float
    text: str | None = None


@dataclass(frozen=True)
class Pair:
    """Two items that are alike.

    Attributes:
        first: Row of one.
        second: Row of the other, above `first`.
        score: Cosine, -1 to 1.
    """

    first: int
    second: int
    score: float


@hides_given_keys
def search(query: str | Array, items: Items, embeddings: Embeddings | str | None = None, k: int = 5) -> list[Match]:
    """The k items most like the query, the best first; of equal ones, the first.

    >>> [match.row for match in search([1.0, 0.0], [[0.0, 1.0], [1.0, 0.1], [2.0, 2.0]], k=2)]
    [1, 2]

    Args:
        query: A text, or its vector (D).
        items: Texts, or vectors (N x D), also from an array on disk.
        embeddings: What turns texts into vectors, an object or a spec, None for "minilm"; the query goes through
            `embed_query`.
        k: Maximum number of matches.

    Raises:
        BadTexts: The query or an item is blank, or the items are not texts.
        BadVectors: Vectors that are not finite, or differ in length.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    if isinstance(query, str) or are_texts(items):  # opened once for both
        embeddings = opening.embeddings(DEFAULT if embeddings is None else embeddings)
    wanted = _query_vector(query, embeddings)
    vectors = vectors_of(items, embeddings)
    if wanted.shape[1] != vectors.shape[1]:
        raise BadVectors(
            f"vectors differ in length: the query has {wanted.shape[1]} numbers, the items have {vectors.shape[1]} each"
        )
    direction = unit(wanted)[0]
    scores = np.concatenate([unit(vectors[rows]) @ direction for rows in _slices(len(vectors), _COLUMNS_AT_ONCE)])
    best = np.argsort(-scores, kind="stable")[:k]
    texts: Any = items if are_texts(items) else None
    return [Match(int(row), float(scores[row]), None if texts is None else str(texts[row])) for row in best]


@hides_given_keys
def pairs(items: Items, embeddings: Embeddings | str | None = None, above: float | Alike = "duplicate") -> list[Pair]:
    """All pairs of items whose cosine is at least `above`, the most alike first.

    Every pair is looked at, 64 MB of cosines at a time: N x N / 2 x D steps, and memory for the pairs that are found.

    >>> [(pair.first, pair.second) for pair in pairs([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])]
    [(0, 2)]

    Args:
        items: Texts, or vectors (N x D), also from an array on disk.
        embeddings: What turns texts into vectors, an object or a spec; None is "minilm".
        above: "duplicate" or "paraphrase", see `LEVELS`, or the least cosine, -1 to 1.

    Raises:
        BadTexts: No texts, blank ones, or things that are not texts.
        BadVectors: Vectors that are not finite, or differ in length.
    """
    if isinstance(above, str):
        if above not in LEVELS:
            raise ValueError(f"above must be a cosine or one of {', '.join(LEVELS)}, got {above!r}")
        above = LEVELS[above]
    if not -1 <= above <= 1:
        raise ValueError(f"above is a cosine and must be between -1 and 1, got {above}")
    vectors = vectors_of(items, embeddings)
    found: list[Pair] = []
    for rows in _slices(len(vectors), _ROWS_AT_ONCE):
        block = unit(vectors[rows])
        for columns in _slices(len(vectors), _COLUMNS_AT_ONCE):
            if columns.stop <= rows.start:
                continue  # pairs with an earlier row are found there
            # rounding must not lose equal texts when above is 1
            cosines = np.clip(np.round(block @ unit(vectors[columns]).T, 6), -1, 1)
            for row, column in np.argwhere(cosines >= above):
                if (first := rows.start + int(row)) < (second := columns.start + int(column)):
                    found.append(Pair(first, second, float(cosines[row, column])))
    return sorted(found, key=lambda pair: (-pair.score, pair.first, pair.second))


def _query_vector(query: str | Array, embeddings: Any) -> Array:
    if not isinstance(query, str):
        return checked_vectors([query])
    if not query.strip():
        raise BadTexts("the query is blank")
    return checked_vectors([embeddings.embed_query(query)])


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
