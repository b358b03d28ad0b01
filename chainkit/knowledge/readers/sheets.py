"""Spreadsheets (XLSX, XLSB, XLS, ODS): each row as `column: value` pairs, its number as line, its sheet as heading."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from chainkit.base.errors import DocumentError, MissingLibrary
from chainkit.base.tables import names_columns
from chainkit.knowledge.readers import odf
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.kinds import refused_ole
from chainkit.knowledge.readers.records import column_names, pairs
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.zipped import UNPACKED_BYTES, archive

_MIDNIGHT = datetime.time()


def read(source: Source) -> Iterator[Block]:
    """The rows of each sheet that are not blank, then comments and text boxes.

    Raises:
        DocumentError: The file is damaged, protected, or would unpack to too much.
        MissingLibrary: python-calamine is not installed.
    """
    try:
        import python_calamine
    except ImportError as error:
        raise MissingLibrary("python-calamine", extra="knowledge") from error
    _refuse_bomb(source)
    try:
        with python_calamine.CalamineWorkbook.from_path(source.path) as book:
            names: Sequence[str] = book.sheet_names
            for name in names:
                yield from _sheet(source, name, book.get_sheet_by_name(name))
    except python_calamine.PasswordError as error:
        raise DocumentError(source.path, "is protected by a password") from error
    if not names:  # OpenDocument does not ask for names, python-calamine does
        yield from odf.read(source, sheets=True)
    yield from _beside(source)


def _refuse_bomb(source: Source) -> None:
    if zipfile.is_zipfile(source.path):
        with archive(source) as opened:
            for name in opened.names:
                opened.open(name).close()


def _sheet(source: Source, name: str, sheet: Any) -> Iterator[Block]:
    first, _ = sheet.start or (0, 0)
    header: list[str] = []
    width = 0
    named = False
    for number, row in enumerate(sheet.iter_rows(), 1):
        cells = [_shown(value) for value in row]
        filled = sum(map(bool, cells))
        if not filled:
            header, width = ([], 0) if width else (header, width)  # a blank row: another table may begin
            continue
        if not named:
            named = True
            yield Block(name, "heading", 1)
        line = number + first
        if (
            not width
            and filled > 1
            and names_columns(cells)
            and all(isinstance(value, str) for value in row if value != "")
        ):
            header, width = column_names(source, cells), filled
            yield Block(" | ".join(filter(None, header)), "table", 0, line, line)
        elif text := pairs(header, cells):
            yield Block(text, "table" if filled > 1 else "paragraph", 0, line, line)


def _shown(value: Any) -> str:
    """A value as a person writes it."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return f"{value:.15g}" if value != int(value) or abs(value) >= 1e15 else str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == _MIDNIGHT else value.isoformat(" ")
    return str(value)


def _beside(source: Source) -> Iterator[Block]:
    """Comments and text boxes, which stand in parts of their own."""
    if not zipfile.is_zipfile(source.path):
        return
    with archive(source) as opened:
        for name in opened.names:
            if name.startswith(("xl/comments", "xl/threadedComments", "xl/drawings/drawing")) and name.endswith(".xml"):
                root = opened.tree(name)
                for text in () if root is None else _texts(root):
                    yield Block(text)


def _texts(root: Any) -> Iterator[str]:
    for element in root.iter("{*}comment", "{*}threadedComment", "{*}p"):
        parts: Sequence[str] = [one.text or "" for one in element.iter("{*}t", "{*}text")]
        if text := "".join(parts).strip():
            yield text


def read_ole(source: Source) -> Iterator[Block]:
    """Old Excel files; other files in this format are named.

    Raises:
        DocumentError: It is another one, or is protected by a password.
    """
    with source.path.open("rb") as file:
        data = file.read(UNPACKED_BYTES)
    if _wide("EncryptedPackage") in data:
        raise DocumentError(source.path, "is protected by a password")
    if _wide("WordDocument") not in data and (_wide("Workbook") in data or _wide("Book") in data):
        source.kind = "spreadsheet"
        yield from read(source)
        return
    raise refused_ole(source.path)


def _wide(name: str) -> bytes:
    return name.encode("utf-16-le")
