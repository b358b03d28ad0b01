"""Read a common prefix of several texts once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

from chainkit.local.runtime import ForwardRequest, common

WORTH_A_PASS = 16  # tokens: reading fewer twice is cheaper than a separate pass


class Sharing(Protocol):
    """A request that is being computed."""

    @property
    def request(self) -> ForwardRequest:
        """The forward request."""
        ...

    @property
    def held(self) -> int:
        """Number of its tokens in the KV cache."""
        ...


R = TypeVar("R", bound=Sharing)


def share(rows: Sequence[R], read: Callable[[R, int], None], copy: Callable[[R, R, int], None]) -> None:
    """Compute common prefixes once and copy them into the KV cache of every text.

    Args:
        rows: The texts.
        read: Read a text up to a number of tokens.
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
