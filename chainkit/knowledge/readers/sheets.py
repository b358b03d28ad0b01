"""Spreadsheets (XLSX, XLSB, XLS, ODS, XML): each row as `column: value` pairs with its number, the sheet as heading."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from chainkit.base.errors import DocumentError, MissingLibrary
from chainkit.base.tables import names_columns
from chainkit.knowledge.readers import odf
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.kinds import refused_ole
from chainkit.knowledge.readers.records import column_names, pairs
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.trees import attribute, etree, nearest, parsed_xml
from chainkit.knowledge.readers.zipped import UNPACKED_BYTES, archive

_MIDNIGHT = datetime.time()
_MOST_COLUMNS = 16_384


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
                sheet = book.get_sheet_by_name(name)
                yield from _sheet(source, name, enumerate(sheet.iter_rows(), 1 + (sheet.start or (0, 0))[0]))
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


def _sheet(source: Source, name: str, rows: Iterable[tuple[int, Sequence[Any]]]) -> Iterator[Block]:
    header: list[str] = []
    width = 0
    named = False
    for line, row in rows:
        cells = [_shown(value) for value in row]
        filled = sum(map(bool, cells))
        if not filled:
            header, width = ([], 0) if width else (header, width)  # a blank row: another table may begin
            continue
        if not named:
            named = True
            yield Block(name, "heading", 1)
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


def read_xml(source: Source) -> Iterator[Block]:
    """The rows of each sheet in Excel's XML of 2003, which web sites and reporting programs still export as .xls.

    Raises:
        DocumentError: It is not well-formed.
    """
    try:
        root = parsed_xml(source.path.read_bytes())
    except etree.XMLSyntaxError as error:
        raise DocumentError(source.path, f"is not well-formed XML ({error.msg})") from error
    for sheet in nearest(root, ("Worksheet",), ()):
        yield from _sheet(source, attribute(sheet, "Name") or "Sheet", _xml_rows(sheet))
        for comment in sheet.iter("{*}Comment"):
            if text := "".join(comment.itertext()).strip():
                yield Block(text)


def _xml_rows(sheet: Any) -> Iterator[tuple[int, Sequence[Any]]]:
    number = 0
    for row in nearest(sheet, ("Row",), ()):
        place = _place(row)
        if place > number + 1:
            yield number + 1, ()  # rows that are left out are blank
        number = max(number + 1, place)
        values: list[Any] = []
        for cell in nearest(row, ("Cell",), ()):
            if _place(cell) <= _MOST_COLUMNS:
                values += [""] * (_place(cell) - 1 - len(values))
            data = next(nearest(cell, ("Data",), ("Comment",)), None)
            values.append("" if data is None else _xml_value(attribute(data, "Type"), "".join(data.itertext())))
        yield number, values


def _place(element: Any) -> int:
    """Which row or column an element says it is; 0 where it follows the one before."""
    number = attribute(element, "Index")
    return int(number) if number.isdecimal() and len(number) < 9 else 0


def _xml_value(kind: str, text: str) -> Any:
    try:
        if kind == "Number":
            return float(text)
        if kind == "DateTime":
            return datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    return text == "1" if kind == "Boolean" else text


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
