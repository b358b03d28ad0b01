"""Plain text, in any of the usual encodings, a paragraph at a time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import pairwise

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.source import Source

LINE_CHARACTERS = 1 << 16
PARAGRAPH_LINES = 200
_UNDERLINE = re.compile(r"([=\-~^\"'#*+`:.])\1{2,}\s*$")


def lines(source: Source) -> Iterator[tuple[int, str]]:
    """The lines with their numbers from 1; a very long line comes in several parts with the same number.

    Raises:
        DocumentError: The file is not text, or not valid in the encoding that its own mark names.
    """
    found = source.encoding()
    try:
        with source.path.open(encoding=found.name, errors=found.errors) as file:
            yield from numbered(file)
    except UnicodeError as error:
        raise DocumentError(source.path, f"is not valid {found.name.upper()}") from error


def numbered(file: io.TextIOBase | io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    """The lines of an open file, as `lines` gives them."""
    number = 1
    while part := file.readline(LINE_CHARACTERS):
        yield number, part.removesuffix("\n")
        number += part.endswith("\n")


def read(source: Source) -> Iterator[Block]:
    """Paragraphs, with underlined lines (as in reStructuredText) as headings."""
    yield from paragraphs(lines(source))


def paragraphs(source: Iterator[tuple[int, str]]) -> Iterator[Block]:
    """Numbered lines put together into paragraphs at blank lines, and at headings."""
    styles: list[str] = []
    gathered: list[tuple[int, str]] = []
    for number, line in source:
        same_line = bool(gathered) and gathered[-1][0] == number
        if (not line.strip() and not same_line) or len(gathered) >= PARAGRAPH_LINES or len(line) >= LINE_CHARACTERS:
            yield from _paragraph(gathered, styles)
            gathered = []
        if line.strip():
            gathered.append((number, line))
    yield from _paragraph(gathered, styles)


def _paragraph(gathered: list[tuple[int, str]], styles: list[str]) -> Iterator[Block]:
    while gathered:
        title = _title(gathered)
        if title is None:
            break
        rest, text, style = title
        if style not in styles:
            styles.append(style)
        yield Block(text, "heading", min(6, styles.index(style) + 1), gathered[0][0], gathered[rest - 1][0])
        gathered = gathered[rest:]
    if gathered:
        parts = [gathered[0][1]]
        for (before, _), (number, line) in pairwise(gathered):
            parts.append(line if number == before else "\n" + line)
        yield Block("".join(parts), "paragraph", 0, gathered[0][0], gathered[-1][0])


def _title(gathered: list[tuple[int, str]]) -> tuple[int, str, str] | None:
    """Lines taken, the title and the style of its underline; None if the paragraph does not begin with one."""
    texts = [line for _, line in gathered[:3]]
    framed = len(texts) == 3 and _UNDERLINE.match(texts[0]) and texts[0].rstrip() == texts[2].rstrip()
    if framed and not _UNDERLINE.match(texts[1]):  # lines of signs alone are not titles
        return 3, texts[1].strip(), "over" + texts[0][0]
    if len(texts) >= 2 and _UNDERLINE.match(texts[1]) and _underlines(texts[0], texts[1]):
        return 2, texts[0].strip(), texts[1][0]
    return None


def _underlines(title: str, line: str) -> bool:
    return not _UNDERLINE.match(title) and len(title) < 120 and len(line.rstrip()) >= 0.8 * len(title.rstrip())
