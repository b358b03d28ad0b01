"""How well questions are answered: retrieval, answers, citations and refusals, against answers that are known."""

from __future__ import annotations

import json
import math
import os
import re
import string
import time
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainkit.base import opening
from chainkit.base.errors import DocumentError, of_system
from chainkit.base.hiding import hides_given_keys
from chainkit.knowledge.answer.answer import Answer, Asking, begun
from chainkit.knowledge.answer.citations import Citation
from chainkit.knowledge.answer.work import result
from chainkit.knowledge.readers.split import Passage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM

    from chainkit.knowledge.index.search import Searchable

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_CITED = re.compile(r"\[\d[\d,\s]*\]")
_PLACE = re.compile(r"(?P<path>.+?)(?::(?P<first>\d+)(?:-(?P<last>\d+))?|, page (?P<page>\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question whose answer is known.

    Attributes:
        question: As a user would ask it.
        places: Where the answer is, written as in a citation: `docs/gguf.md`, `docs/gguf.md:12-18` or
            `paper.pdf, page 3`.
        answer: The short right answer; empty where only retrieval is measured.
        answerable: False where the documents do not hold the answer.
    """

    question: str
    places: tuple[str, ...] = ()
    answer: str = ""
    answerable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What a least confidence does; None where there is no question of the kind.

    Attributes:
        confidence: The threshold, as `min_confidence` of `ask`.
        refused: Share of the questions without an answer that stay below it: more is better.
        wrongly_refused: Share of the others that do: less is better.
    """

    confidence: float
    refused: float | None
    wrongly_refused: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Means over the questions, between 0 and 1 but for the seconds; None where no question allows to measure it.

    Attributes:
        questions: How many were asked.
        recall: Share of the right places among the passages found.
        reciprocal_rank: 1 for a right passage in the first place, 1/2 in the second, and so on.
        ndcg: Discounted gain of the right passages, 1 if they come first.
        exact: Share of answers that are the right one, case, articles, punctuation and citations aside.
        f1: Words shared with the right answer, precision and recall in balance.
        citation_precision: Share of the citations that name a right place.
        refused: Share of the questions without an answer that were not answered: more is better.
        wrongly_refused: Share of the others that were not answered: less is better.
        seconds: Wall time for one question.
        curve: What other thresholds of confidence would do, from 0.1 to 0.9.
    """

    questions: int
    recall: float | None
    reciprocal_rank: float | None
    ndcg: float | None
    exact: float | None
    f1: float | None
    citation_precision: float | None
    refused: float | None
    wrongly_refused: float | None
    seconds: float | None
    curve: tuple[Threshold, ...] = ()

    def __str__(self) -> str:
        rows = ((field.name, getattr(self, field.name)) for field in fields(self) if field.name != "curve")
        return "\n".join(f"{name:20} {f'{value:.3f}' if isinstance(value, float) else value}" for name, value in rows)


def read_questions(path: str | os.PathLike[str]) -> list[Question]:
    """Questions from JSON lines, each an object with the fields of `Question`.

    Raises:
        DocumentError: The file cannot be read, or a line is not such an object; the error names the line.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError as error:
        raise DocumentError(path, of_system(error)) from error
    except UnicodeError as error:
        raise DocumentError(path, "is not UTF-8; save it as UTF-8") from error
    found: list[Question] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_question(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise DocumentError(path, f"line {number} is not a question: {error}") from error
    return found


@hides_given_keys
def evaluate(
    questions: Iterable[Question],
    index: Searchable,
    *,
    model: BaseChatModel | BaseLLM | str | None = None,
    k: int = 6,
    **settings: Any,
) -> Scores:
    """Ask all questions of an index; `settings` are those of `ask`."""
    settings["reranker"] = opening.reranker(settings.get("reranker"))
    asking = Asking(model=opening.answering(model), k=k, **settings)
    asked: list[tuple[Question, Answer, float]] = []
    for one in questions:
        started = time.perf_counter()
        answer = result(begun(one.question, index, asking)).answer
        asked.append((one, answer, time.perf_counter() - started))
    placed = [(one, answer) for one, answer, _ in asked if one.places]
    known = [(one, answer) for one, answer, _ in asked if one.answer]
    ranked = [(_found(one, answer.passages), set(one.places)) for one, answer in placed]
    return Scores(
        questions=len(asked),
        recall=_mean(recall(row, right) for row, right in ranked),
        reciprocal_rank=_mean(reciprocal_rank(row, right) for row, right in ranked),
        ndcg=_mean(ndcg(row, right) for row, right in ranked),
        exact=_mean(float(exact(answer.text, one.answer)) for one, answer in known),
        f1=_mean(f1(answer.text, one.answer) for one, answer in known),
        citation_precision=_mean(
            float(any(_same(place, cited) for place in one.places))
            for one, answer in placed
            for cited in answer.citations
        ),
        refused=_mean(float(not answer.answered) for one, answer, _ in asked if not one.answerable),
        wrongly_refused=_mean(float(not answer.answered) for one, answer, _ in asked if one.answerable),
        seconds=_mean(seconds for _, _, seconds in asked),
        curve=confidence_curve((answer.confidence, one.answerable) for one, answer, _ in asked),
    )


def confidence_curve(asked: Iterable[tuple[float, bool]]) -> tuple[Threshold, ...]:
    """What each threshold would refuse, of questions with their confidence and whether they have an answer.

    >>> confidence_curve([(0.8, True), (0.3, False)])[3]
    Threshold(confidence=0.4, refused=1.0, wrongly_refused=0.0)
    """
    listed = list(asked)

    def below(least: float, *, answerable: bool) -> float | None:
        return _mean(float(sure < least) for sure, has_answer in listed if has_answer == answerable)

    return tuple(
        Threshold(
            confidence=least,
            refused=below(least, answerable=False),
            wrongly_refused=below(least, answerable=True),
        )
        for least in THRESHOLDS
    )


def as_json(scores: Scores) -> str:
    """The scores for programs."""
    return json.dumps(asdict(scores), indent=2)


def recall(ranked: Sequence[str], right: Set[str]) -> float:
    """Share of the right items that were found.

    >>> recall(["a", "b"], {"b", "c"})
    0.5
    """
    return len(right & set(ranked)) / len(right)


def reciprocal_rank(ranked: Sequence[str], right: Set[str]) -> float:
    """One over the place of the first right one, 0 if there is none.

    >>> reciprocal_rank(["a", "b"], {"b"})
    0.5
    """
    return next((1 / place for place, name in enumerate(ranked, 1) if name in right), 0.0)


def ndcg(ranked: Sequence[str], right: Set[str]) -> float:
    """Normalised discounted cumulative gain with gains of 0 and 1; a name counts once, where it comes first.

    >>> ndcg(["b", "a"], {"b"})
    1.0
    """
    names = list(dict.fromkeys(ranked))
    gain = sum(1 / math.log2(place + 1) for place, name in enumerate(names, 1) if name in right)
    return gain / sum(1 / math.log2(place + 1) for place in range(1, min(len(right), max(len(ranked), 1)) + 1))


def exact(answer: str, right: str) -> bool:
    """Whether two answers are the same but for case, articles, punctuation and citations.

    >>> exact("The hive [1].", "hive")
    True
    """
    return _plain(answer) == _plain(right)


def f1(answer: str, right: str) -> float:
    """Words in common, precision and recall in balance, as SQuAD counts them.

    >>> round(f1("in the old hive [1]", "hive"), 2)
    0.5
    """
    given, wanted = _plain(answer), _plain(right)
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted)) if common else float(given == wanted)


