"""The text of a run so far, span by span, and its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from chainkit.base.session import FinishReason, TokenScore

Source = Literal["template", "variable", "model", "role"]
"""Where text came from; "role" is a mark that begins or ends a message."""


ROLE_BEGIN, ROLE_END = "<|im_start|>", "<|im_end|>"
"""Markers around a message in a text."""


@dataclass(frozen=True, slots=True)
class Span:
    """Text with one origin.

    Attributes:
        text: The written text.
        source: Where it came from.
        name: The variable or role, if it has one.
        hidden: Whether it is left out of the run's text.
        start: Its place in the run's text, counted in characters; where hidden text would stand.
        alternatives: What else the model wrote in its place, for `n` above 1.
    """

    text: str
    source: Source
    name: str = ""
    hidden: bool = False
    start: int = 0
    alternatives: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """Behind its last character in the run's text."""
        return self.start if self.hidden else self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class TextAdded:
    """Text that has been added: by the template, from a variable, or by the model."""

    text: str
    source: Source
    name: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class SlotBegun:
    """The model begins to write, or to choose."""

    name: str


@dataclass(frozen=True, slots=True)
class SlotDone:
    """A slot is full.

    Attributes:
        name: The variable; may be empty.
        text: What the model wrote.
        value: What the variable holds.
        finish: Why it ended; "length" means that max_tokens or the context was reached.
        detail: Which limit it was.
        scores: One per token if log-probabilities were asked for.
    """

    name: str
    text: str
    value: Any
    finish: FinishReason
    detail: str = ""
    scores: tuple[TokenScore, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleBegun:
    """A message begins."""

    role: str


@dataclass(frozen=True, slots=True)
class RoleDone:
    """A message is complete."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class VariableSet:
    """A variable has a new value by `set`, `block` or `parse`."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """A tool that the model asked for has answered."""

    name: str
    arguments: Mapping[str, Any]
    result: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The run waits for a variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Beside:
    """Something that happens in a round of `each parallel=True` while others run.

    When all rounds are done, their text is reported again by `TextAdded`, in the order of the rounds.

    Attributes:
        path: Round numbers, from the outermost loop to this one.
        event: What happens there.
    """

    path: tuple[int, ...]
    event: Event


Event: TypeAlias = TextAdded | SlotBegun | SlotDone | RoleBegun | RoleDone | VariableSet | ToolCalled | Paused | Beside


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Neighbours of one origin as one span, with their places in the text; empty ones are left out."""
    result: list[Span] = []
    position = 0
    for span in spans:
        last = result[-1] if result else None
        alike = (span.source, span.name, span.hidden)
        if last and alike == (last.source, last.name, last.hidden) and not span.alternatives and span.source != "role":
            result[-1] = Span(last.text + span.text, span.source, span.name, span.hidden, last.start, last.alternatives)
        elif span.text:
            result.append(Span(span.text, span.source, span.name, span.hidden, position, span.alternatives))
        position += 0 if span.hidden else len(span.text)
    return tuple(result)
