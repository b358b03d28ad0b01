"""Words without their English endings, so that forms of one word are found together."""

from __future__ import annotations

from functools import lru_cache

_SUFFIXES = ("ingly", "edly", "ing", "ies", "ied", "ed", "es", "ly", "s")


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """A word without its English ending, rough but the same on both sides of a comparison.

    >>> stem("splitting") == stem("splits") == stem("split")
    True
    >>> stem("movies") == stem("movie")
    True
    """
    if word.endswith("ie") and len(word) > 4:
        return f"{word[:-2]}y"
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)] + ("y" if suffix in ("ies", "ied") else "")
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiousl":
        return word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word
