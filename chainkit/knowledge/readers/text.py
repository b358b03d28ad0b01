"""Plain text, in any of the usual encodings, a paragraph at a time."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.blocks import Block

CHUNK_BYTES = 1 << 20
LINE_CHARACTERS = 1 << 16
PARAGRAPH_LINES = 200
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b"))
_UNDERLINE = re.compile(r"([=\-~^\"'#*+`:.])\1{2,}\s*$")
_FALLBACK = "latin-1"


def encoding(path: Path) -> str:
    """The encoding of a text file, found by its first bytes and by reading it once, in bounded memory.

    Raises:
        DocumentError: The file is not text.
    """
    with path.open("rb") as file:
        head = file.read(CHUNK_BYTES)
        for mark, name in _MARKS:
            if head.startswith(mark):
                return name
        if b"\0" in head or len(head.translate(None, _CONTROL)) < 0.9 * len(head):
            raise DocumentError(path, "is not text (binary data)")
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while head:
                decoder.decode(head)
                head = file.read(CHUNK_BYTES)
                if b"\0" in head:
                    raise DocumentError(path, "is not text (binary data)")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return _FALLBACK
    return "utf-8"


def is_guess(name: str) -> bool:
    """Whether `encoding` fell back on Latin-1 because the file is not UTF-8."""
    return name == _FALLBACK


def lines(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers from 1; a very long line comes in several parts with the same number.

    Raises:
        DocumentError: The bytes do not fit the encoding that the file's own mark names.
    """
    try:
        with path.open(encoding=name) as file:
            yield from numbered(file)
    except UnicodeError as error:
        raise DocumentError(path, f"is not valid {name.upper()}") from error


def numbered(file: io.TextIOBase | io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    """The lines of an open file, as `lines` gives them."""
    number = 1
    while part := file.readline(LINE_CHARACTERS):
        yield number, part.removesuffix("\n")
        number += part.endswith("\n")


def whole(path: Path, name: str, limit_bytes: int) -> str:
    """The whole text, with `\\n` for every kind of line end.

    Raises:
        DocumentError: The file is larger than a parser that needs it whole should be given.
    """
    size = path.stat().st_size
    if size > limit_bytes:
        raise DocumentError(path, f"has {size:,} bytes; files of this kind are read up to {limit_bytes:,} bytes")
    try:
        return path.read_text(encoding=name)
    except UnicodeError as error:
        raise DocumentError(path, f"is not valid {name.upper()}") from error


def read(path: Path, name: str) -> Iterator[Block]:
    """Paragraphs, with underlined lines (as in reStructuredText) as headings."""
    yield from paragraphs(lines(path, name))


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
    if len(texts) == 3 and _UNDERLINE.match(texts[0]) and texts[0].rstrip() == texts[2].rstrip():
        return 3, texts[1].strip(), "over" + texts[0][0]
    if len(texts) >= 2 and _UNDERLINE.match(texts[1]) and _underlines(texts[0], texts[1]):
        return 2, texts[0].strip(), texts[1][0]
    return None


def _underlines(title: str, line: str) -> bool:
    return not _UNDERLINE.match(title) and len(title) < 120 and len(line.rstrip()) >= 0.8 * len(title.rstrip())
