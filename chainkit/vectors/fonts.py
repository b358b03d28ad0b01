"""Fonts that have the characters of some texts: the usual one, those of packages, then what the system has."""

from __future__ import annotations

import functools
import importlib.util
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.font_manager import FontPath

PACKAGES = ("manimgx_fonts", "noto_cjk_sans_otc")
"""Packages of the `plot` extra that hold font files: Noto Sans for many scripts, and for Chinese, Japanese, Korean."""


def font_families(characters: frozenset[str]) -> tuple[list[str], list[str]]:
    """Font families that together have the characters, and the characters that none has.

    The usual font of matplotlib comes first. Fonts of packages come before those of the system, so that a picture looks
    the same on every machine. Fonts that were installed after matplotlib listed them are found too.
    """
    from matplotlib import font_manager, rcParams
    from matplotlib.font_manager import FontProperties

    usual = str(FontProperties(family=rcParams["font.family"]).get_name())
    families = [usual]
    left = characters - _characters(font_manager.findfont(usual)) - {" "}
    for add in (_add_packaged, _add_installed):
        if left and add():
            left = _take(families, left, _region(characters))
    return families, sorted(left)


def _take(families: list[str], left: frozenset[str], region: str) -> frozenset[str]:
    """Append families that have some of the characters; the characters that are still left."""
    from matplotlib.font_manager import findfont

    for family in _others(families, region):
        if not left:
            break
        try:
            path = findfont(family, fallback_to_default=False)
        except ValueError:  # with MPL_IGNORE_SYSTEM_FONTS matplotlib draws with its own fonts alone
            continue
        if found := left & _characters(path):
            families.append(family)
            left -= found
    return left


def _region(characters: frozenset[str]) -> str:
    """Whose shapes of Han characters are wanted, as in the names of font families: JP, KR or SC."""
    if any("\u3040" <= c <= "\u30ff" for c in characters):
        return "JP"
    return "KR" if any("\uac00" <= c <= "\ud7a3" for c in characters) else "SC"


def _others(taken: list[str], region: str) -> list[str]:
    """The families that matplotlib knows, the best first."""
    from matplotlib import font_manager

    # matplotlib's Last Resort font draws a box with a number for any character: as good as none
    unwanted = {*taken, "Last Resort", "Last Resort High-Efficiency"}
    upright = [f for f in font_manager.fontManager.ttflist if f.style == "normal" and f.name not in unwanted]
    packaged = _packaged()
    # sans-serif before the rest, the region's own shapes, the plainest weight; ties are broken by name
    upright.sort(
        key=lambda f: (
            *(f.fname not in packaged, "Sans" not in f.name, "Mono" in f.name, not f.name.endswith(region)),
            *(abs(_weight(f.weight) - 400), f.name, f.fname),
        )
    )
    return list(dict.fromkeys(font.name for font in upright))


def _weight(weight: object) -> int:
    from matplotlib.font_manager import weight_dict

    return weight if isinstance(weight, int) else weight_dict.get(str(weight), 400)


@functools.cache
def _packaged() -> tuple[str, ...]:
    """The files of the packages of fonts that are installed."""
    specs = (importlib.util.find_spec(name) for name in PACKAGES)
    folders = [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]
    return tuple(sorted(str(path) for folder in folders for path in folder.glob("*.tt[fc]")))


def _add_packaged() -> bool:
    """Let matplotlib know the fonts of packages."""
    _add(_packaged())
    return True


def _add_installed() -> bool:
    """Let matplotlib know the fonts of the system that its stored list lacks; whether there are any."""
    from matplotlib.font_manager import findSystemFonts

    return _add(findSystemFonts())


def _add(paths: tuple[str, ...] | list[str]) -> bool:
    from matplotlib.font_manager import fontManager

    known = {font.fname for font in fontManager.ttflist}
    new = sorted(set(paths) - known)
    for path in new:
        with suppress(OSError, RuntimeError):  # a file that FreeType cannot read has nothing for us
            fontManager.addfont(path)
    return bool(new)


@functools.lru_cache(maxsize=256)
def _characters(path: FontPath) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path, face_index=path.face_index)
    except (OSError, RuntimeError):  # a font file that FreeType cannot read has nothing for us
        return frozenset()
    if font.num_fixed_sizes:  # bitmaps, as in fonts of coloured emoji, cannot be drawn
        return frozenset()
    return frozenset(map(chr, font.get_charmap()))
