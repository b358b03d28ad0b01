"""Requests of the executor to its driver: it yields one of these and is sent the answer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from chainkit.base.session import Piece
from chainkit.programs.model.protocol import Generate, Score
from chainkit.programs.model.record import Beside, Event


@dataclass(frozen=True)
class Ask:
    """Something for the model; the answer is a `SlotResult` or a `OptionScores`.

    Attributes:
        job: What to do.
        heard: Called with each piece as it comes; returns the event to report it.
    """

    job: Generate | Score
    heard: Callable[[Piece], Event | None] | None = None


@dataclass(frozen=True)
class Invoke:
    """A Python function to call, synchronous or not; the answer is its result."""

    function: Callable[..., Any]
    positional: Sequence[Any] = ()
    named: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Together:
    """Parts that do not depend on one another; the answer is the list of their results."""

    parts: Sequence[Steps]


@dataclass(frozen=True)
class Wait:
    """A variable that somebody must give; the answer is the variables that were given."""

    name: str


def beside(path: tuple[int, ...], steps: Steps) -> Steps:
    """The steps of a part that runs beside others; its events say which part it is."""
    go_on: Callable[[Any], Step] = steps.send
    given: Any = None
    while True:
        try:
            step = go_on(given)
        except StopIteration as done:
            return done.value
        if isinstance(step, Ask):
            step = replace(step, heard=step.heard and partial(_heard_beside, path, step.heard))
        elif not isinstance(step, Invoke | Together | Wait):
            step = Beside(path, step)
        try:
            given = yield step
            go_on = steps.send
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as error:  # noqa: BLE001 - passed into the generator as the answer
            go_on, given = steps.throw, error


def _heard_beside(path: tuple[int, ...], heard: Callable[[Piece], Event | None], piece: Piece) -> Event | None:
    event = heard(piece)
    return event and Beside(path, event)


Step: TypeAlias = Ask | Invoke | Together | Wait | Event
Steps: TypeAlias = Generator[Step, Any, Any]
