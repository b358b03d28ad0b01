"""Passages ranked by meaning and by words together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.knowledge.split import Passage
from chainkit.knowledge.text import stems, words

MEANING_SHARE = 0.3
CANDIDATES = 100
SAME = 0.9
_QUOTE = re.compile('"')


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found.

    Attributes:
        id: The passage's number in its index.
        score: Between 0 and 1, comparable only within one search.
        meaning: Cosine between question and passage, -1 to 1.
        words: BM25 of the question's words, 0 if none occurs.
        metadata: What was stored with a text that is no file, or by a reader.
        is_file: Whether the passage comes from a file.
    """

    passage: Passage
    id: int = -1
    score: float = 0.0
    meaning: float = 0.0
    words: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_file: bool = True


def fts_query(question: str) -> str | None:
    """An FTS5 query for any of the question's words, or None if it has none; nothing in it acts as an operator.

    >>> fts_query('What is a "GGUF" file?')
    '"gguf" OR "file"'
    """
    terms = dict.fromkeys(words(question))
    return " OR ".join(f'"{_QUOTE.sub("", term)}"' for term in terms) or None


def fuse(
    meaning: NDArray[np.float64], by_words: NDArray[np.float64], share: float = MEANING_SHARE
) -> NDArray[np.float64]:
    """One score from two, each first stretched to 0..1 over the candidates.

    Shares rather than ranks: ranks forget by how much a passage is better, and then the weaker of two searches
    pulls the stronger one down.

    Args:
        meaning: Cosines of the candidates.
        by_words: Their BM25, 0 where no word matches.
        share: The weight of meaning, 0 to 1.
    """
    return share * _stretched(meaning) + (1 - share) * _stretched(by_words)


def distinct(hits: Iterable[Hit], k: int) -> list[Hit]:
    """The first `k` hits without those that say nearly the same words as one before them."""
    kept: list[tuple[Hit, set[str]]] = []
    for hit in hits:
        if len(kept) == k:
            break
        own = stems(hit.passage.text)
        if not any(_alike(own, other) for _, other in kept):
            kept.append((hit, own))
    return [hit for hit, _ in kept]


def best(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """The places of the `count` largest scores, the largest first."""
    count = min(count, len(scores))
    if count == 0:
        return np.empty(0, np.intp)
    top = np.argpartition(-scores, count - 1)[:count]
    return top[np.argsort(-scores[top], kind="stable")]


def _alike(one: set[str], other: set[str]) -> bool:
    if not one or not other:
        return one == other
    return len(one & other) >= SAME * len(one | other)


def _stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
