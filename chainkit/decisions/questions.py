"""Questions and answers in langchain-core's words, which it has since 1.8; before that, classes of the same form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from chainkit.base.errors import Unsupported

if TYPE_CHECKING:
    from langchain_core.decisions import (
        BaseDecisionModel,
        Choice,
        ChoiceAnswer,
        ClassifierResponse,
        Noul,
        NoulAnswer,
        NoulCriteria,
        Score,
        ScoreAnswer,
    )
else:
    try:
        words = import_module("langchain_core.decisions")
    except ImportError:
        words = import_module("chainkit.decisions.before")

__all__ = [
    "BaseDecisionModel",
    "Choice",
    "ChoiceAnswer",
    "ClassifierResponse",
    "Noul",
    "NoulAnswer",
    "NoulCriteria",
    "Score",
    "ScoreAnswer",
]
if not TYPE_CHECKING:
    globals().update({name: getattr(words, name) for name in __all__})


class AskedQuestion(BaseModel):
    """A question for a model: a line of text, and the possible answers.

    Attributes:
        kind: The kind of the question.
        question: The whole of it.
        texts: The answers, in order: yes and no, labels, or numbers from 0.
        about: What each means, where that is said.
    """

    kind: Literal["noul", "choice", "score"]
    question: str
    texts: list[str] = Field(min_length=1)
    about: list[str]


def yes_no(instructions: str, *, yes: str | None = None, no: str | None = None) -> Noul:
    """A question that is answered by yes or no.

    Args:
        instructions: The question.
        yes: What counts as yes.
        no: What counts as no.
    """
    return Noul(instructions=instructions, criteria=NoulCriteria(true=yes, false=no) if yes or no else None)


def choice(instructions: str, options: Sequence[str] | Mapping[str, str | None]) -> Choice:
    """A question that one of several labels answers.

    Args:
        instructions: The question.
        options: The labels, or labels with what they mean.
    """
    criteria: Any = dict(options) if isinstance(options, Mapping) else dict.fromkeys(options)
    return Choice(instructions=instructions, criteria=criteria)


def score(instructions: str, levels: Sequence[str]) -> Score:
    """A question that a level answers; levels are numbered from 0.

    Args:
        instructions: The question.
        levels: What each level means, the lowest first.
    """
    return Score(instructions=instructions, criteria=list(levels))


def options_of(question: Any) -> AskedQuestion:
    """Convert a question to its text and options.

    Raises:
        Unsupported: It asks for a place in a picture.
    """
    instruction = _text(question.instructions)
    if isinstance(question, Noul):
        about = ["", ""]
        if question.criteria is not None:
            about = [_text(question.criteria.true), _text(question.criteria.false)]
        return AskedQuestion(kind="noul", question=instruction, texts=["yes", "no"], about=about)
    if isinstance(question, Choice):
        about = [_text(one) for one in question.criteria.values()]
        return AskedQuestion(kind="choice", question=instruction, texts=list(question.criteria), about=about)
    if isinstance(question, Score):
        about = [_text(one) for one in question.criteria]
        return AskedQuestion(
            kind="score", question=instruction, texts=[str(level) for level in range(len(about))], about=about
        )
    raise Unsupported(f"a {type(question).__name__} cannot be answered by text models; ask yes_no, choice or score")


def answer_of(question: Any, probabilities: Sequence[float]) -> Any:
    """The answer to a question; its confidence is the probability of the likeliest option."""
    options, probabilities = options_of(question), [min(1.0, one) for one in probabilities]
    best = max(range(len(probabilities)), key=lambda place: probabilities[place])
    if options.kind == "noul":
        return NoulAnswer(type="noul", noul=probabilities[0])
    if options.kind == "choice":
        named = dict(zip(options.texts, probabilities, strict=True))
        confidence = probabilities[best]
        return ChoiceAnswer(type="choice", choice=options.texts[best], probabilities=named, confidence=confidence)
    expected = sum(level * share for level, share in enumerate(probabilities))
    return ScoreAnswer(
        type="score",
        score=expected,
        legend=dict(enumerate(question.criteria)),
        probabilities=dict(enumerate(probabilities)),
        confidence=probabilities[best],
    )


def place_of(question: Any, answer: Any) -> int:
    """Which option a right answer is, as examples name it: true, "yes", a label or a level.

    Raises:
        ValueError: It is none of them.
    """
    texts = options_of(question).texts
    if isinstance(question, Noul):
        said = str(answer).strip().lower()
        if said in ("true", "yes", "1", "1.0"):
            return 0
        if said in ("false", "no", "0", "0.0"):
            return 1
    if str(answer) in texts:
        return texts.index(str(answer))
    raise ValueError(f"{answer!r} is not an answer to {options_of(question).question!r}; there are: {', '.join(texts)}")


def state_text(state: Any) -> str:
    """What a state is as text: texts and messages as they are, anything else as JSON."""
    if isinstance(state, str):
        return state
    if hasattr(state, "text") and hasattr(state, "type"):
        return f"{state.type}: {state.text}"
    if isinstance(state, Sequence) and state and all(hasattr(one, "type") for one in state):
        return "\n".join(state_text(one) for one in state)
    return json.dumps(state, ensure_ascii=False, default=state_text)


def _text(content: Any) -> str:
    if content is None:
        return ""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
