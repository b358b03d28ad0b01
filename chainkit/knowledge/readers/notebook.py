"""Notebooks: text cells as Markdown, code cells with the text that they gave, each with its lines in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers import markdown
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.source import Source

_OUTPUT_CHARACTERS = 10_000
_MISSES = 50  # each reads the rest of the file


def read(source: Source) -> Iterator[Block]:
    """The cells in their order.

    Raises:
        DocumentError: The file is not a notebook.
    """
    raw = source.whole_text()
    book = json.loads(raw)
    cells = book.get("cells") if isinstance(book, dict) else None
    if cells is None and isinstance(book, dict):
        cells = [cell for sheet in book.get("worksheets", []) for cell in sheet.get("cells", [])]
    if not isinstance(cells, list):
        raise DocumentError(source.path, "is not a readable notebook (it holds no cells)")
    places = _Places(raw)
    for cell in cells:
        yield from _cell(source, cell, places)


def _cell(source: Source, cell: dict[str, Any], places: _Places) -> Iterator[Block]:
    text = _joined(cell.get("source", cell.get("input", "")))
    if cell.get("cell_type") in ("markdown", "heading"):
        prefix = "#" * int(cell.get("level", 1)) + " " if cell["cell_type"] == "heading" else ""
        for block in markdown.blocks(prefix + text):
            yield Block(block.text, block.kind, block.level, *places.lines(block.text))
        return
    if text.strip():
        yield Block(text, "code", 0, *places.lines(text))
    for output in cell.get("outputs", ()):
        given = _joined(output.get("text") or output.get("data", {}).get("text/plain") or "")
        if len(given) > _OUTPUT_CHARACTERS:
            source.note(f"outputs are cut after {_OUTPUT_CHARACTERS:,} letters")
        if given.strip():
            given = given[:_OUTPUT_CHARACTERS]
            yield Block(given, "code", 0, *places.lines(given))


def _joined(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value)


class _Places:
    """Line numbers of texts in the file, which has each line of a cell on a separate line."""

    def __init__(self, raw: str) -> None:
        self._raw = raw
        self._place = 0
        self._line = 1
        self._missed = 0

    def lines(self, text: str) -> tuple[int | None, int | None]:
        """The first and last line of the next text, or none where it cannot be found."""
        found = [self._find(line) for line in text.split("\n") if line.strip()]
        known = [line for line in found if line is not None]
        return (known[0], known[-1]) if known else (None, None)

    def _find(self, line: str) -> int | None:
        if self._missed > _MISSES:
            return None
        for ascii_only in (False, True):
            written = json.dumps(line.strip("# "), ensure_ascii=ascii_only)[1:-1]
            place = self._raw.find(written, self._place)
            if place >= 0:
                self._line += self._raw.count("\n", self._place, place)
                self._place = place
                return self._line
        self._missed += 1
        return None
