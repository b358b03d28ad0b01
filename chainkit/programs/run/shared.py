"""State shared by the lines of execution of one run, and the record of each."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from chainkit.base.errors import LimitReached
from chainkit.programs.model.protocol import Abilities, Tally
from chainkit.programs.model.record import Span
from chainkit.programs.run.limits import Limits


class Leave(Exception):
    """`{{break}}` on its way to its loop."""


class Skip(Exception):
    """`{{continue}}` on its way to its loop."""


@dataclass
class Shared:
    """State shared by all parts of one run.

    Attributes:
        abilities: Those of the model.
        limits: Bounds on the run.
        tally: Its cost.
        seed: The seeds of slots are derived from it; None draws fresh ones.
        shell: Whether `{{shell}}` may run commands.
        finishes: Slots with a form that a limit cut, and that limit.
    """

    abilities: Abilities
    limits: Limits
    tally: Tally
    seed: int | None = None
    shell: bool = False
    finishes: dict[str, str] = field(default_factory=dict[str, str])
    rounds: int = 0
    characters: int = 0
    started: float = field(default_factory=time.monotonic)

    def round(self) -> None:
        """Count a round of a loop."""
        self.rounds += 1
        if self.rounds > self.limits.iterations:
            raise LimitReached(f"the loops of this run have gone through {self.limits.iterations} rounds")
        self.check()

    def check(self) -> None:
        """See whether tokens or time are used up."""
        if self.tally.sampled + self.tally.forced > self.limits.tokens:
            raise LimitReached(f"the model has written more than {self.limits.tokens} tokens in this run")
        seconds = self.limits.seconds
        if seconds is not None and time.monotonic() - self.started > seconds:
            raise LimitReached(f"the run has taken more than {seconds:g} seconds")


@dataclass
class RunRecord:
    """The text written so far.

    Attributes:
        spans: In order.
        tail: The end of what the model has before it.
        beside: Whether it is that of a part which runs beside others, and so cannot wait for a variable.
    """

    spans: list[Span] = field(default_factory=list[Span])
    tail: str = ""
    beside: bool = False
