"""The sentences of the passages that come nearest to a question, and how sure it is that they answer it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chainkit.knowledge.answer.citations import Citation, citation, units, without_numbers
from chainkit.knowledge.answer.confidence import MOST_LEAD, Evidence, kind_missing, names_missing
from chainkit.knowledge.index.search import Hit
from chainkit.knowledge.readers.plain import stem, stems, words
from chainkit.knowledge.readers.scripts import is_unspaced, normal

SENTENCES = 3
FULL_LENGTH = 3  # terms; what has fewer says little and counts for less
NEAR = 0.8
NEAR_ELSEWHERE = 0.9
_HEADING_SHARE = 0.5
_STANDING = 0.2
_GRAM = 4
_ELSEWHERE = 3
_WHOLE_CHARACTERS = 1_500
_GAP = re.compile(r"[^\w\u0900-\u0963\u0966-\u0dff]+")
_HOW_TO = re.compile(
    r"\s*(?:how (?:do|can|to|should|would|does one)|what(?:'s| is) the (?:command|code|way)|show me|"
    r"wie (?:kann|mache|macht|richte|starte|installiere|verwende|benutze)|comment |cómo |como |come (?:si|posso))\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_RULE = re.compile(r"\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-{2,}:?[ \t]*)*\|?[ \t]*")

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Extract:
    """The extracted sentences.

    Attributes:
        sentences: The best ones, on one line each, without numbers of citations that the document itself has.
        numbers: For each of them the number of its citation.
        citations: The places, numbered in order of use.
        hits: For each citation the place of its hit.
        confidence: How sure it is that the first sentence answers the question, 0 to 1.
    """

    sentences: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    citations: tuple[Citation, ...] = ()
    hits: tuple[int, ...] = ()
    confidence: float = 0.0

    @property
    def text(self) -> str:
        """The sentences, each with its number."""
        parts = [f"{one} [{number}]" for one, number in zip(self.sentences, self.numbers, strict=True)]
        return ("\n\n" if any("\n" in one for one in self.sentences) else " ").join(parts)


@dataclass(frozen=True, slots=True)
class _Candidate:
    hit: int
    start: int
    end: int
    own: set[str]
    flat: str


def extract(
    question: str,
    hits: Sequence[Hit],
    embed: Callable[[Sequence[str]], Vectors] | None,
    count: int = SENTENCES,
    rarity: Mapping[str, float] | None = None,
    fluency: float = 1.0,
) -> Extract:
    """The `count` sentences that answer a question best, by meaning and by words.

    A question how to do something is answered with the whole passage that shows it, code included.

    Args:
        hits: Where to look, the best first.
        embed: Texts to vectors of length 1, (N, D); None where the model does not know the language.
        rarity: The inverse document frequency of each word of the question, for the confidence; None counts in the
            sentences of the hits, as is done to choose among them.
        fluency: How well the embedding model knows the language, 0 to 1, for the confidence.
    """
    candidates = _candidates(hits)
    if not candidates:
        return Extract()
    texts = [hits[one.hit].passage.text[one.start : one.end] for one in candidates]
    meaning = None
    if embed is not None:
        vectors = embed([question, *(" ".join(text.split()) for text in texts)])
        meaning = (vectors[1:] @ vectors[0]).astype(np.float64)
    held = _Held(question, candidates, hits, rarity)
    standing = np.array([hits[one.hit].score for one in candidates])
    lengths = np.array([min(1.0, len(one.own) / FULL_LENGTH) for one in candidates])
    scores = (held.coverage + (0 if meaning is None else meaning)) * lengths + _STANDING * standing
    best = int(np.argmax(scores))
    confidence = replace(held.evidence(best, meaning, hits), fluency=fluency).confidence
    shown = _shown_whole(question, hits, held) if _HOW_TO.match(question) else None
    if shown is not None:
        return _extract([shown], hits, confidence)
    return _extract([candidates[at] for at in _chosen(candidates, scores, held.words, count)], hits, confidence)


def _candidates(hits: Sequence[Hit]) -> list[_Candidate]:
    found: list[_Candidate] = []
    for number, hit in enumerate(hits):
        for start, end in _with_what_follows(hit.passage.text):
            text = hit.passage.text[start:end]
            own = stems(text)
            after = hit.passage.text[end:].lstrip("| \t").partition("\n")[2].partition("\n")[0]
            names_columns = bool(after.strip()) and _RULE.fullmatch(after.strip()) is not None
            if own and not _is_code(text) and not names_columns and not _RULE.fullmatch(text):
                found.append(_Candidate(number, start, end, own, _flat(text)))
    return found


class _Held:
    """Which words of a question each candidate holds, in any form.

    Attributes:
        words: The question's words, W of them.
        coverage: How much of the question each candidate has, (N,); rare words count more, those of its headings half.
    """

    def __init__(
        self,
        question: str,
        candidates: Sequence[_Candidate],
        hits: Sequence[Hit],
        rarity: Mapping[str, float] | None,
    ) -> None:
        self._question = question
        self.words = list(dict.fromkeys(words(question)))
        self._candidates = candidates
        self._wanted = [(word, stem(word), _grams(word)) for word in self.words]
        self._share = np.array([self._held(one.own, one.flat) for one in candidates])
        headings = [self._held(stems(text), _flat(text)) for text in (" ".join(hit.passage.headings) for hit in hits)]
        around = np.array([headings[one.hit] for one in candidates])
        self._weights = np.log(1 + len(candidates) / (0.5 + (self._share > 0.99).sum(axis=0)))
        self._rarity = self._weights if rarity is None else np.array([rarity[word] for word in self.words])
        self._total = float(self._weights.sum()) or 1.0
        self.coverage: Scores = np.maximum(self._share, _HEADING_SHARE * around) @ self._weights / self._total

    def of_passage(self, hit: Hit) -> Scores:
        """How much of each word a passage holds, with its headings, (W,)."""
        return np.array(self._held(stems(hit.passage.context), _flat(hit.passage.context)))

    def covered(self, hit: Hit) -> float:
        """How much of the question a passage has, with its headings."""
        return float(self.of_passage(hit) @ self._weights) / self._total

    def evidence(self, best: int, meaning: Scores | None, hits: Sequence[Hit]) -> Evidence:
        """What speaks for a candidate."""
        one = self._candidates[best]
        hit = hits[one.hit]
        total = float(self._rarity.sum()) or 1.0
        held = [float(self.of_passage(other) @ self._rarity) / total for other in hits]
        worth = [share + (0 if meaning is None else other.meaning) for share, other in zip(held, hits, strict=True)]
        elsewhere = sorted(worth[: one.hit] + worth[one.hit + 1 :], reverse=True)[:_ELSEWHERE]
        return Evidence(
            meaning=None if meaning is None else float(meaning[best]),
            coverage=held[one.hit],
            lead=worth[one.hit] - sum(elsewhere) / len(elsewhere) if elsewhere else MOST_LEAD,
            match=hit.words / total,
            names=names_missing(self._question, hit.passage.context),
            kind=kind_missing(self._question, hit.passage.text[one.start : one.end]),
        )

    def _held(self, own: set[str], flat: str) -> list[float]:
        return [
            1.0 if root in own or (is_unspaced(word) and word in flat) else _part(grams, flat)
            for word, root, grams in self._wanted
        ]


def _grams(word: str) -> list[str]:
    padded = f" {word} "
    return [] if is_unspaced(word) else [padded[at : at + _GRAM] for at in range(len(padded) - _GRAM + 1)]


def _part(grams: Sequence[str], flat: str) -> float:
    """Share of a word's character n-grams that occur in a text, squared, since small overlaps are chance."""
    return (sum(gram in flat for gram in grams) / len(grams)) ** 2 if grams else 0.0


