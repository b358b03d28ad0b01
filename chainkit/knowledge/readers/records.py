"""CSV and JSON lines: each record as `name: value` pairs, with its line."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.text import lines

RECORD_CHARACTERS = 5_000_000
_SNIFFED_LINES = 20


def read_csv(path: Path, name: str) -> Iterator[Block]:
    """One block for each row, named by the first row; comma, semicolon, tab and bar are told apart.

    Raises:
        DocumentError: A field is longer than 131,072 characters, or the quoting is broken.
    """
    with path.open(encoding=name, newline="") as file:
        sample = "".join(itertools.islice((line[:4096] for line in file), _SNIFFED_LINES))
        file.seek(0)
        rows = csv.reader(file, delimiter=_delimiter(sample, path), strict=True)
        try:
            header = [field.strip() for field in next(rows, [])]
            first = rows.line_num + 1
            if header and not any(header):
                header = []
            for row in rows:
                if text := _pairs(header, row):
                    yield Block(text, "table", 0, first, rows.line_num)
                first = rows.line_num + 1
        except csv.Error as error:
            raise DocumentError(path, f"is not a readable CSV, line {rows.line_num}: {error}") from error
        except UnicodeError as error:
            raise DocumentError(path, f"is not valid {name.upper()}") from error


def read_jsonl(path: Path, name: str) -> Iterator[Block]:
    """One block for each line.

    Raises:
        DocumentError: A line is not JSON; the error names the first such line.
    """
    for number, line in _whole_lines(path, name):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DocumentError(path, f"line {number} is not JSON: {str(error)[:80]}") from error
        if text := ", ".join(_flat("", record)):
            yield Block(text, "table", 0, number, number)


def _delimiter(sample: str, path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    first = sample.partition("\n")[0]
    return max(",;\t|", key=first.count)


def _pairs(header: list[str], row: list[str]) -> str:
    named = itertools.zip_longest(header, row[: max(len(header), len(row))], fillvalue="")
    return ", ".join(f"{name}: {' '.join(value.split())}" if name else value for name, value in named if value.strip())


def _flat(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _flat(name, inner)
    elif value is not None and value != "":
        yield f"{name}: {value}" if name else str(value)


def _whole_lines(path: Path, name: str) -> Iterator[tuple[int, str]]:
    for number, parts in itertools.groupby(lines(path, name), key=lambda part: part[0]):
        line = ""
        for _, part in parts:
            line += part
            if len(line) > RECORD_CHARACTERS:
                raise DocumentError(path, f"line {number} has more than {RECORD_CHARACTERS:,} characters")
        if line.strip():
            yield number, line
