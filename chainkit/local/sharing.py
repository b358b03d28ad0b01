"""Reading once what several texts begin with in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

from chainkit.local.runtime import ForwardRequest, common

WORTH_A_PASS = 16  # reading so many tokens twice takes about as long as a pass of its own


class Sharing(Protocol):
    """A request that is being computed."""

    @property
    def request(self) -> ForwardRequest:
        """What was asked."""
        ...

    @property
    def held(self) -> int:
        """Number of its tokens in the KV cache."""
        ...


R = TypeVar("R", bound=Sharing)


def share(rows: Sequence[R], read: Callable[[R, int], None], copy: Callable[[R, R, int], None]) -> None:
    """Bring what texts have in common into the memory of all.

    Args:
        rows: The texts.
        read: Read a text up to so many tokens.
        copy: Give the second text the first tokens of the first one.
    """
    # in this order each has most in common with the one before it
    ordered = sorted(rows, key=lambda row: list(row.request.tokens)) if len(rows) > 1 else ()
    for leader, row in pairwise(ordered):
        if len(row.request.tokens) - row.held <= WORTH_A_PASS:
            continue
        shared = min(common(leader.request.tokens, row.request.tokens), len(row.request.tokens) - 1)
        if shared - max(row.held, leader.held) >= WORTH_A_PASS:
            read(leader, shared)
        shared = min(shared, leader.held)
        if shared > row.held:
            copy(leader, row, shared)
