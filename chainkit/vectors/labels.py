"""Texts as short labels, with what no font has as boxes."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence

from chainkit.vectors.fonts import font_families

_JOINERS = "\u200c\u200d"  # parts of words in Persian and Hindi, and of emoji

FALLBACK = "□"
"""Stands for a character that no installed font has."""


class MissingGlyphs(UserWarning):
    """No installed font has some characters; each is drawn as a box.

    Attributes:
        characters: The characters.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = list(characters)
        shown = "".join(characters[:20])
        super().__init__(
            f"no installed font has {len(characters)} of the characters ({shown}); each is drawn as a box. For the "
            "fonts of most scripts run: pip install 'chainkit[plot]'; for another, install a font that has them, such "
            "as the Noto Sans of the script (fonts of coloured emoji cannot be used); or write .html, which is shown "
            "in the browser's fonts"
        )


def label(text: str, columns: int = 64) -> str:
    """A text on one line, shortened with an ellipsis; wide characters take two columns.

    >>> label("Best travel neck  pillow for long flights", columns=20)
    'Best travel neck pi…'
    """
    line = "".join(c if c.isprintable() or c in _JOINERS else " " for c in " ".join(text.split()))
    if width(line) <= columns:
        return line
    taken = 0
    for place, character in enumerate(line):
        taken += width(character)
        if taken > columns - 1:
            return line[:place].rstrip() + "…"
    return line


def width(text: str) -> int:
    """Columns that a text takes in a terminal.

    >>> width("本ab")
    4
    """
    return sum(0 if _rests(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def wrapped(text: str, columns: int) -> str:
    """Wrap a text to lines of at most `columns` columns, at spaces where possible.

    >>> print(wrapped("Nine sentences and three topics", columns=16))
    Nine sentences
    and three topics
    """
    lines = [""]
    for word in label(text, 2 * len(text)).split():
        while width(word) > columns:
            first = label(word, columns + 1).removesuffix("…") or word[:1]
            lines.append(first)
            word = word.removeprefix(first)
        joined = f"{lines[-1]} {word}".strip()
        if width(joined) <= columns:
            lines[-1] = joined
        else:
            lines.append(word)
    return "\n".join(line for line in lines if line)


def _rests(character: str) -> bool:
    """Whether a character is part of the one before it, like an accent, or joins two."""
    return unicodedata.category(character) in ("Mn", "Me", "Cf")


def drawable(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels with boxes for what cannot be drawn, and the font families that draw them, the usual one first.

    Warns:
        MissingGlyphs: Some characters are in no installed font.
    """
    families, missing = font_families(frozenset("".join(labels)))
    if shown := [c for c in missing if unicodedata.category(c) != "Cf"]:
        warnings.warn(MissingGlyphs(shown), stacklevel=4)
    boxes = str.maketrans({c: "" if _rests(c) else FALLBACK for c in missing})
    return [text.translate(boxes) for text in labels], families
