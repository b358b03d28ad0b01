"""Passages: pieces of a document, cut at its natural borders, small enough to be found and to be quoted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.documents import shown
from chainkit.knowledge.readers.plain import sentences, size

TARGET_TOKENS = 100
SHORT_TOKENS = 30
WHOLE_FACTOR = 1.7
PIECE_CHARACTERS = 4_000
_BLANK = re.compile(r"\n[ \t]*(?=\n)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document.

    Attributes:
        text: Verbatim from the document.
        path: The document: an absolute path, or the name that it was given.
        headings: The headings above it, the highest first.
        position: The how-manieth of its document, from 0.
        page: From 1; None where the document has no pages.
        first_line: From 1; None where the document has no lines.
        last_line: Included.
    """

    text: str
    path: str = ""
    headings: tuple[str, ...] = ()
    position: int = 0
    page: int | None = None
    first_line: int | None = None
    last_line: int | None = None

    @property
    def context(self) -> str:
        """The text that is indexed: headings and passage."""
        return " > ".join(self.headings) + "\n" + self.text if self.headings else self.text

    @property
    def place(self) -> str:
        """Its place, for display: `docs/gguf.md:12-18` or `paper.pdf, page 3`."""
        return place(self.path, self.page, self.first_line, self.last_line)

    def lines(self, start: int, end: int) -> tuple[int | None, int | None]:
        """The lines of the document that hold `text[start:end]`; those of the passage where that is not known."""
        if self.first_line is None or self.last_line is None:
            return None, None
        if self.text.count("\n") != self.last_line - self.first_line:
            return self.first_line, self.last_line
        first = self.first_line + self.text.count("\n", 0, start)
        return first, first + self.text.count("\n", start, end)


