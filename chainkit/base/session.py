"""What a model that we steer token by token offers: the words of generation and the `Session` protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from chainkit.base.sampling import Sampling

FinishReason = Literal["eos", "stop", "length", "complete"]
"""Why a generation ended: the model's own end, a stop text, a limit, or a constraint that is fulfilled."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """How likely a token was where it stands.

    Attributes:
        token: Its id.
        text: Its bytes as text; broken characters are shown as U+FFFD.
        logprob: Natural logarithm of its probability, before temperature and cuts.
        others: The likeliest tokens at this place, as (text, logprob), the likeliest first.
    """

    token: int
    text: str
    logprob: float
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of a generation.

    Attributes:
        text: Text that is now certain; it may be empty, and it lags behind the tokens while a stop text may be coming.
        tokens: The tokens of this step; several if a constraint forced them.
        forced: True if no choice was left, so that nothing was sampled.
        scores: One per token if log-probabilities were asked for.
        finish: Why the generation ended; set on the last piece only.
        detail: What the limit was, if `finish` is "length".
    """

    text: str
    tokens: tuple[int, ...] = ()
    forced: bool = False
    scores: tuple[TokenScore, ...] = ()
    finish: FinishReason | None = None
    detail: str = ""


@dataclass(slots=True)
class Counters:
    """What a session has cost, in tokens.

    Attributes:
        cached: Were in the model's memory already.
        read: Had to be computed.
        forced: Were appended because a constraint left no choice.
        sampled: Were chosen.
        passes: Forward passes that computed something of it; one pass may serve several sessions.
        drafted: Were proposed by a smaller model.
        accepted: Of those, were what the model itself then chose, so that they cost no pass of their own.
    """

    cached: int = 0
    read: int = 0
    forced: int = 0
    sampled: int = 0
    passes: int = 0
    drafted: int = 0
    accepted: int = 0


class Session(Protocol):
    """Tokens that a model has read, and what comes next. One thread uses a session at a time."""

    tokens: list[int]
    counters: Counters

    def append(self, text: str | Sequence[int], *, special: bool = False) -> Self:
        """Put text or tokens at the end; nothing is computed before it is needed.

        Args:
            text: Text, or tokens of this model.
            special: Read the names of special tokens in the text as those tokens; never for text of a user.

        Raises:
            ContextOverflow: There is no room.
        """
        ...

    def generate(self, sampling: Sampling, constraint: Any = None, *, logprobs: int | None = None) -> Iterator[Piece]:
        """Continue the text, piece by piece; the tokens become part of the session.

        That holds for the tokens of a stop text as well, although no piece shows them: whoever goes on behind what was
        shown rewinds first.
        """
        ...

    def score(self, options: Sequence[str]) -> list[float]:
        """The joint log-probability of each text as the continuation; the session stays as it is."""
        ...

    def next_tokens(self, count: int) -> list[TokenScore]:
        """The likeliest next tokens, the likeliest first."""
        ...

    def fork(self) -> Self:
        """A second session with the same tokens, which are not read again."""
        ...

    def rewind(self, length: int) -> Self:
        """Forget all but the first `length` tokens."""
        ...
