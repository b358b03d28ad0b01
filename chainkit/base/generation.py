"""What decides a generation, as one value: from the front door to the decode loop it travels unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol, cast


def _at_least(least: float) -> Callable[[Any], bool]:
    return lambda value: value is None or value >= least


_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "temperature": (_at_least(0), "0 or more"),
    "top_k": (_at_least(0), "0 or more"),
    "top_p": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "min_p": (lambda value: 0 <= value <= 1, "between 0 and 1"),
    "repeat_penalty": (lambda value: value > 0, "above 0"),
    "seed": (_at_least(0), "0 or more, or None"),
    "max_tokens": (_at_least(1), "1 or more, or None"),
    "stop": (lambda value: value is None or all(value), "texts that are not empty"),
    "timeout": (lambda value: value is None or value > 0, "above 0, or None"),
    "logprobs": (lambda value: value is None or 0 <= value <= 100, "between 0 and 100, or None"),
}
RANGED = tuple(_RANGES)
"""Settings whose values have a range."""


def in_range(name: str, value: Any) -> Any:
    """The value of a setting, if it is one that the setting may have.

    Raises:
        ValueError: It is out of range.
    """
    allowed, wanted = _RANGES[name]
    if not allowed(value):
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return value


class Grammar(Protocol):
    """What a constraint says: an llguidance grammar, and its name for messages."""

    @property
    def grammar(self) -> str: ...  # noqa: D102

    @property
    def name(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """Everything that decides what a model writes after a text; validated when it is made.

    Attributes:
        temperature: 0 always takes the likeliest token.
        top_k: Only the k likeliest tokens are candidates; 0 means all.
        top_p: Only the smallest set of tokens with this total probability are candidates.
        min_p: Only tokens at least this share as likely as the likeliest are candidates.
        repeat_penalty: Above 1, tokens of the last 256 become less likely.
        seed: The same seed gives the same text; None draws a fresh one.
        max_tokens: None generates until the model ends or the context is full.
        stop: Stop at the first of these texts; it is not part of the result. With a constraint, at the first one whose
            text before it the constraint allows.
        stop_regex: Stop at the first match of these regular expressions of Python's `re`; the text comes in one piece.
        stop_repetition: Stop when the text repeats itself over and over (`chainkit.base.repetition`), unless a
            constraint says what to write.
        constraint: What may be generated.
        following: Literal text that comes after a constrained text; where the constraint is fulfilled, a token of it
            ends the generation.
        logprobs: Give each token's log-probability, with this many of its likeliest rivals.
        token_healing: Whether the last tokens of the text before may be replaced by longer ones; None where that pays.
        timeout: Longest time in seconds; a text that is not complete then is an error.
        soft_prompt: Trained virtual tokens before the text (`chainkit.local.soft_prompt.SoftPrompt`).
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 256
    stop: tuple[str, ...] = ()
    stop_regex: tuple[str, ...] = ()
    stop_repetition: bool = False
    constraint: Grammar | None = None
    following: str = ""
    logprobs: int | None = None
    token_healing: bool | None = None
    timeout: float | None = None
    soft_prompt: Any = None

    def __post_init__(self) -> None:
        for name, (allowed, wanted) in _RANGES.items():
            value = getattr(self, name)
            if not allowed(value):
                raise ValueError(f"{name} must be {wanted}, got {value!r}")

    @property
    def key(self) -> str:
        """All fields as text, for caches: requests with one key write the same text after the same tokens.

        Raises:
            TypeError: A field holds a value whose text does not identify it.
        """
        return key_text(self)

    @property
    def repeatable(self) -> bool:
        """Whether the same request writes the same text each time."""
        return self.temperature == 0 or self.seed is not None


def key_text(value: Any) -> str:
    """A value as text that says all of it: equal texts, equal values.

    Raises:
        TypeError: It is not a plain value, a dataclass of plain values, or an object with a `digest`.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"({','.join(map(key_text, cast('list[Any]', value)))})"
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return f"{{{','.join(f'{key_text(key)}:{key_text(item)}' for key, item in items)}}}"
    if isinstance(digest := getattr(value, "digest", None), str):
        return f"{type(value).__name__}({digest})"
    if is_dataclass(value) and not isinstance(value, type):
        parts = (f"{one.name}={key_text(getattr(value, one.name))}" for one in fields(value))
        return f"{type(value).__name__}({','.join(parts)})"
    raise TypeError(f"a {type(value).__name__} has no text that tells it from others")
