"""The pieces that a document is made of before it is split into passages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["heading", "paragraph", "item", "code", "table"]

_UNSTORABLE = re.compile(r"[\ud800-\udfff]")
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f\u00ad\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, a paragraph, an item of a list, a piece of code or a table.

    Attributes:
        text: Verbatim from the file if the file is text, so that a quote can be found again.
        kind: Its kind: only paragraphs and items are cut at sentences.
        level: Of a heading, 1 is the highest; 0 for everything else.
        first_line: The line of the file that the block begins in, from 1; None where a file has no lines.
        last_line: The line it ends in, included.
        page: From 1; None where a file has no pages.
    """

    text: str
    kind: Kind = "paragraph"
    level: int = 0
    first_line: int | None = None
    last_line: int | None = None
    page: int | None = None

    def lines(self, start: int, end: int) -> tuple[int | None, int | None]:
        """The lines of the file that hold `text[start:end]`.

        Exact where the text is verbatim from the file, otherwise the lines of the whole block.
        """
        if self.first_line is None or self.last_line is None:
            return None, None
        if self.text.count("\n") != self.last_line - self.first_line:
            return self.first_line, self.last_line
        first = self.first_line + self.text.count("\n", 0, start)
        return first, first + self.text.count("\n", start, end)


def clean(text: str) -> str:
    """Text as it may be stored and found: no half of a surrogate pair, no control character, no soft hyphen.

    >>> clean("Donau\\xaddampf\\0 caf\\ud83d")
    'Donaudampf caf\ufffd'
    """
    return text if text.isascii() and text.isprintable() else storable(_UNSEEN.sub("", text))


def storable(text: str) -> str:
    """Text without halves of surrogate pairs, which no file can hold."""
    return _UNSTORABLE.sub("\ufffd", text)
