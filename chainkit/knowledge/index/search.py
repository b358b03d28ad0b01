"""Passages ranked by meaning and by words together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from chainkit.knowledge.index.split import Passage
from chainkit.knowledge.readers.plain import stems, words

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor

    from chainkit.knowledge.index.filters import Filter

LEAST_MEANING, MOST_MEANING, STEEPNESS = 0.2, 0.9, 1.5  # see benchmarks/retrieval.py
LEAST_WEIGHT, COMPARED = 0.25, 100
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
    """The words of a question as FTS5 takes them; nothing in them acts as an operator.

    >>> terms('What is a "GGUF" file?')
    ['"gguf"', '"file"']
    """
    return [f'"{_QUOTE.sub("", word)}"' for word in dict.fromkeys(words(question))]


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


def share_of_meaning(frequencies: Mapping[str, int], held: Set[str], passages: int) -> float:
    """How much meaning should count against words, from how much of the question the best passage by words holds.

    Where that passage holds every word, words are trusted; where it holds few of the rarer ones, they are only a
    coincidence. A fixed share cannot do both: 0.3 fell 1% behind meaning alone on a set of docstrings, and larger
    shares lose where meaning is much weaker than words.

    Args:
        frequencies: How many passages hold each term.
        held: The terms that the best passage holds.
        passages: How many passages there are.
    """
    weights = {term: math.log(1 + (passages - n + 0.5) / (n + 0.5)) for term, n in frequencies.items()}
    total = math.fsum(weights.values())  # exact, so that a part is never more than the whole
    covered = math.fsum(weights[term] for term in held) / total if total > 0 else 0.0
    return LEAST_MEANING + (MOST_MEANING - LEAST_MEANING) * (1 - covered) ** STEEPNESS


def standing_out(cosines: NDArray[np.float32]) -> float:
    """How far the nearest of all passages stands out from the others, as a weight for meaning: `LEAST_WEIGHT` to 1.

    Where none is nearer than chance would have it (the largest of N normal numbers is about sqrt(2 ln N)), the model
    does not tell these passages apart, as with texts longer than it reads, and the words should decide. Too few
    passages show nothing, and weigh 1.
    """
    spread = float(cosines.std()) if len(cosines) >= COMPARED else 0.0
    if not spread:
        return 1.0
    excess = (float(cosines.max()) - float(cosines.mean())) / spread - math.sqrt(2 * math.log(len(cosines)))
    return min(1.0, max(LEAST_WEIGHT, (excess + 1.5) / 2))


def fuse(meaning: NDArray[np.float64], by_words: NDArray[np.float64], share: float) -> NDArray[np.float64]:
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


def _rarest(terms: Iterable[str], frequencies: Mapping[str, int], most: int) -> list[str]:
    """The rarest terms, as many as stand in `most` passages together, but one at least."""
    ordered = sorted(terms, key=lambda term: frequencies[term])
    totals = accumulate(frequencies[term] for term in ordered)
    return [term for at, (term, total) in enumerate(zip(ordered, totals, strict=True)) if not at or total <= most]


def _alike(one: set[str], other: set[str]) -> bool:
    if not one or not other:
        return one == other
    return len(one & other) >= SAME * len(one | other)


def _stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    return (values - low) / (high - low) if high > low else np.full_like(values, float(high > 0))
