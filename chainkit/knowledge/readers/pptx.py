"""PPTX: the slides in their order, with their number as page: titles, texts, tables, diagrams and notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.zipped import Archive, archive

_TITLES = frozenset(("title", "ctrTitle"))
_NOT_READ = frozenset(("sldNum", "dt", "ftr", "hdr", "sldImg"))


def read(source: Source) -> Iterator[Block]:
    """A heading for the title of each slide, then its text; notes come last.

    Raises:
        DocumentError: The file holds no presentation, is protected, or would unpack to too much.
    """
    with archive(source) as opened:
        name = next(
            (name for kind, name in opened.related("").values() if kind == "officeDocument"), "ppt/presentation.xml"
        )
        root = opened.tree(name)
        if root is None:
            raise DocumentError(source.path, "is not a readable PPTX (it holds no presentation)")
        parts = opened.related(name)
        ids = [value for one in root.iter("{*}sldId") for key, value in one.attrib.items() if key.endswith("}id")]
        for number, slide in enumerate(ids, 1):
            if slide in parts:
                yield from _slide(opened, parts[slide][1], number)


def _slide(opened: Archive, name: str, number: int) -> Iterator[Block]:
    root = opened.tree(name)
    if root is None:
        return
    shapes = list(root.iter("{*}sp", "{*}graphicFrame", "{*}cxnSp"))
    titles = [shape for shape in shapes if _placeholder(shape) in _TITLES]
    for shape in titles:
        if text := " ".join(" ".join(_texts(shape)).split()):
            yield Block(text, "heading", 1, page=number)
    for shape in shapes:
        if shape not in titles and _placeholder(shape) not in _NOT_READ:
            yield from _shape(shape, number)
    for kind, part in opened.related(name).values():
        if kind in ("diagramData", "chart", "notesSlide") and (other := opened.tree(part)) is not None:
            yield from _other(other, kind, number)


def _shape(shape: Any, number: int) -> Iterator[Block]:
    for row in shape.iter("{*}tr"):
        cells = [" ".join(" ".join(_texts(cell)).split()) for cell in row.iterchildren("{*}tc")]
        if text := " | ".join(filter(None, cells)):
            yield Block(text, "table", page=number)
    if shape.find(".//{*}tbl") is None:
        for text in _texts(shape):
            yield Block(text, page=number)


def _other(root: Any, kind: str, number: int) -> Iterator[Block]:
    if kind == "notesSlide":
        for shape in root.iter("{*}sp"):
            if _placeholder(shape) not in _NOT_READ:
                yield from _shape(shape, number)
        return
    for text in _texts(root):
        yield Block(text, page=number)
    if kind == "chart":
        names = dict.fromkeys(" ".join((one.text or "").split()) for one in root.iter("{*}v"))
        if text := ", ".join(name for name in names if name):
            yield Block(text, "table", page=number)


def _texts(element: Any) -> Iterator[str]:
    """The paragraphs inside, without those that are only a number which the program fills in."""
    for paragraph in element.iter("{*}p"):
        parts: list[str] = []
        for one in paragraph.iter("{*}t", "{*}br", "{*}tab"):
            name = one.tag.rpartition("}")[2]
            parts.append((one.text or "") if name == "t" else "\n" if name == "br" else " ")
        if text := "".join(parts).strip():
            yield text


def _placeholder(shape: Any) -> str:
    found = shape.find(".//{*}nvPr/{*}ph")
    return "" if found is None else found.get("type", "body")
