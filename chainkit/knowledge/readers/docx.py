"""DOCX: headings, paragraphs and tables in their order; pictures, comments and links are left alone."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chainkit.base.errors import DocumentError, MissingLibrary
from chainkit.knowledge.readers.blocks import Block, Kind
from chainkit.knowledge.readers.faults import FAULTS, refuse_large, unreadable

LIMIT_BYTES = 50_000_000
UNPACKED_BYTES = 100_000_000


def read(path: Path) -> Iterator[Block]:
    """The blocks of a document.

    Raises:
        DocumentError: The file is damaged, or would unpack to more than `UNPACKED_BYTES`.
        MissingLibrary: python-docx is not installed.
    """
    try:
        import docx
        from docx.opc.exceptions import OpcError
        from lxml.etree import LxmlError
    except ImportError as error:
        raise MissingLibrary("python-docx", extra="knowledge") from error
    refuse_large(path, LIMIT_BYTES, "DOCX")
    try:
        _refuse_bomb(path)
        with path.open("rb") as file:
            for part in docx.Document(file).iter_inner_content():
                yield from _blocks(part)
    except (OpcError, LxmlError, zipfile.BadZipFile, *FAULTS) as error:
        raise unreadable(path, "DOCX", error) from error


def _refuse_bomb(path: Path) -> None:
    """The sizes that the archive declares are also the most that is unpacked."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > UNPACKED_BYTES:
        raise DocumentError(path, f"would unpack to {unpacked:,} bytes; the limit is {UNPACKED_BYTES:,} bytes")


def _blocks(part: Any) -> Iterator[Block]:
    if hasattr(part, "rows"):
        for row in part.rows:
            cells = dict.fromkeys(
                (cell._tc, " ".join(cell.text.split())) for cell in row.cells
            )  # a merged cell comes twice
            if text := " | ".join(text for _, text in cells if text):
                yield Block(text, "table")
    elif text := part.text.strip():
        kind, level = _style(part)
        yield Block(text, kind, level)


def _style(paragraph: Any) -> tuple[Kind, int]:
    name = str(getattr(paragraph.style, "name", "") or "")
    last = name.rpartition(" ")[2]
    if name.startswith("Heading") and last.isdecimal():
        return "heading", min(6, max(1, int(last)))
    if name == "Title":
        return "heading", 1
    return ("item" if name.startswith("List") else "paragraph"), 0
