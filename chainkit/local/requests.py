"""What a session asks of its engine, so that one forward pass can answer several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from chainkit.local.branches import Branches

Place = TypeVar("Place")


@dataclass(frozen=True)
class Request(Generic[Place]):
    """The scores behind a text.

    Attributes:
        owner: Whom memory is kept for; it is given up when the owner is gone.
        place: Where the owner's tokens were last time.
        tokens: The whole text; at least one token.
        known: So many of them are known to be in `place`.
        cancelled: Asked before each pass.
        branches: Texts behind it; the scores behind their inner nodes are wanted too.
    """

    owner: object
    place: Place | None
    tokens: Sequence[int]
    known: int
    cancelled: Callable[[], bool]
    branches: Branches | None = None


@dataclass(frozen=True)
class Answer(Generic[Place]):
    """What came of a request.

    Attributes:
        place: Where the owner's tokens are now.
        computed: How many of them had to be read.
        passes: How many forward passes had a part in it.
        logits: The scores behind the text, and behind each inner node of the branches, [1 + nodes, V].
    """

    place: Place
    computed: int
    passes: int
    logits: NDArray[np.float32]


class Engine(Protocol[Place]):
    """A model that answers several requests at once."""

    @property
    def limit(self) -> int:
        """How many tokens a text may have."""
        ...

    @property
    def rows(self) -> int:
        """How many texts it does well to compute at once."""
        ...

    def together(self, requests: Sequence[Request[Place]]) -> list[Answer[Place]]:
        """Read what is missing of all texts, in as few passes as can be; no owner may come twice.

        Raises:
            Cancelled: One of them was cancelled.
        """
        ...


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two texts begin with in common."""
    length = min(len(left), len(right))
    if not length or left[0] != right[0]:
        return 0
    differing = np.flatnonzero(np.asarray(left[:length]) != np.asarray(right[:length]))
    return int(differing[0]) if len(differing) else length


def still_known(held: Sequence[int], request: Request[Any]) -> int:
    """How many tokens of a request are in the place that it names: perhaps more than it knows, if some were proposed.

    Args:
        held: The tokens in that place.
        request: What is asked.
    """
    known = min(request.known, len(held))
    return known + common(held[known:], request.tokens[known:]) if len(held) > known else known
