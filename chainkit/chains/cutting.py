"""A text cut into pieces that a model can read, at the largest border that does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

_BORDERS = (
    re.compile(r"\n[ \t]*\n\s*"),  # paragraphs
    re.compile(r"\n"),
    re.compile(r"[.!?…][\"'”’)\]]{0,3}\s+|[。！？]"),  # sentences
    re.compile(r"\s+"),
)


def pieces(text: str, room: int, count: Callable[[str], int]) -> list[str]:
    """The text in pieces of at most `room` tokens, nothing lost and nothing twice: joined they are the text.

    Only paragraphs that do not fit are cut, between lines, else sentences, words, and at last anywhere.

    Args:
        count: Counts the tokens of a text; the counts of two parts are simply added.

    Raises:
        ValueError: `room` is less than 1.

    >>> pieces("One two.\\n\\nThree four five.", 3, lambda text: len(text.split()))
    ['One two.\\n\\n', 'Three four five.']
    """
    if room < 1:
        raise ValueError(f"room must be 1 or more, got {room}")
    return list(_gathered(_small(text, room, count, 0), room))


def _gathered(parts: Iterable[tuple[str, int]], room: int) -> Iterator[str]:
    """Neighbours put together while they fit."""
    held: list[str] = []
    used = 0
    for part, tokens in parts:
        if held and used + tokens > room:
            yield "".join(held)
            held, used = [], 0
        held.append(part)
        used += tokens
    if held:
        yield "".join(held)


def _small(text: str, room: int, count: Callable[[str], int], level: int) -> Iterator[tuple[str, int]]:
    """Parts that fit, each with its tokens."""
    tokens = count(text)
    if tokens <= room or len(text) == 1:  # a single character cannot be cut, however many tokens it has
        if text:
            yield text, tokens
        return
    if level == len(_BORDERS):
        half = len(text) // 2
        parts = [text[:half], text[half:]]
    else:
        parts = list(_cut(text, _BORDERS[level]))
    following = level if level == len(_BORDERS) else level + 1
    for part in parts:
        yield from _small(part, room, count, following)


def _cut(text: str, border: re.Pattern[str]) -> Iterator[str]:
    start = 0
    for match in border.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    if start < len(text):
        yield text[start:]