def _flat(text: str) -> str:
    return f" {_GAP.sub(' ', normal(text).lower())} "


def _is_code(text: str) -> bool:
    """Whether a text is a block of code, which answers no question by itself."""
    return text.lstrip().startswith(("```", "~~~"))


def _with_what_follows(text: str) -> Iterator[tuple[int, int]]:
    """Quotable units; a sentence that ends with a colon includes the text it introduces."""
    spans = list(units(text))
    for place, (start, end) in enumerate(spans):
        introduces = text[end - 1] in ":：" and place + 1 < len(spans)
        yield start, spans[place + 1][1] if introduces else end


def _chosen(candidates: Sequence[_Candidate], scores: Scores, wanted: Sequence[str], count: int) -> list[int]:
    """The best candidate, and those near it that say something else about the question or go on in its passage."""
    chosen: list[int] = []
    asked = {stem(word) for word in wanted}
    for at in np.argsort(-scores, kind="stable").tolist():
        one = candidates[at]
        if len(chosen) == count or (chosen and scores[at] < NEAR * scores[chosen[0]]):
            break
        covered = set[str]().union(*(candidates[other].own for other in chosen))
        beside = any(candidates[other].hit == one.hit for other in chosen)
        new = all(
            len(one.own & candidates[other].own) < 0.7 * min(len(one.own), len(candidates[other].own))
            for other in chosen
        )
        adds = bool(chosen) and scores[at] >= NEAR_ELSEWHERE * scores[chosen[0]] and bool((one.own & asked) - covered)
        if not chosen or (new and (beside or adds)):
            chosen.append(at)
    return chosen


