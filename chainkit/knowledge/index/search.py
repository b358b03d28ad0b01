"""Passages ranked by meaning and by words together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from chainkit.knowledge.index.closeness import Closeness
from chainkit.knowledge.readers.plain import stems, words
from chainkit.knowledge.readers.scripts import is_unspaced
from chainkit.knowledge.readers.split import Passage

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor

    from chainkit.knowledge.index.filters import Filter

DENSE_WEIGHT = 0.5  # see benchmarks/answers.py
NEIGHBOURS = 0.2
REPEATS = 3
CANDIDATES = 100
RANKED = 2_000
LOOKED_AT = 50_000
SAME = 0.9
_QUOTE = re.compile('"')


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found.

    Attributes:
        id: The passage's number in its index.
        score: Between 0 and 1, comparable only within one search; with a reranker what that one says.
        meaning: Cosine between question and passage, -1 to 1.
        words: BM25 of the question's words, 0 if none occurs.
        metadata: Metadata stored with a text that is not a file, or by a reader.
        is_file: Whether the passage comes from a file.
    """

    passage: Passage
    id: int = -1
    score: float = 0.0
    meaning: float = 0.0
    words: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_file: bool = True


@runtime_checkable
class Searchable(Protocol):
    """What can be asked: an `Index`, or a vector store in its place."""

    def find(
        self,
        question: str,
        k: int = 6,
        *,
        filter: Filter | None = None,  # noqa: A002 - LangChain's word for it
        dense_weight: float | None = None,
        min_similarity: float = -1.0,
        join_adjacent: bool = False,
        reranker: BaseDocumentCompressor | str | None = None,
    ) -> list[Hit]:
        """The passages that fit a question best."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of length 1, (N, D)."""
        ...


def check_wanted(k: int, dense_weight: float | None = None) -> None:
    """Refuse a number of passages, or a share of meaning, that cannot be.

    Raises:
        ValueError: `k` is below 1, or the share is not between 0 and 1.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    if dense_weight is not None and not 0 <= dense_weight <= 1:
        raise ValueError(f"dense_weight must be between 0 and 1, got {dense_weight}")


def terms(question: str) -> list[str]:
    """The words of a question as FTS5 takes them, repeats kept; nothing in them acts as an operator.

    A single character of a script without spaces asks for all pieces that begin with it.

    >>> terms('What is a "GGUF" file?'), terms("水")
    (['"gguf"', '"file"'], ['"水"*'])
    """
    found = words(question)
    found = [word for word in found if len(word) > 1 or not word.isascii() or word.isdecimal()] or found
    return [f'"{_QUOTE.sub("", word)}"{"*" * (len(word) == 1 and is_unspaced(word))}' for word in found]


def telling(frequencies: Mapping[str, int], passages: int) -> list[str]:
    """The terms worth looking up, the rarest first, one at least.

    Those that stand in more than half of the passages have no weight in BM25. And each passage that holds a term costs
    time, so that in a large index the rarest come first until half of the passages are looked at.
    """
    light = [term for term, count in frequencies.items() if 2 * count <= passages] or list(frequencies)
    return _rarest(light, frequencies, max(LOOKED_AT, passages // 2))


def split_rare(terms: Iterable[str], frequencies: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """The rarest terms, as many as stand in `RANKED` passages together, but one at least; and the other terms."""
    listed = list(terms)
    rare = _rarest(listed, frequencies, RANKED)
    return rare, sorted(set(listed) - set(rare), key=lambda term: frequencies[term])


def fuse(
    question: str,
    texts: Sequence[str],
    meaning: NDArray[np.float64],
    by_words: NDArray[np.float64],
    dense_weight: float,
) -> NDArray[np.float64]:
    """One score from meaning and words, 0 to 1; each part is first stretched to 0..1 over the candidates.

    Words are BM25 in equal parts of whole words and of character sequences, and a little for words that stand
    together as in the question. Shares rather than ranks: ranks forget by how much a passage is better, and then
    the weaker of two searches pulls the stronger one down.

    Args:
        texts: The candidates, with their headings.
        meaning: Their cosines.
        by_words: Their BM25, 0 where no word matches.
        dense_weight: The weight of meaning, 0 to 1.
    """
    if dense_weight == 1:
        return stretched(meaning)
    close = Closeness(question)
    characters, neighbours = close.to(texts)
    half, beside = close.share / 2, close.share * NEIGHBOURS
    words = (1 - half) * stretched(by_words) + half * stretched(characters) + beside * stretched(neighbours)
    total = dense_weight + (1 - dense_weight) * (1 + beside)
    return (dense_weight * stretched(meaning) + (1 - dense_weight) * words) / total


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


def _rarest(terms: Iterable[str], frequencies: Mapping[str, int], most: int) -> list[str]:
    """The rarest terms, as many as stand in `most` passages together, but one at least."""
    ordered = sorted(terms, key=lambda term: frequencies[term])
    totals = accumulate(frequencies[term] for term in ordered)
    return [term for at, (term, total) in enumerate(zip(ordered, totals, strict=True)) if not at or total <= most]


def _alike(one: set[str], other: set[str]) -> bool:
    if not one or not other:
        return one == other
    return len(one & other) >= SAME * len(one | other)


def stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values moved to 0..1 over the candidates; where all are the same, 1 if they are above 0, else 0."""
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    return (values - low) / (high - low) if high > low else np.full_like(values, float(high > 0))