def _plain(text: str) -> list[str]:
    bare = _CITED.sub(" ", text.lower()).translate(str.maketrans("", "", string.punctuation))
    return _ARTICLES.sub(" ", bare).split()


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None


def _found(question: Question, passages: Sequence[Passage]) -> list[str]:
    """For each passage, the first right place that no earlier passage held, otherwise a unique name."""
    left = list(question.places)
    found: list[str] = []
    for number, passage in enumerate(passages):
        held = [place for place in left if _same(place, passage)]
        found.append(held[0] if held else f"\0{number}")
        left = [place for place in left if place not in held[:1]]
    return found


def _same(place: str, passage: Passage | Citation) -> bool:
    match = _PLACE.fullmatch(place)
    assert match is not None  # the pattern takes every text
    if not (passage.path == match["path"] or passage.path.endswith(f"/{match['path'].removeprefix('./')}")):
        return False
    if match["page"]:
        return passage.page == int(match["page"])
    if not match["first"] or passage.first_line is None or passage.last_line is None:
        return True
    first, last = int(match["first"]), int(match["last"] or match["first"])
    return passage.first_line <= last and first <= passage.last_line


def _question(record: Any) -> Question:
    if not isinstance(record, dict) or not str(record.get("question", "")).strip():
        raise ValueError("an object with a 'question' is needed")
    places = record.get("places", ())
    if isinstance(places, str) or not all(isinstance(place, str) and place for place in places):
        raise ValueError("'places' is a list of texts")
    return Question(**{**record, "places": tuple(places)})
