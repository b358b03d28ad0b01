"""Decisions of local models: the joint log-probabilities of all options, in one reading of the text."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage

from chainkit.decisions.questions import AskedQuestion
from chainkit.local.scheduler import GenerationTask, scheduler_of
from chainkit.local.session import LocalSession

_TASK = "You answer questions about a text, each with one of its options."


def scored(
    model: Any, texts: Sequence[str], asked: Mapping[str, AskedQuestion]
) -> list[tuple[dict[str, list[float]], int]]:
    """For each text the log-probabilities of each question's options, and how many tokens were read for them.

    The questions precede the text, where they are read once for all texts; only their names follow it.
    """
    tasks: list[GenerationTask] = []
    found: list[list[float]] = [[] for _ in texts]
    sessions = [_session(model, text, asked) for text in texts]
    try:
        for place, session in enumerate(sessions):
            tasks.append(GenerationTask(session, _steps(session, asked, found[place])))
        if tasks:
            scheduler_of(sessions[0].runtime).gather(tasks)
        return [_by_question(scores, asked, session) for scores, session in zip(found, sessions, strict=True)]
    finally:
        for session in sessions:
            session.close()


def _steps(session: LocalSession, asked: Mapping[str, AskedQuestion], found: list[float]) -> Generator[Any, Any, None]:
    vocabulary = session.vocabulary
    ambiguous = {
        name: any(one != other and other.startswith(one) for one in options.texts for other in options.texts)
        for name, options in asked.items()
    }
    texts = [
        f"{name}: {text}" + ("\n" if ambiguous[name] else "")
        for name, options in asked.items()
        for text in options.texts
    ]
    scores = yield session.begun().branches([vocabulary.tokenize(text) for text in texts])
    found.extend(scores)


def _by_question(
    scores: Sequence[float], asked: Mapping[str, AskedQuestion], session: LocalSession
) -> tuple[dict[str, list[float]], int]:
    rest, parts = list(scores), dict[str, list[float]]()
    for name, options in asked.items():
        parts[name], rest = rest[: len(options.texts)], rest[len(options.texts) :]
    return parts, len(session.tokens)


def _session(model: Any, text: str, asked: Mapping[str, AskedQuestion]) -> LocalSession:
    if getattr(model, "has_template", False):
        return model.session([SystemMessage(instructions(asked)), HumanMessage(text)])
    session = model.session()
    return session.append(f"{instructions(asked)}\n\nText:\n{text}\n\nAnswers:\n")


def instructions(asked: Mapping[str, AskedQuestion]) -> str:
    """The prompt before the text."""
    return "\n".join([_TASK, *(f"{name}: {_line(options)}" for name, options in asked.items())])


def _line(options: AskedQuestion) -> str:
    described = [
        f"{text} ({about})" if about else text for text, about in zip(options.texts, options.about, strict=True)
    ]
    return f"{options.question} [{' | '.join(described)}]"
