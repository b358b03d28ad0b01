"""Texts as short labels, and fonts that have their characters."""

from __future__ import annotations

import functools
import unicodedata
import warnings
from collections.abc import Iterable, Sequence

_JOINERS = "\u200c\u200d"  # parts of words in Persian and Hindi, and of emoji

FALLBACK = "□"
"""Stands for a character that no installed font has."""


class MissingGlyphs(UserWarning):
    """No installed font has some characters; a box stands for each in the picture.

    Attributes:
        characters: The characters.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = list(characters)
        shown = "".join(characters[:20])
        super().__init__(
            f"no installed font has {len(characters)} of the characters ({shown}); a box stands for each. Install a "
            "font that has them, such as Noto Sans CJK for Chinese, Japanese and Korean, or the Noto Sans of another "
            "script (fonts of coloured emoji cannot be used); or write .html, which is shown in the browser's fonts"
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
    """A text on lines of at most so many columns, cut where there is a space if there is one.

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


@functools.lru_cache(maxsize=64)
def font_families(characters: frozenset[str]) -> tuple[list[str], list[str]]:
    """Font families that together have the characters, and the characters that none has."""
    from matplotlib import font_manager, rcParams
    from matplotlib.font_manager import FontProperties

    usual = str(FontProperties(family=rcParams["font.family"]).get_name())
    families = [usual]
    left = characters - _characters(font_manager.findfont(usual)) - {" "}
    for family, path in _others(usual, _region(characters)):
        if not left:
            break
        if found := left & _characters(path):
            families.append(family)
            left -= found
    return families, sorted(left)


def _region(characters: frozenset[str]) -> str:
    """Whose shapes of Han characters are wanted, as in the names of font families: JP, KR or SC."""
    if any("\u3040" <= c <= "\u30ff" for c in characters):
        return "JP"
    return "KR" if any("\uac00" <= c <= "\ud7a3" for c in characters) else "SC"


def _others(usual: str, region: str) -> Iterable[tuple[str, str]]:
    from matplotlib import font_manager

    # matplotlib's Last Resort font draws a box with a number for any character: as good as none
    unwanted = {usual, "Last Resort", "Last Resort High-Efficiency"}
    upright = [f for f in font_manager.fontManager.ttflist if f.style == "normal" and f.name not in unwanted]
    # sans-serif before the rest, the region's own shapes, the plainest weight; the name settles what is left
    upright.sort(
        key=lambda f: (
            *("Sans" not in f.name, "Mono" in f.name, not f.name.endswith(region)),
            *(abs(_weight(f.weight) - 400), f.name, f.fname),
        )
    )
    seen: set[str] = set()
    for font in upright:
        if font.name not in seen:
            seen.add(font.name)
            yield font.name, font.fname


def _weight(weight: object) -> int:
    from matplotlib.font_manager import weight_dict

    return weight if isinstance(weight, int) else weight_dict.get(str(weight), 400)


@functools.lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # a font file that FreeType cannot read has nothing for us
        return frozenset()
    if font.num_fixed_sizes:  # bitmaps, as in fonts of coloured emoji, cannot be drawn
        return frozenset()
    return frozenset(map(chr, font.get_charmap()))
