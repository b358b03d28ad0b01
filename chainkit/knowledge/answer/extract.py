"""Answers without a language model: the sentences of the passages that come nearest to the question."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainkit.knowledge.answer.citations import Citation, citation, units
from chainkit.knowledge.index.search import Hit
from chainkit.knowledge.readers.plain import stems

SENTENCES = 3
FULL_LENGTH = 3  # terms; what has fewer says little and counts for less
NEAR = 0.8
FLOOR_MEANING = 0.4
FLOOR_WORDS = 0.5
_HEADING_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Extract:
    """What was found.

    Attributes:
        text: The best sentences, each with the number of its passage.
        citations: One for each sentence.
        found: Whether the best of them is near enough to the question to be called an answer.
    """

    text: str
    citations: tuple[Citation, ...]
    found: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    hit: int
    start: int
    end: int
    own: set[str]
    around: set[str]


def extract(
    question: str, hits: Sequence[Hit], embed: Callable[[Sequence[str]], NDArray[np.float32]], count: int = SENTENCES
) -> Extract:
    """The `count` sentences that answer a question best, by meaning and by words.

    Args:
        hits: Where to look, the best first; passage i gets the number i + 1.
        embed: Texts to vectors of length 1, (N, D).
    """
    candidates = _candidates(hits)
    if not candidates:
        return Extract("", (), found=False)
    texts = [" ".join(hits[one.hit].passage.text[one.start : one.end].split()) for one in candidates]
    vectors = embed([question, *texts])
    meaning = vectors[1:] @ vectors[0]
    by_words = _coverage(stems(question), candidates)
    standing = np.array([hits[one.hit].score for one in candidates])
    lengths = np.array([min(1.0, len(one.own) / FULL_LENGTH) for one in candidates])
    scores = (meaning + by_words) * lengths + 0.2 * standing
    chosen = _chosen(candidates, scores, count)
    found = bool(meaning[chosen[0]] >= FLOOR_MEANING or by_words[chosen[0]] >= FLOOR_WORDS)
    text = " ".join(f"{texts[at]} [{candidates[at].hit + 1}]" for at in chosen)
    spans = [(hits[one.hit].passage, one) for one in (candidates[at] for at in chosen)]
    return Extract(text, tuple(citation(one.hit + 1, passage, one.start, one.end) for passage, one in spans), found)


def _candidates(hits: Sequence[Hit]) -> list[_Candidate]:
    found: list[_Candidate] = []
    for number, hit in enumerate(hits):
        headings = stems(" ".join(hit.passage.headings))
        for start, end in _with_what_follows(hit.passage.text):
            own = stems(hit.passage.text[start:end])
            if own and not _is_code(hit.passage.text[start:end]):
                found.append(_Candidate(number, start, end, own, headings))
    return found


def _is_code(text: str) -> bool:
    """Whether a text is a block of code, which answers no question by itself."""
    return text.lstrip().startswith(("```", "~~~"))


def _with_what_follows(text: str) -> Iterator[tuple[int, int]]:
    """What can be quoted, a sentence that ends with a colon together with what it introduces."""
    spans = list(units(text))
    for place, (start, end) in enumerate(spans):
        introduces = text[end - 1] == ":" and place + 1 < len(spans)
        yield start, spans[place + 1][1] if introduces else end


def _coverage(wanted: set[str], candidates: Sequence[_Candidate]) -> NDArray[np.float64]:
    """How much of the question each candidate has, rare words counting more, those of its headings half."""
    frequency = Counter(stem for one in candidates for stem in one.own)
    weights = {stem: math.log(1 + len(candidates) / (0.5 + frequency[stem])) for stem in wanted}
    total = sum(weights.values()) or 1.0
    return np.array(
        [
            sum(
                weight * (1.0 if stem in one.own else _HEADING_SHARE if stem in one.around else 0.0)
                for stem, weight in weights.items()
            )
            / total
            for one in candidates
        ]
    )


def _chosen(candidates: Sequence[_Candidate], scores: NDArray[np.float64], count: int) -> list[int]:
    """The best candidate and those near it that say something else."""
    chosen: list[int] = []
    for at in np.argsort(-scores, kind="stable"):
        if len(chosen) == count or (chosen and scores[at] < NEAR * scores[chosen[0]]):
            break
        own = candidates[at].own
        if all(len(own & candidates[other].own) < 0.7 * min(len(own), len(candidates[other].own)) for other in chosen):
            chosen.append(int(at))
    return chosen
