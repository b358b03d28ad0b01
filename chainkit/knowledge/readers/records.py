"""CSV and JSON lines: each record as `name: value` pairs, with its line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from chainkit.base import tables
from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.text import lines

RECORD_CHARACTERS = 5_000_000
NAME_CHARACTERS = 200
_NAMES_CHARACTERS = 5_000


def read_csv(source: Source) -> Iterator[Block]:
    """One block for each row, named by the first row; the delimiter is detected from all rows."""
    found = source.encoding()
    tabs = "\t" if source.path.suffix.lower() == ".tsv" else None
    with source.path.open(encoding=found.name, errors=found.errors, newline="") as file:
        try:
            like = tables.dialect(file.read(tables.SAMPLE_CHARACTERS), tabs)
            file.seek(0)
            yield from _rows(source, tables.records(iter(lambda: file.readline(RECORD_CHARACTERS), ""), like), like)
        except UnicodeError as error:
            raise DocumentError(source.path, f"is not valid {found.name.upper()}") from error


def _rows(source: Source, records: Iterator[tables.Record], like: tables.Dialect) -> Iterator[Block]:
    header: list[str] | None = None
    titles: Block | None = None
    named = False
    broken: list[int] = []
    for record in records:
        if record.broken:
            broken.append(record.first_line)
        if header is None and len(record.cells) >= like.columns and tables.names_columns(record.cells):
            header = column_names(source, record.cells)
            titles = Block(" | ".join(filter(None, header)), "table", 0, record.first_line, record.last_line)
            continue
        if header is None and len(record.cells) >= like.columns:
            header = []  # the first row of values: there are no names
        if text := pairs(header or (), record.cells):
            named = True
            yield Block(text, "table", 0, record.first_line, record.last_line)
    if titles and not named:
        yield titles
    if broken:
        rows = f"{len(broken):,} rows, the first in line" if len(broken) > 1 else "the row of line"
        source.note(f"quotes in {rows} {broken[0]} do not end where they should; read as they stand")


def column_names(source: Source, cells: Sequence[str]) -> list[str]:
    """Names that may be repeated in each row: very long ones are cut, with a note."""
    names = [" ".join(cell.split()) for cell in cells]
    longest = NAME_CHARACTERS if sum(map(len, names)) <= _NAMES_CHARACTERS else max(8, _NAMES_CHARACTERS // len(names))
    if any(len(name) > longest for name in names):
        source.note(f"names of columns are cut after {longest} letters")
    return [name[:longest] for name in names]


def pairs(header: Sequence[str], row: Sequence[str]) -> str:
    """A row as `name: value` pairs, without those that have no value.

    >>> pairs(["City", "Fare"], ["Ulm", "12 euros"]), pairs([], ["Ulm", "12 euros"])
    ('City: Ulm, Fare: 12 euros', 'Ulm, 12 euros')
    """
    named = itertools.zip_longest(header, row[: max(len(header), len(row))], fillvalue="")
    values = ((name, " ".join(value.split())) for name, value in named)
    return ", ".join(f"{name}: {value}" if name else value for name, value in values if value)


def read_jsonl(source: Source) -> Iterator[Block]:
    """One block for each line.

    Raises:
        DocumentError: A line is not JSON; the error names the first such line.
    """
    for number, line in _whole_lines(source):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DocumentError(source.path, f"line {number} is not JSON: {str(error)[:80]}") from error
        if text := ", ".join(_flat(source, "", record)):
            yield Block(text, "table", 0, number, number)


def _flat(source: Source, name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            longer = f"{name}.{key}" if name else str(key)
            if len(longer) > NAME_CHARACTERS:
                source.note(f"names of fields are cut after {NAME_CHARACTERS} letters")
            yield from _flat(source, longer[:NAME_CHARACTERS], inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _flat(source, name, inner)
    elif value is not None and value != "":
        yield f"{name}: {value}" if name else str(value)


def _whole_lines(source: Source) -> Iterator[tuple[int, str]]:
    for number, parts in itertools.groupby(lines(source), key=lambda part: part[0]):
        gathered: list[str] = []
        size = 0
        for _, part in parts:
            gathered.append(part)
            size += len(part)
            if size > RECORD_CHARACTERS:
                raise DocumentError(source.path, f"line {number} has more than {RECORD_CHARACTERS:,} characters")
        line = "".join(gathered)
        if line.strip():
            yield number, line