def place(path: str, page: int | None, first_line: int | None, last_line: int | None) -> str:
    """A file with its page or lines, for people."""
    if page is not None:
        return f"{shown(path)}, page {page}"
    if first_line is None:
        return shown(path)
    return f"{shown(path)}:{first_line}" + (f"-{last_line}" if last_line != first_line else "")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a block that is not cut further."""

    block: Block
    start: int
    end: int
    weight: int


def split(blocks: Iterable[Block], *, path: str = "", target_tokens: int = TARGET_TOKENS) -> Iterator[Passage]:
    """The passages of a document, in order.

    A passage ends at a heading or when it would grow past `target_tokens`, between paragraphs where it can, else
    between sentences. Code and tables stay whole up to 1.7 times that size, then they are cut
    at blank lines or at line ends.

    >>> from chainkit.knowledge.readers.markdown import blocks
    >>> [(p.headings, p.text, p.first_line) for p in split(blocks("# Bees\\n\\nThey fly."))]
    [(('Bees',), 'They fly.', 3)]
    """
    if target_tokens < 10:
        raise ValueError(f"target_tokens must be 10 or more, got {target_tokens}")
    for position, passage in enumerate(_passages(blocks, target_tokens)):
        yield replace(passage, path=path, position=position)


def _passages(blocks: Iterable[Block], target: int) -> Iterator[Passage]:
    path: list[Block] = []
    bare: Block | None = None  # a heading with nothing below it yet
    gathered: list[_Piece] = []
    for block in blocks:
        if block.kind == "heading":
            if gathered:
                yield _passage(gathered, path)
                gathered = []
            if bare is not None and bare.level >= block.level:
                yield _passage([_Piece(bare, 0, len(bare.text), 0)], path[:-1])
            path = [*(above for above in path if above.level < block.level), block]
            bare = block
            continue
        bare = None
        for piece in _pieces(block, target):
            if gathered and _full(gathered, piece, target):
                yield _passage(gathered, path)
                gathered = []
            gathered.append(piece)
    if gathered:
        yield _passage(gathered, path)
    if bare is not None:
        yield _passage([_Piece(bare, 0, len(bare.text), 0)], path[:-1])


def _full(gathered: list[_Piece], piece: _Piece, target: int) -> bool:
    weight = sum(one.weight for one in gathered)
    if gathered[-1].block.page != piece.block.page:
        return True
    if weight < SHORT_TOKENS and weight + piece.weight <= WHOLE_FACTOR * target:
        return False  # a line that introduces a list or a piece of code stays with it
    return weight + piece.weight > target * 1.2


def _pieces(block: Block, target: int) -> Iterator[_Piece]:
    weight = size(block.text)
    whole = WHOLE_FACTOR * target if block.kind in ("code", "table") else 1.2 * target
    if weight <= whole:
        if weight:
            yield _Piece(block, 0, len(block.text), weight)
        return
    cuts = _lines(block.text) if block.kind in ("code", "table") else sentences(block.text)
    for start, end in cuts:
        yield from _short_enough(block, start, end, target)


def _short_enough(block: Block, start: int, end: int, target: int) -> Iterator[_Piece]:
    """A sentence or line; one that is longer than a passage is cut between words."""
    window = PIECE_CHARACTERS
    while start < end:
        stop = min(end, start + window)
        weight = size(block.text[start:stop])
        if weight <= WHOLE_FACTOR * target and stop == end:
            yield _Piece(block, start, end, weight)
            return
        if weight <= target and window < PIECE_CHARACTERS:
            window = PIECE_CHARACTERS
            continue
        room = max(1, (stop - start) * target // max(weight, 1))
        cut = max(
            block.text.rfind(" ", start + room // 2, start + room),
            block.text.rfind("\n", start + room // 2, start + room),
        )
        cut = cut if cut > start else min(end, start + room)
        yield _Piece(block, start, cut, size(block.text[start:cut]))
        window = min(PIECE_CHARACTERS, 4 * room)  # no more than needed: signs may be a token each
        start = cut
        while start < end and block.text[start].isspace():
            start += 1


def _lines(text: str) -> Iterator[tuple[int, int]]:
    """Stretches between blank lines, or single lines where a stretch is long."""
    start = 0
    for match in [*_BLANK.finditer(text), None]:
        end = match.start() if match else len(text)
        if size(text[start:end]) > TARGET_TOKENS:
            yield from _single_lines(text, start, end)
        elif text[start:end].strip():
            yield _without_blank_lines(text, start, end)
        start = match.end() if match else end


def _single_lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        if text[start:stop].strip():
            yield start, stop
        start = stop + 1


def _without_blank_lines(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] == "\n":
        start += 1
    return start, end


def _passage(pieces: list[_Piece], headings: list[Block]) -> Passage:
    stretches = _stretches(pieces)
    text = stretches[0].block.text[stretches[0].start : stretches[0].end]
    for before, piece in pairwise(stretches):
        text += _gap(before, piece) + piece.block.text[piece.start : piece.end]
    first, _ = stretches[0].block.lines(stretches[0].start, stretches[0].end)
    _, last = stretches[-1].block.lines(stretches[-1].start, stretches[-1].end)
    return Passage(
        text=text,
        headings=tuple(" ".join(heading.text.split()) for heading in headings),
        page=stretches[0].block.page,
        first_line=first,
        last_line=last,
    )


def _stretches(pieces: list[_Piece]) -> list[_Piece]:
    """Join pieces of the same block, keeping the text between them."""
    joined: list[_Piece] = []
    for piece in pieces:
        if joined and joined[-1].block is piece.block:
            joined[-1] = replace(joined[-1], end=piece.end, weight=joined[-1].weight + piece.weight)
        else:
            joined.append(piece)
    return joined


def _gap(before: _Piece, after: _Piece) -> str:
    """Line ends between two blocks, as many as in the file."""
    _, last = before.block.lines(before.start, before.end)
    first, _ = after.block.lines(after.start, after.end)
    if last is None or first is None:
        return "\n\n"
    return "\n" * min(2, max(1, first - last))