def _shown_whole(question: str, hits: Sequence[Hit], held: _Held) -> _Candidate | None:
    """The passage that shows how, with its code; None where no passage near the best has code."""
    worth = [hit.meaning + held.covered(hit) for hit in hits]
    showing = [
        at
        for at, hit in enumerate(hits)
        if _CODE.search(hit.passage.text)
        and worth[at] >= NEAR * max(worth)
        and _flat(question).strip() not in _flat(hit.passage.text)  # a text that only holds the question itself
    ]
    if not showing:
        return None
    best = max(showing, key=lambda at: (worth[at], -at))
    start, end = _around_code(hits[best].passage.text)
    return _Candidate(best, start, end, set(), "")


def _around_code(text: str) -> tuple[int, int]:
    """A whole passage, or where it is long its first block of code with the paragraph before it."""
    if len(text) <= _WHOLE_CHARACTERS:
        return 0, len(text)
    fences = [match.start() for match in _CODE.finditer(text)]
    end = text.find("\n", fences[1]) if len(fences) > 1 else -1
    before = text.rfind("\n\n", 0, max(0, fences[0] - 2))
    return (before + 2 if before >= 0 else 0), (end if end >= 0 else len(text))


def _extract(chosen: Sequence[_Candidate], hits: Sequence[Hit], confidence: float) -> Extract:
    used: list[int] = []
    sentences: list[str] = []
    numbers: list[int] = []
    citations: list[Citation] = []
    for one in chosen:
        passage = hits[one.hit].passage
        if one.hit not in used:
            used.append(one.hit)
        numbers.append(used.index(one.hit) + 1)
        citations.append(citation(numbers[-1], passage, one.start, one.end))
        text = without_numbers(passage.text[one.start : one.end])
        if _CODE.search(text):
            sentences.append("\n".join([*(f"{passage.headings[-1]}\n" for _ in passage.headings[-1:]), text]))
        else:
            sentences.append(_row(passage.text, one.start, one.end) or " ".join(text.split()))
    return Extract(tuple(sentences), tuple(numbers), tuple(citations), tuple(used), confidence)


def _row(text: str, start: int, end: int) -> str:
    """A row of a Markdown table with the names of its columns; empty where it is none, or the names are not there."""
    lines = text[:start].split("\n")
    if not lines[-1].strip().startswith("|"):
        return ""
    above = [line for line in lines[:-1] if line.strip()]
    rule = next((at for at in range(len(above) - 1, 0, -1) if _RULE.fullmatch(above[at].strip())), 0)
    if not rule:
        return ""
    names = [name.strip() for name in above[rule - 1].strip().strip("|").split("|")]
    values = [value.strip() for value in text[start:end].strip("| ").split("|")]
    if len(names) != len(values):
        return ""
    return ", ".join(f"{name}: {value}" if name else value for name, value in zip(names, values, strict=True))
