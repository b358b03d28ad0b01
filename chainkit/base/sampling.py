"""How the next token is chosen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of one generation.

    Attributes:
        temperature: 0 always takes the likeliest token.
        top_k: Only the k likeliest tokens are candidates; 0 means all.
        top_p: Only the smallest set of tokens with this total probability are candidates.
        min_p: Only tokens at least this share as likely as the likeliest are candidates.
        repeat_penalty: Above 1, tokens seen before become less likely.
        seed: The same seed gives the same text; None draws a fresh one.
        max_tokens: None goes on until the model ends or the context is full.
        stop: Stop at the first of these texts; it is not part of the result.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 256
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, self.temperature >= 0, "0 or more")
        _check("top_k", self.top_k, self.top_k >= 0, "0 or more")
        _check("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1")
        _check("min_p", self.min_p, 0 <= self.min_p <= 1, "between 0 and 1")
        _check("repeat_penalty", self.repeat_penalty, self.repeat_penalty > 0, "above 0")
        _check("max_tokens", self.max_tokens, self.max_tokens is None or self.max_tokens >= 1, "1 or more, or None")
        _check("stop", self.stop, all(self.stop), "texts that are not empty")


def _check(name: str, value: object, good: bool, wanted: str) -> None:
    if not good:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
