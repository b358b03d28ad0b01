"""DOCX: all text that Word shows, in its order: tracked insertions, forms, footnotes, text boxes and nested tables too.

Pictures, comments, hidden and deleted text are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.blocks import Block, Kind
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.trees import attribute, etree, local, nearest
from chainkit.knowledge.readers.zipped import Archive, archive

_NOT_SHOWN = """
del moveFrom instrText delText delInstrText rPr pPr tblPr tcPr trPr sectPr rt annotation Fallback
"""
_SKIPPED = frozenset(_NOT_SHOWN.split())
_SIGNS = {"tab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": " "}
_TITLES = {"title": 1, "subtitle": 2}


def read(source: Source) -> Iterator[Block]:
    """The blocks of a document: headers, body with each footnote after its paragraph, diagrams, footers.

    Raises:
        DocumentError: The file holds no document, is protected, or would unpack to too much.
    """
    with archive(source) as opened:
        name = next(
            (name for kind, name in opened.related("").values() if kind == "officeDocument"), "word/document.xml"
        )
        if name not in opened.names:
            raise DocumentError(source.path, "is not a readable DOCX (it holds no document)")
        yield from _Document(opened, name, source).blocks()


@dataclass(slots=True)
class _Style:
    """What a style says of its paragraphs and runs."""

    name: str = ""
    level: int | None = None
    item: bool = False
    hidden: bool = False


@dataclass(slots=True)
class _Piece:
    """A paragraph or cell being collected: its text, and text to put after it."""

    parts: list[str] = field(default_factory=list[str])
    after: list[Block] = field(default_factory=list[Block])

    def text(self) -> str:
        return "".join(self.parts)


class _Document:
    def __init__(self, opened: Archive, name: str, source: Source) -> None:
        self._opened = opened
        self._name = name
        self._source = source
        self._parts = opened.related(name)
        self._styles = self._read_styles()
        self._notes: dict[tuple[str, str], list[Block]] = {}
        self._read_notes()

    def blocks(self) -> Iterator[Block]:
        yield from self._once("header")
        yield from self._body()
        for part in self._named("diagramData"):
            root = self._opened.tree(part)
            for paragraph in () if root is None else root.iter("{*}p"):
                if text := self._piece(paragraph).text().strip():
                    yield Block(text)
        yield from self._once("footer")
        if any(kind == "aFChunk" for kind, _ in self._parts.values()):
            self._source.note("holds a document inside the document, which is not read")

    def _body(self) -> Iterator[Block]:
        """The paragraphs and rows outside of tables, each forgotten when it has been read: documents are long."""
        with self._opened.open(self._name) as part:
            tables = boxes = 0
            walk = etree.iterparse(
                part,
                events=("start", "end"),
                resolve_entities=False,
                no_network=True,
                huge_tree=True,
                remove_comments=True,
            )
            for event, element in walk:
                name = local(element)
                if event == "start":
                    tables += name == "tbl"
                    boxes += name == "txbxContent"
                    continue
                tables -= name == "tbl"
                boxes -= name == "txbxContent"
                if boxes or not ((name == "p" and not tables) or (name == "tr" and tables == 1)) or _is_gone(element):
                    continue
                yield from self._paragraph(element) if name == "p" else self._row(element)
                _forget(element)

    def _once(self, kind: str) -> Iterator[Block]:
        """Headers or footers, each text once."""
        seen: set[str] = set()
        for part in self._named(kind):
            root = self._opened.tree(part)
            for paragraph in () if root is None else root.iter("{*}p"):
                text = " ".join(self._piece(paragraph).text().split())
                if any(map(str.isalpha, text)) and text not in seen:
                    seen.add(text)
                    yield Block(text)

    def _paragraph(self, paragraph: Any) -> Iterator[Block]:
        piece = self._piece(paragraph)
        style = self._styles.get(_value(paragraph.find("{*}pPr/{*}pStyle")), _Style())
        if text := piece.text().strip():
            kind, level = _role(paragraph, style)
            yield Block(text, kind, level)
        yield from piece.after

    def _row(self, row: Any) -> Iterator[Block]:
        cells: list[str] = []
        after: list[Block] = []
        for cell in _nearest(row, "tc"):
            piece = _Piece()
            for paragraph in _nearest(cell, "p", "tbl"):
                if local(paragraph) == "tbl":
                    for inner in _nearest(paragraph, "tr"):
                        piece.after += self._row(inner)
                else:
                    one = self._piece(paragraph)
                    piece.parts.append(f"{one.text()} ")
                    piece.after += one.after
            cells.append(" ".join(piece.text().split()))
            after += piece.after
        if text := " | ".join(filter(None, cells)):
            yield Block(text, "table")
        yield from after

    def _piece(self, paragraph: Any) -> _Piece:
        """The text of a paragraph, and its text boxes and footnotes."""
        piece = _Piece()
        self._gather(paragraph, piece)
        return piece

    def _gather(self, element: Any, piece: _Piece) -> None:
        walk = etree.iterwalk(element, events=("start",))
        for _, one in walk:
            name = local(one)
            if name in _SKIPPED or (name == "r" and self._hides(one)):
                walk.skip_subtree()
            elif name == "txbxContent":
                walk.skip_subtree()
                piece.after += self._box(one)
            elif name == "t":
                piece.parts.append(one.text or "")
            elif name in ("footnoteReference", "endnoteReference"):
                piece.after += self._notes.get((name, attribute(one, "id")), ())
            elif name == "sym":
                piece.parts.append(_symbol(one))
            elif sign := _SIGNS.get(name):
                piece.parts.append(sign)

    def _box(self, box: Any) -> Iterator[Block]:
        for one in _nearest(box, "p", "tbl"):
            if local(one) == "p":
                yield from self._paragraph(one)
            else:
                for row in _nearest(one, "tr"):
                    yield from self._row(row)

    def _hides(self, run: Any) -> bool:
        vanish = run.find("{*}rPr/{*}vanish")
        if vanish is not None:
            return _on(vanish)
        style = run.find("{*}rPr/{*}rStyle")
        return style is not None and self._styles.get(_value(style), _Style()).hidden

    def _read_notes(self) -> None:
        for kind in ("footnote", "endnote"):
            for part in self._named(f"{kind}s"):
                root = self._opened.tree(part)
                for note in () if root is None else root.iter(f"{{*}}{kind}"):
                    texts = (self._piece(paragraph).text().strip() for paragraph in note.iter("{*}p"))
                    self._notes[f"{kind}Reference", attribute(note, "id")] = [Block(text) for text in texts if text]

    def _read_styles(self) -> dict[str, _Style]:
        styles: dict[str, _Style] = {}
        based: dict[str, str] = {}
        for part in self._named("styles"):
            root = self._opened.tree(part)
            for one in () if root is None else root.iter("{*}style"):
                number = attribute(one, "styleId")
                based[number] = _value(one.find("{*}basedOn"))
                styles[number] = _style(one)
        for number, style in styles.items():
            above = based.get(number, "")
            for _ in range(20):  # a circle of styles ends
                parent = styles.get(above)
                if parent is None:
                    break
                style.level = parent.level if style.level is None else style.level
                style.item = style.item or parent.item
                style.hidden = style.hidden or parent.hidden
                above = based.get(above, "")
        return styles

    def _named(self, kind: str) -> list[str]:
        return list(
            dict.fromkeys(name for one, name in self._parts.values() if one == kind and name in self._opened.names)
        )


def _style(element: Any) -> _Style:
    name = _value(element.find("{*}name")).lower()
    level = _TITLES.get(name)
    word, _, number = name.rpartition(" ")
    if word == "heading" and number.isdecimal():
        level = int(number)
    outline = _value(element.find("{*}pPr/{*}outlineLvl"))
    if level is None and outline.isdecimal() and int(outline) < 9:
        level = int(outline) + 1
    numbered = element.find("{*}pPr/{*}numPr") is not None
    vanish = element.find("{*}rPr/{*}vanish")
    return _Style(name, level, numbered or name.startswith("list"), vanish is not None and _on(vanish))


def _role(paragraph: Any, style: _Style) -> tuple[Kind, int]:
    own = _value(paragraph.find("{*}pPr/{*}outlineLvl"))
    level = int(own) + 1 if own.isdecimal() else style.level
    if level is not None and level <= 9:
        return "heading", min(6, max(1, level))
    return ("item" if style.item or paragraph.find("{*}pPr/{*}numPr") is not None else "paragraph"), 0


def _nearest(element: Any, *names: str) -> Iterator[Any]:
    return (one for one in nearest(element, names, _SKIPPED) if not _is_gone(one))


def _is_gone(element: Any) -> bool:
    """Whether a row is a tracked deletion, or a block is in a hidden part."""
    if element.find("{*}trPr/{*}del") is not None:
        return True
    return any(local(one) in ("del", "moveFrom", "Fallback") for one in element.iterancestors())


def _forget(element: Any) -> None:
    """Free an element that was read, and those before it."""
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def _value(element: Any) -> str:
    return "" if element is None else attribute(element, "val")


def _on(element: Any) -> bool:
    return _value(element).lower() not in ("0", "false", "off")


def _symbol(element: Any) -> str:
    """Symbol fonts use the private area of Unicode; only other symbols can be read."""
    try:
        number = int(attribute(element, "char"), 16)
    except ValueError:
        return ""
    return "" if 0xE000 <= number <= 0xF8FF or number > 0x10FFFF else chr(number)
