"""OpenDocument texts and presentations: headings, paragraphs, lists, tables, footnotes, text boxes and notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.blocks import Block, Kind
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.trees import attribute, etree, local, nearest
from chainkit.knowledge.readers.zipped import archive

_NOT_SHOWN = "tracked-changes annotation annotation-end note-citation forms title desc ruby-text settings"
_SKIPPED = frozenset(_NOT_SHOWN.split())
_SIGNS = {"tab": " ", "line-break": "\n"}
_MOST_SPACES = 1_000


def read(source: Source, *, sheets: bool = False) -> Iterator[Block]:
    """The blocks of a document; the page of a presentation is its slide.

    Args:
        source: The file.
        sheets: Number the rows of tables, each table's from 1.

    Raises:
        DocumentError: The file holds no document, is encrypted, or would unpack to too much.
    """
    with archive(source) as opened:
        if b"encryption-data" in opened.read("META-INF/manifest.xml"):
            raise DocumentError(source.path, "is protected by a password")
        root = opened.tree("content.xml")
        if root is None:
            raise DocumentError(source.path, "is not a readable OpenDocument file (it holds no content)")
        styles = opened.tree("styles.xml")
        document = _Document([root] if styles is None else [root, styles], sheets)
        body = root.find("{*}body")
        yield from document.blocks(root if body is None else body)
        if styles is not None:
            yield from document.around(styles)


class _Document:
    def __init__(self, roots: list[Any], sheets: bool) -> None:
        self._page: int | None = None
        self._sheets = sheets
        self._row_number: int | None = None
        self._table: Any = None
        self._repeated = 1
        self._titles: dict[str, int] = {}
        self._hidden: set[str] = set()
        for root in roots:
            for style in root.iter("{*}style"):
                self._note_style(style)

    def blocks(self, body: Any) -> Iterator[Block]:
        for element in nearest(body, ("p", "h", "table-row", "page"), _SKIPPED):
            name = local(element)
            if name == "page":
                self._page = (self._page or 0) + 1
                yield from self.blocks(element)
            elif name == "table-row":
                yield from self._row(element)
            else:
                yield from self._paragraph(element)

    def around(self, styles: Any) -> Iterator[Block]:
        """Headers and footers, each text once."""
        seen: set[str] = set()
        for part in styles.iter("{*}header", "{*}footer", "{*}header-first", "{*}footer-first"):
            for paragraph in part.iter("{*}p"):
                text = " ".join("".join(self._gathered(paragraph)[0]).split())
                if any(map(str.isalpha, text)) and text not in seen:
                    seen.add(text)
                    yield Block(text)

    def _paragraph(self, element: Any) -> Iterator[Block]:
        parts, inside = self._gathered(element)
        if text := "".join(parts).strip():
            kind, level = self._role(element)
            yield Block(text, kind, level, page=self._page)
        for one in inside:
            yield from self.blocks(one)

    def _count(self, row: Any) -> None:
        table = next(row.iterancestors("{*}table"), None)
        if table is not self._table:
            self._table, self._row_number, self._repeated = table, 0, 1
        repeated = attribute(row, "number-rows-repeated")
        self._row_number = (self._row_number or 0) + self._repeated
        self._repeated = int(repeated) if repeated.isdecimal() else 1

    def _row(self, row: Any) -> Iterator[Block]:
        if self._sheets:
            self._count(row)
        cells: list[str] = []
        after: list[Any] = []
        for cell in nearest(row, ("table-cell",), _SKIPPED):
            texts: list[str] = []
            for element in nearest(cell, ("p", "h", "table"), _SKIPPED):
                if local(element) == "table":
                    after.append(element)
                else:
                    parts, inside = self._gathered(element)
                    texts.append("".join(parts))
                    after += inside
            cells.append(" ".join(" ".join(texts).split()))
        if text := " | ".join(filter(None, cells)):
            yield Block(text, "table", 0, self._row_number, self._row_number, self._page)
        for one in after:
            yield from self.blocks(one)

    def _gathered(self, paragraph: Any) -> tuple[list[str], list[Any]]:
        """The text of a paragraph, and the footnotes and text boxes in it."""
        parts: list[str] = [paragraph.text or ""]
        inside: list[Any] = []
        walk = etree.iterwalk(paragraph, events=("start", "end"))
        for event, one in walk:
            if one is paragraph:
                continue
            if event == "end":
                parts.append(one.tail or "")
                continue
            name = local(one)
            if name in ("note-body", "text-box", "table"):
                inside.append(one)
                walk.skip_subtree()
            elif name in _SKIPPED or (name == "span" and self._style_of(one) in self._hidden):
                walk.skip_subtree()
            elif name == "s":
                count = attribute(one, "c")
                parts.append(" " * min(_MOST_SPACES, int(count) if count.isdecimal() else 1))
            else:
                parts.append(_SIGNS.get(name, one.text or ""))
        return parts, inside

    def _role(self, element: Any) -> tuple[Kind, int]:
        if local(element) == "h":
            level = attribute(element, "outline-level")
            return "heading", min(6, max(1, int(level))) if level.isdecimal() else 1
        if level := self._titles.get(self._style_of(element)):
            return "heading", level
        for above in element.iterancestors():
            name = local(above)
            if name == "list-item":
                return "item", 0
            if name == "frame" and attribute(above, "class") == "title":
                return "heading", 1
            if name in ("note-body", "page"):
                break
        return "paragraph", 0

    def _note_style(self, style: Any) -> None:
        names = {attribute(style, key).lower() for key in ("name", "display-name", "parent-style-name")}
        own = attribute(style, "name")
        if "title" in names:
            self._titles[own] = 1
        elif "subtitle" in names:
            self._titles[own] = 2
        properties = style.find("{*}text-properties")
        if properties is not None and attribute(properties, "display") == "none":
            self._hidden.add(own)

    @staticmethod
    def _style_of(element: Any) -> str:
        return attribute(element, "style-name")
