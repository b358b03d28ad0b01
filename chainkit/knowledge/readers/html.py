"""HTML: the main text with its lines; scripts, hidden parts and lists of links left out; nothing is fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from chainkit.knowledge.readers import charsets
from chainkit.knowledge.readers.blocks import Block, Kind
from chainkit.knowledge.readers.markup import BREAKING, Page, flowing, lines_of, parsed
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.trees import etree

_KINDS: dict[str, Kind] = {"pre": "code", "li": "item", "dd": "item", "dt": "item"}
_LEVELS = {f"h{level}": level for level in range(1, 7)}
_HEADINGS = frozenset(_LEVELS)
_SHOWN_INPUTS = frozenset(("text", "email", "number", "tel", "url", "date", "search"))
_CELL_CHARACTERS = 600


def read(source: Source) -> Iterator[Block]:
    """Headings, paragraphs, items of lists, rows of tables and preformatted text."""
    data = source.path.read_bytes()
    found = charsets.of_bytes(data, charsets.declared(data))
    if found.note:
        source.note(found.note)
    yield from blocks(found.decode(data).replace("\r\n", "\n").replace("\r", "\n"))


def blocks(text: str) -> list[Block]:
    """The blocks of a page; only those inside `main` or one `article` where these hold a text worth the name.

    >>> [block.text for block in blocks("<nav>Home</nav><p>Bees <b>fly</b>.</p>")]
    ['Bees fly.']
    """
    root = parsed(text)
    if root is None:
        return []
    page = Page(root)
    return _Walk(page).all()


class _Walk:
    """One walk over a page, gathering text until a block ends."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._found: list[Block] = []
        self._open: Counter[str] = Counter()
        self._main = 0
        self._parts: list[str] = []
        self._notes: list[Any] = []
        self._buttons = 0
        self._breaks = 0
        self._line = 1
        self._first_line = 0
        self._last_line = 0

    def all(self) -> list[Block]:
        walk = etree.iterwalk(self._page.root, events=("start", "end"))
        for event, element in walk:
            if event == "start":
                self._enter(element)
                if self._page.left_out(element) or not self._begin(element):
                    walk.skip_subtree()
            else:
                self._end(element)
        self._end_block()
        return self._found

    def _enter(self, element: Any) -> None:
        self._line = max(self._line, element.sourceline or 0)
        if element.tag in BREAKING or element.get("role") == "heading":
            self._end_block()
        self._open[element.tag] += 1
        self._open["h2"] += element.get("role") == "heading"
        self._main += element in self._page.main

    def _begin(self, element: Any) -> bool:
        """Whether the walk goes into an element; a row of a table is read at once."""
        tag = element.tag
        if tag == "tr" and self._row(element):
            return False
        note = self._page.note_of(element) if tag == "a" else None
        if note is not None:
            self._notes.append(note)
            return False  # its number means nothing here
        if tag == "br":
            self._break()
        elif tag == "input" and element.get("type", "text") in _SHOWN_INPUTS and element.get("value"):
            self._add(f" {element.get('value')} ")
        self._add(element.text)
        return True

    def _end(self, element: Any) -> None:
        heading = element.get("role") == "heading"
        if element.tag in BREAKING or heading:
            self._end_block()
        self._open[element.tag] -= 1
        self._open["h2"] -= heading
        self._main -= element in self._page.main
        self._add(element.tail)

    def _break(self) -> None:
        self._breaks += 1
        if self._breaks > 1 and self._open["pre"] <= 0:
            self._end_block()
        else:
            self._parts.append("\n")

    def _add(self, text: str | None) -> None:
        if not text:
            return
        bare = text.strip()
        if bare:
            lead = text[: len(text) - len(text.lstrip())].count("\n")
            self._first_line = self._first_line or self._line + lead
            self._last_line = self._line + lead + bare.count("\n")
            self._breaks = 0
            self._buttons += len(bare) if self._open["button"] > 0 else 0
        self._line += text.count("\n")
        self._parts.append(text)

    def _row(self, element: Any) -> bool:
        """Give a row of several cells as one block; not one that only lays out what could stand alone."""
        cells = [cell for cell in element if cell.tag in ("td", "th")]
        if (
            len(cells) < 2
            or self._open["pre"] > 0
            or any(one.tag == "table" or one.tag in _HEADINGS for one in element.iter())
        ):
            return False
        texts = [
            " ".join("".join(flowing(cell, self._page)).split()) for cell in cells if not self._page.left_out(cell)
        ]
        if any(len(text) > _CELL_CHARACTERS for text in texts):
            return False
        first, self._line = lines_of(element, self._line)
        self._give(Block(" | ".join(filter(None, texts)), "table", 0, first, self._line))
        return True

    def _end_block(self) -> None:
        self._end_text()
        notes, self._notes = self._notes, []
        for note in notes:  # after the text that refers to it, so that a passage holds both
            text = " ".join("".join(flowing(note, self._page)).split())
            self._give(Block(text, "paragraph", 0, *lines_of(note, self._line)))

    def _end_text(self) -> None:
        raw = "".join(self._parts)
        first_line, self._first_line = self._first_line, 0
        buttons, self._buttons, self._breaks = self._buttons, 0, 0
        self._parts.clear()
        if not raw or raw.isspace():
            return
        text = raw.strip("\n").rstrip() if self._open["pre"] > 0 else " ".join(raw.split())
        level = self._level()
        if not level and buttons >= len("".join(text.split())) and " " not in text:
            return  # a button alone, such as "Submit"
        self._give(Block(text, "heading" if level else self._kind(), level, first_line, self._last_line))

    def _give(self, block: Block) -> None:
        inside = self._main or block.level == 1 or not self._page.main
        if inside and block.text:
            self._found.append(block)

    def _level(self) -> int:
        if self._open["title"] > 0:
            return 1
        return next((level for tag, level in _LEVELS.items() if self._open[tag] > 0), 0)

    def _kind(self) -> Kind:
        for tag, kind in _KINDS.items():
            if self._open[tag] > 0:
                return kind
        return "paragraph"
