"""Words without their English endings, or Arabic articles and endings, so that forms of one word are found together."""

from __future__ import annotations

import re
from functools import lru_cache

_SUFFIXES = ("ingly", "edly", "ing", "ies", "ied", "ed", "es", "ly", "s")

_ARABIC = re.compile("[\u0621-\u064a]+")
_ONE_FORM = str.maketrans("\u0623\u0625\u0622\u0649\u0629", "\u0627\u0627\u0627\u064a\u0647")  # alef, yeh, heh
_AND, _AL = "\u0648", "\u0627\u0644"
_ARTICLES = (_AND + _AL, "\u0628" + _AL, "\u0643" + _AL, "\u0641" + _AL, "\u0644\u0644", _AL)
_ENDINGS = (
    "\u0647\u0627",
    "\u0627\u0646",
    "\u0627\u062a",
    "\u0648\u0646",
    "\u064a\u0646",
    "\u064a\u0647",
    "\u0647",
    "\u064a",
)


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """A word without its English ending, or Arabic article and ending: rough, but the same on both sides.

    >>> stem("splitting") == stem("splits") == stem("split")
    True
    >>> stem("movies") == stem("movie")
    True
    >>> stem("\u0648\u0627\u0644\u0643\u062a\u0628") == stem("\u0643\u062a\u0628")
    True
    """
    if not word.isascii() and _ARABIC.fullmatch(word):
        return _arabic(word)
    if word.endswith("ie") and len(word) > 4:
        return f"{word[:-2]}y"
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)] + ("y" if suffix in ("ies", "ied") else "")
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiousl":
        return word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def _arabic(word: str) -> str:
    """Letters in one form, without article, "and" in front and the commonest endings; after Larkey's light10."""
    word = word.translate(_ONE_FORM)
    article = next((one for one in _ARTICLES if word.startswith(one) and len(word) - len(one) >= 2), "")
    word = word[len(article) :]
    if not article and word.startswith(_AND) and len(word) > 3:
        word = word[1:]
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            word = word[: -len(ending)]
    return word
