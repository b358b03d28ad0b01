"""Rows to map over, one at a time: JSONL, CSV and Parquet files, and what Python iterates over.

A row has a number from 1, in the order of the file; blank lines and the header of a table have none.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from chainkit.base import tables
from chainkit.base.errors import NO_SUCH_FILE, DocumentError, MissingLibrary

NumberedRow: TypeAlias = tuple[int, Any]
_SAMPLE_LINES = 500
_PARQUET_ROWS = 1024  # that are in memory at once
_ENDINGS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row of a file that cannot be read; the others can.

    Attributes:
        reason: The fault.
        text: Verbatim from the file.
    """

    reason: str
    text: str


class RowSource(Protocol):
    """Where rows come from.

    Attributes:
        path: The file, or None for rows from Python.
        part: How much of it was read, from 0 to 1; None where that cannot be known.
    """

    path: Path | None
    part: float | None

    def rows(self, done: Container[int]) -> Iterator[NumberedRow]:
        """The rows that are not done, with their numbers.

        Raises:
            DocumentError: The file cannot be read any further.
        """
        ...


def open_rows(rows: str | Path | Iterable[Any]) -> RowSource:
    """The rows of a file, which its ending says how to read, or of an iterable.

    Raises:
        DocumentError: The file is absent, or of another kind.
        MissingLibrary: It is Parquet and pyarrow is not installed.
    """
    if not isinstance(rows, str | Path):
        return GivenRows(rows)
    path = Path(rows)
    kind = path.suffix.lower()
    if kind not in _ENDINGS:
        raise DocumentError(path, f"cannot be read row by row; files that can end in {', '.join(_ENDINGS)}")
    if not path.is_file():
        raise DocumentError(path, "is a folder; name a file" if path.is_dir() else NO_SUCH_FILE)
    if kind == ".parquet":
        return ParquetRows(path)
    return JsonlRows(path) if kind in (".jsonl", ".ndjson") else TableRows(path, "\t" if kind == ".tsv" else None)


class GivenRows:
    """Rows of an iterable; a second run must be given the same ones in the same order."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self.path: Path | None = None
        self.part: float | None = None
        self._rows: Iterable[Any] = rows
        self._count = len(rows) if isinstance(rows, Sequence) else None

    def rows(self, done: Container[int]) -> Iterator[NumberedRow]:
        """As `RowSource.rows`."""
        for number, row in enumerate(self._rows, 1):
            if self._count:
                self.part = number / self._count
            if number not in done:
                yield number, row

    def first(self) -> Any:
        """The first row, which `rows` gives all the same."""
        found = iter(self._rows)
        first = list(islice(found, 1))
        if found is self._rows:
            self._rows = chain(first, found)
        return first[0] if first else None


class JsonlRows:
    """One JSON value in each line."""

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path
        self.part: float | None = 0.0
        self._size = max(1, path.stat().st_size)

    def rows(self, done: Container[int]) -> Iterator[NumberedRow]:
        """As `RowSource.rows`; a line that is not JSON is an `UnreadableRow`."""
        assert self.path is not None
        number = read = 0
        loads = json.loads
        with self.path.open("rb") as file:
            for line in file:
                read += len(line)
                if line.isspace():
                    continue
                number += 1
                if number in done:
                    continue
                self.part = read / self._size
                try:
                    row = loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except (ValueError, RecursionError) as error:
                    row = UnreadableRow(f"is not JSON: {error}", line.decode(errors="replace").strip())
                yield number, row


class TableRows:
    """CSV with a header; every value is a text."""

    def __init__(self, path: Path, delimiter: str | None) -> None:
        self.path: Path | None = path
        self.part: float | None = 0.0
        self._delimiter = delimiter
        self._size = max(1, path.stat().st_size)

    def rows(self, done: Container[int]) -> Iterator[NumberedRow]:
        """As `RowSource.rows`; a row with more or fewer cells than the header is an `UnreadableRow`."""
        assert self.path is not None
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                like = tables.dialect("".join(islice(file, _SAMPLE_LINES)), self._delimiter)
                file.seek(0)
                csv.field_size_limit(tables.RECORD_CHARACTERS)
                found = csv.reader(
                    islice(self._counted(file), like.skipped_lines, None),
                    delimiter=like.delimiter,
                    escapechar=like.escape,
                    strict=True,
                )
                yield from self._numbered(found, done)
        except csv.Error as error:
            raise DocumentError(self.path, f"is not CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise DocumentError(self.path, f"is not UTF-8 ({error.reason}); save the file as UTF-8") from error

    def _numbered(self, found: Iterator[list[str]], done: Container[int]) -> Iterator[NumberedRow]:
        header = [name.strip() for name in next(found, [])]
        if len(set(header)) < len(header):
            raise DocumentError(self.path, f"has two columns of one name: {', '.join(header)}; rename one")
        number, width = 0, len(header)
        for cells in found:
            if not cells:
                continue
            number += 1
            if number in done:
                continue
            if len(cells) == width:
                yield number, dict(zip(header, cells, strict=True))
            else:
                yield number, UnreadableRow(f"has {len(cells)} cells and the header has {width}", ",".join(cells))

    def _counted(self, lines: Iterable[str]) -> Iterator[str]:
        read = 0
        for line in lines:
            read += len(line)  # characters: near enough to show how far it is
            self.part = min(1.0, read / self._size)
            yield line


class ParquetRows:
    """The rows of a Parquet file, read group by group."""

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path
        self.part: float | None = 0.0
        self._parquet = arrow_parquet()

    def rows(self, done: Container[int]) -> Iterator[NumberedRow]:
        """As `RowSource.rows`."""
        assert self.path is not None
        number = 0
        try:
            with self._parquet.ParquetFile(self.path) as file:
                total = max(1, file.metadata.num_rows)
                for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                    for row in batch.to_pylist():
                        number += 1
                        if number not in done:
                            self.part = number / total
                            yield number, row
        except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
            raise DocumentError(self.path, f"is not a Parquet file that can be read: {error}") from error


def first_of(source: RowSource) -> Any:
    """The first row of a source, without consuming it; None if there is none."""
    if isinstance(source, GivenRows):
        return source.first()
    found: Any = source.rows(())
    with closing(found):
        return next(found, (0, None))[1]


def arrow_parquet() -> Any:
    """pyarrow's reader and writer of Parquet files.

    Raises:
        MissingLibrary: It is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingLibrary("pyarrow", extra="scale") from error
    return pyarrow.parquet


def text_of(row: Any, column: str) -> Any:
    """The value of a column.

    Raises:
        KeyError: The row has none of this name.
    """
    if not isinstance(row, Mapping) or column not in row:
        names = ", ".join(map(str, row)) if isinstance(row, Mapping) else f"none: it is {type(row).__name__}"
        raise KeyError(f"the row has no column '{column}'; it has {names}")
    return row[column]
