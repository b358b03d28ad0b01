"""Source code: cut where functions and classes begin, each named as a heading."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.text import LINE_CHARACTERS, lines

_PIECE_LINES = 400
_DEFINITION = re.compile(
    r"(?P<indent>[ \t]{0,8})(?:(?:export|default|public|private|protected|internal|static|abstract|final|async|pub|"
    r"pub\(crate\)|unsafe|override|open|sealed|data|inline|extern|const)\s{1,4}){0,4}"
    r"(?:def|class|func|function|fn|struct|interface|trait|impl|enum|module|namespace|object|record|protocol|sub)\b"
    r"[ \t]{0,4}[^\n]{0,120}"
)
_BELONGS = re.compile(r"\s*(?:@|#\[|//|/\*|\*|#|--|\"\"\"|template\b)")


def read(source: Source) -> Iterator[Block]:
    """Definitions with their bodies, and the text between them."""
    gathered: list[tuple[int, str]] = []
    heading: Block | None = None
    for number, line in lines(source):
        found = _DEFINITION.match(line)
        if found and not (gathered and gathered[-1][0] == number):
            kept, lead = _lead(gathered)
            yield from _piece(kept, heading)
            gathered = lead
            heading = Block(line.strip().rstrip("{:").rstrip(), "heading", _level(found["indent"]), number, number)
        elif len(gathered) >= _PIECE_LINES or len(line) >= LINE_CHARACTERS:
            yield from _piece(gathered, heading)
            gathered, heading = [], None
        gathered.append((number, line))
    yield from _piece(gathered, heading)


def _level(indent: str) -> int:
    return min(6, 1 + len(indent.expandtabs(4)) // 2)


def _lead(gathered: list[tuple[int, str]]) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Decorators and comments right above a definition belong to it."""
    cut = len(gathered)
    while cut and _BELONGS.match(gathered[cut - 1][1]):
        cut -= 1
    return gathered[:cut], gathered[cut:]


def _piece(gathered: list[tuple[int, str]], heading: Block | None) -> Iterator[Block]:
    if heading is not None:
        yield heading
    while gathered and not gathered[-1][1].strip():
        gathered = gathered[:-1]
    while gathered and not gathered[0][1].strip():
        gathered = gathered[1:]
    if gathered:
        yield Block("\n".join(line for _, line in gathered), "code", 0, gathered[0][0], gathered[-1][0])
