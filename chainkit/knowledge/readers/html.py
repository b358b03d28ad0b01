"""HTML: the main text with its lines; scripts, styles and navigation left out; nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from chainkit.knowledge.readers.blocks import Block, Kind
from chainkit.knowledge.readers.text import whole

LIMIT_BYTES = 20_000_000
_SILENT = "script style template noscript svg math nav footer aside iframe object select button dialog"
_BREAKING = """
address article aside blockquote body br caption dd details div dl dt fieldset figcaption figure footer form h1 h2 h3
h4 h5 h6 head header hr html li main nav ol option p pre section summary table tbody td tfoot th thead title tr ul
"""
_EMPTY = "area base br col embed hr img input link meta source track wbr"
_LEFT_OUT, _BORDERS, _VOID = (frozenset(names.split()) for names in (_SILENT, _BREAKING, _EMPTY))
_ONLY_OUTSIDE_MAIN = frozenset(("header", "form"))
_MAIN = frozenset(("main", "article"))
_MARKED_SECTION = re.compile(r"<!\[CDATA\[|\]\]>|<!\[\s?[a-z]{1,10}\b[^\[\]<>]{0,200}\]>?", re.IGNORECASE)
_KINDS: dict[str, Kind] = {
    "li": "item",
    "dd": "item",
    "dt": "item",
    "pre": "code",
    "tr": "table",
    "td": "table",
    "th": "table",
}
_LEVELS = {f"h{level}": level for level in range(1, 7)}
_CLOSED_WITH = {"ul": ("li",), "ol": ("li",), "dl": ("dd", "dt"), "table": ("tr", "td", "th"), "head": ("title",)}
_MAIN_CHARACTERS = 200


def read(path: Path, name: str) -> Iterator[Block]:
    """Headings, paragraphs, items of lists, rows of tables and preformatted text."""
    yield from blocks(whole(path, name, LIMIT_BYTES))


def blocks(text: str) -> list[Block]:
    """The blocks of a page; only those inside `main` or `article` where these hold a text worth the name.

    >>> [block.text for block in blocks("<nav>Home</nav><p>Bees <b>fly</b>.</p>")]
    ['Bees fly.']
    """
    page = _Page()
    page.feed(_closed(text))
    page.close()
    page.end_block()
    inside = [block for block, main in page.found if main]
    if sum(len(block.text) for block in inside) >= _MAIN_CHARACTERS:
        return inside
    return [block for block, _ in page.found]


def _closed(text: str) -> str:
    """The text without constructs that never end.

    For each of those the standard parser before 3.11.14 and 3.13.6 reads the rest of the file again (CVE-2025-6069).
    """
    text = _MARKED_SECTION.sub("", text).replace("<![", "&lt;![")
    for opening, closing in (("<!--", "-->"), ("<", ">")):
        end = text.rfind(closing) + 1
        text = text[:end] + text[end:].replace(opening, "&lt;" + opening[1:])
    return text


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[Block, bool]] = []
        self._open: dict[str, int] = {}
        self._hidden: list[str] = []
        self._parts: list[str] = []
        self._first_line = 0
        self._last_line = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BORDERS and not (tag in ("td", "th") and self._open.get("tr")):
            self.end_block()
        elif tag in ("td", "th") and self._parts:
            self._parts.append(" | ")
        if tag in _VOID:
            return
        if self._hides(tag, {name for name, _ in attrs}):
            self._hidden.append(tag)
        self._open[tag] = self._open.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        if tag in _BORDERS and tag not in ("td", "th"):
            self.end_block()
        if self._open.get(tag):
            self._open[tag] -= 1
        for child in _CLOSED_WITH.get(tag, ()):
            self._open[child] = 0
        if self._hidden and tag == self._hidden[-1]:
            self._hidden.pop()
        elif tag in _BORDERS and tag in self._hidden:  # the inner one was never closed
            del self._hidden[self._hidden.index(tag) :]

    def handle_data(self, data: str) -> None:
        if self._hidden or (self._open.get("title") and not data.strip()):
            return
        line = self.getpos()[0]
        bare = data.strip()
        if bare:
            lead = data[: len(data) - len(data.lstrip())].count("\n")
            self._first_line = self._first_line or line + lead
            self._last_line = line + lead + bare.count("\n")
        self._parts.append(data)

    def _hides(self, tag: str, attributes: set[str]) -> bool:
        if self._hidden:
            return tag == self._hidden[-1] or tag in _LEFT_OUT  # counted, so that the right end tag ends it
        return tag in _LEFT_OUT or "hidden" in attributes or (tag in _ONLY_OUTSIDE_MAIN and not self._in_main())

    def end_block(self) -> None:
        """Give what has been gathered as one block."""
        raw = "".join(self._parts)
        first_line, self._first_line = self._first_line, 0
        self._parts.clear()
        text = raw.strip("\n") if self._open.get("pre") else " ".join(raw.split()).strip("| ")
        if not text.strip():
            return
        level = self._level()
        kind: Kind = "heading" if level else self._kind()
        block = Block(text.rstrip(), kind, level, first_line, self._last_line)
        self.found.append((block, self._in_main()))

    def _level(self) -> int:
        return next(
            (level for tag, level in _LEVELS.items() if self._open.get(tag)), 1 if self._open.get("title") else 0
        )

    def _kind(self) -> Kind:
        for tag, kind in _KINDS.items():
            if self._open.get(tag):
                return kind
        return "paragraph"

    def _in_main(self) -> bool:
        return any(self._open.get(tag) for tag in _MAIN)
