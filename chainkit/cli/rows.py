"""Texts that a command reads: one per line, or a column of a CSV or JSONL file."""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainkit.base import tables
from chainkit.base.errors import NO_SUCH_FILE, DocumentError, nearest

STDIN = "-"

_KINDS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with the mark of UTF-16, so it is looked for first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class InputRow:
    """A text and the line of the file where it ends; the first line is 1."""

    line: int
    text: str


@dataclass(frozen=True)
class InputRows:
    """What a file held.

    Attributes:
        rows: The texts that are not blank, in order.
        blank_lines: Lines of a table whose text was blank; they have no row.
    """

    rows: tuple[InputRow, ...]
    blank_lines: tuple[int, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The texts alone."""
        return [row.text for row in self.rows]


def read_rows(path: str, *, column: str | None = None, kind: str | None = None) -> InputRows:
    """Read the texts of a file, or of standard input for `-`.

    Args:
        path: Its ending says how it is read unless `kind` does: .csv, .tsv, .jsonl, .ndjson, else one text per line.
        column: The column or field that holds the text; a file with only one needs no name.
        kind: "lines", "csv", "tsv" or "jsonl".

    Raises:
        DocumentError: The file is absent, empty, not UTF-8, or has no such column; the message names the line.
    """
    name = "standard input" if path == STDIN else path
    kind = kind or _KINDS.get(Path(path).suffix.lower(), "lines")
    if column and kind == "lines":
        raise DocumentError(name, "lines of text have no columns; drop --column, or say --format csv, tsv or jsonl")
    text = read_text(path)
    found = list(_reader(kind)(name, text, column))
    rows = tuple(row for row in found if row.text.strip())
    if not rows:
        raise DocumentError(name, "holds no text")
    blank = () if kind == "lines" else tuple(row.line for row in found if not row.text.strip())
    return InputRows(rows, blank)


def read_text(path: str) -> str:
    """The whole of a file, or of standard input for `-`, without byte order mark.

    Raises:
        DocumentError: It is absent, a folder, or not UTF-8 (nor UTF-16 or UTF-32 with a mark).
    """
    if path == STDIN:
        return decoded("standard input", sys.stdin.buffer.read())
    try:
        return decoded(path, Path(path).read_bytes())
    except FileNotFoundError as error:
        raise DocumentError(path, f"{NO_SUCH_FILE}; '-' reads standard input") from error
    except IsADirectoryError as error:
        raise DocumentError(path, "is a folder; name a file") from error


def read_program(path: str) -> str:
    """The text of a program; raises as `read_text`, also of a blank one, which is most likely the wrong file."""
    text = read_text(path)
    if not text.strip():
        raise DocumentError("standard input" if path == STDIN else path, "holds no program")
    return text


def decoded(name: str, data: bytes, first_line: int = 1) -> str:
    """Bytes as text; `first_line` is the number of their first line.

    Raises:
        DocumentError: They are not UTF-8; the message names the line and the byte.
    """
    mark, encoding = next(((m, e) for m, e in _MARKS if data.startswith(m)), (b"", "utf-8"))
    body = data[len(mark) :]
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body[: error.start].count(b"\n") + first_line
        fault = f"line {line} is not {encoding.upper()} (byte 0x{body[error.start]:02x}); save the file as UTF-8"
        raise DocumentError(name, fault) from error


def _reader(kind: str) -> Any:
    return {"csv": _table, "tsv": _table_of_tabs, "jsonl": _jsonl, "lines": _lines}[kind]


def _lines(_name: str, text: str, _column: str | None) -> Iterator[InputRow]:
    # not splitlines(): that cuts at form feeds and other characters that belong to a text
    for line, content in enumerate(text.split("\n"), start=1):
        yield InputRow(line, content.strip())


def _table_of_tabs(name: str, text: str, column: str | None) -> Iterator[InputRow]:
    return _table(name, text, column, delimiter="\t")


def _table(name: str, text: str, column: str | None, delimiter: str | None = None) -> Iterator[InputRow]:
    found = tables.records(io.StringIO(text, newline=""), tables.dialect(text, delimiter), strict=True)
    try:
        header = next(found, None)
        if header is None:
            raise DocumentError(name, "holds no text")
        place = _place(name, [cell.strip() for cell in header.cells], column)
        for row in found:
            if len(row.cells) != len(header.cells):
                counts = f"line {row.last_line} has {len(row.cells)} cells and the header has {len(header.cells)}"
                raise DocumentError(name, f"{counts}; a text with commas needs quotes")
            yield InputRow(row.last_line, row.cells[place].strip())
    except csv.Error as error:
        raise DocumentError(name, str(error)) from error


def _place(name: str, header: list[str], column: str | None) -> int:
    if column is None and len(header) == 1:
        return 0
    if column is None:
        raise DocumentError(name, f"has several columns; choose one with --column: {', '.join(header)}")
    if column not in header:
        raise DocumentError(name, _no_column(column, header))
    if header.count(column) > 1:
        raise DocumentError(name, f"has {header.count(column)} columns named '{column}'; rename one")
    return header.index(column)


def _no_column(column: str, known: list[str]) -> str:
    hint = nearest(column, known)
    advice = f"; did you mean '{hint}'?" if hint else ";"
    return f"has no column '{column}'{advice} columns: {', '.join(known)}"


def _jsonl(name: str, text: str, column: str | None) -> Iterator[InputRow]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield InputRow(line, _field(name, line, content, column).strip())


def _field(name: str, line: int, content: str, column: str | None) -> str:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DocumentError(name, f"line {line} is not JSON: {error}") from error
    if isinstance(value, dict):
        value = _of_object(name, line, value, column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DocumentError(name, f"line {line} holds {type(value).__name__} where a text should be")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise DocumentError(name, f"line {line} has half of a surrogate pair, which is not a character")
    return value


def _of_object(name: str, line: int, value: dict[str, Any], column: str | None) -> Any:
    if column is None and len(value) == 1:
        return next(iter(value.values()))
    if column is None:
        fields = ", ".join(value)
        raise DocumentError(name, f"line {line} has several fields; choose one with --column: {fields}")
    if column not in value:
        raise DocumentError(name, f"line {line} {_no_column(column, list(value))}")
    return value[column]
