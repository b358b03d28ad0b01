"""The words of generation: pieces of text, scores of tokens, what a generation costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["eos", "stop", "length", "complete", "repetition"]
"""Why a generation ended: the model's own end, a stop text, a limit, or a constraint that is fulfilled."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token and its probability at its position.

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
        text: Text that is final. It may be empty: text that could begin a stop text is held back.
        tokens: The tokens of this step; several if a constraint forced them.
        forced: True if no choice was left, so that nothing was sampled.
        scores: One per token if log-probabilities were asked for.
        finish: Why the generation ended; set on the last piece only.
        detail: What the limit was, if `finish` is "length".
        stop_text: What stopped it, if `finish` is "stop" and the text was written.
    """

    text: str
    tokens: tuple[int, ...] = ()
    forced: bool = False
    scores: tuple[TokenScore, ...] = ()
    finish: FinishReason | None = None
    detail: str = ""
    stop_text: str = ""


@dataclass(slots=True)
class Counters:
    """The cost of a session, in tokens.

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
