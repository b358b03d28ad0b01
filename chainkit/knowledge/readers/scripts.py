"""Writing systems, as far as search needs them: scripts without spaces between words, marks that may be left out."""

from __future__ import annotations

import re
import unicodedata

UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # Japanese kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
"""The characters of scripts that do not put spaces between words, for use inside a character class."""

_RUN = re.compile(f"[{UNSPACED}]+")
_SPACED = re.compile(rf"(?:(?![{UNSPACED}])[\w\u0900-\u0963\u0966-\u0dff])+")  # words of India hold marks
_WORD = re.compile(f"{_RUN.pattern}|{_SPACED.pattern}")
_ONE_SCRIPT = re.compile("[\u3040-\u30ff\u31f0-\u31ff]+|[^\u3040-\u30ff\u31f0-\u31ff]+")
# accents of Latin and Greek stay: FTS5 takes them off, and a language may tell words apart by them
_OPTIONAL_MARKS = re.compile(
    "[\u00ad\u200b-\u200f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    "\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]+"
)


def normal(text: str) -> str:
    """A text with one form for each sign: full width and ligatures undone, vowel points of Arabic and Hebrew left out.

    >>> normal("ﬁle １２ كِتَاب")
    'file 12 كتاب'
    """
    return text if text.isascii() else _OPTIONAL_MARKS.sub("", unicodedata.normalize("NFKC", text))


def segmented(text: str) -> str:
    """A text as indexed for BM25: character bigrams where the script has no spaces, and the last character alone.

    Every character of such a run begins one piece, so that a search for a single one can ask for pieces that begin
    with it.

    >>> segmented("GGUF 是格式")
    'GGUF  是格 格式 式 '
    """
    if text.isascii():
        return text
    return _RUN.sub(lambda run: f" {' '.join(_pairs(run.group()))} ", normal(text))


def tokens(text: str) -> list[str]:
    """The words of a text in lower case, and pairs of characters where the script has no spaces.

    A run ends where kana follow Han or the other way round, since there a word ends in most cases.

    >>> tokens("The GGUF 是格式")
    ['the', 'gguf', '是格', '格式']
    """
    found: list[str] = []
    for match in _WORD.finditer(normal(text).lower()):
        word = match.group()
        if is_unspaced(word):
            for run in _ONE_SCRIPT.findall(word):
                found += _pairs(run)[:-1] or [run]
        else:
            found.append(word)
    return found


def is_unspaced(text: str) -> bool:
    """Whether a text begins with a character of a script without spaces."""
    return _RUN.match(text) is not None


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run))]
