"""Bounds on what one run may do."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DEPTH = 120  # each level takes a few frames of Python's stack


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on what one run may do; at the first that is reached, `LimitReached` is raised.

    Attributes:
        iterations: Rounds of all loops together.
        depth: Blocks, included programs and parsed texts inside one another, at most 120.
        tokens: Tokens that the model writes, in all slots together.
        seconds: Wall-clock time of the run; None for no bound.
        characters: Length of the text.
        retries: How often a model that cannot be forced is asked again for an answer in the right form.
        tool_rounds: How often a model may call tools in one slot.
    """

    iterations: int = 100_000
    depth: int = 60
    tokens: int = 200_000
    seconds: float | None = 3600.0
    characters: int = 10_000_000
    retries: int = 2
    tool_rounds: int = 8

    def __post_init__(self) -> None:
        for name in ("iterations", "depth", "tokens", "characters"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)!r}")
        for name in ("retries", "tool_rounds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)!r}")
        if self.depth > _MOST_DEPTH:
            raise ValueError(f"depth must be at most {_MOST_DEPTH}, got {self.depth}")
        if self.seconds is not None and self.seconds <= 0:
            raise ValueError(f"seconds must be above 0, or None, got {self.seconds!r}")
