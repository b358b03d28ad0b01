"""Files that grow by whole rows: what a kill cuts off is cut away when the file is opened again."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from chainkit.base.errors import ChainkitError
from chainkit.scale.values import as_json

NUMBER = "_row"
"""The field of an output that says which row of the input a line is of, from 1."""

_SYNC_SECONDS = 5.0  # after so long, what the system was given is awaited on the disk
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=as_json)
_JSON_BEGIN = b'{"' + NUMBER.encode() + b'": '


class RowForm(Protocol):
    """How rows stand in a file."""

    def head(self) -> bytes:
        """What a new file begins with."""
        ...

    def line(self, number: int, fields: Mapping[str, Any]) -> bytes:
        """A row, with the end of its line."""
        ...

    def numbers(self, path: Path) -> Iterator[tuple[int, int, bytes]]:
        """Of each whole row its number, the place in the file where it ends, and its bytes.

        Raises:
            ChainkitError: The file holds something else.
        """
        ...


class JsonLines:
    """A JSON object in each line, which begins with the number."""

    def head(self) -> bytes:
        """As `RowForm.head`."""
        return b""

    def line(self, number: int, fields: Mapping[str, Any]) -> bytes:
        """As `RowForm.line`.

        Raises:
            TypeError: A value is of a kind that JSON cannot hold.
            ValueError: A field has the name of the number.
        """
        if NUMBER in fields:
            raise ValueError(f"has a field '{NUMBER}', which is the name of the number of a row; rename it")
        row = {NUMBER: number, **fields}
        try:
            text = _ENCODER.encode(row)
        except ValueError:  # numbers that are not finite
            text = _ENCODER.encode(as_json(row))
        return (text + "\n").encode("utf-8", "backslashreplace")  # half a surrogate pair becomes an escape of JSON

    def numbers(self, path: Path) -> Iterator[tuple[int, int, bytes]]:
        """As `RowForm.numbers`."""
        end, skip = 0, len(_JSON_BEGIN)
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                number = line[skip : line.find(b",", skip)] if line.startswith(_JSON_BEGIN) else b""
                if not number.isdigit():
                    raise _foreign(path)
                end += len(line)
                yield int(number), end, line


class TableLines:
    """CSV, whose first column is the number; other values than texts, numbers and booleans stand as JSON.

    Args:
        columns: The names of the others.
        delimiter: Between two cells.
    """

    def __init__(self, columns: Sequence[str], delimiter: str = ",") -> None:
        self.columns = tuple(columns)
        self._delimiter = delimiter

    def head(self) -> bytes:
        """As `RowForm.head`."""
        return self._written([NUMBER, *self.columns])

    def line(self, number: int, fields: Mapping[str, Any]) -> bytes:
        """As `RowForm.line`.

        Raises:
            ValueError: There are fields that are not columns.
        """
        if strange := [name for name in fields if name not in self.columns]:
            raise ValueError(f"has fields that the first row lacks ({', '.join(strange)}); write JSONL instead of CSV")
        return self._written([number, *(_cell(fields.get(name)) for name in self.columns)])

    def numbers(self, path: Path) -> Iterator[tuple[int, int, bytes]]:
        """As `RowForm.numbers`. A row ends where a line does after an even number of quotes."""
        end, record, first = 0, b"", True
        with path.open("rb") as file:
            for line in file:
                record += line
                if record.count(b'"') % 2 or not record.endswith(b"\n"):
                    continue
                end += len(record)
                if first and record != self.head():
                    raise _foreign(path)
                number = record.partition(self._delimiter.encode())[0].strip()
                if not first and not number.isdigit():
                    raise _foreign(path)
                yield 0 if first else int(number), end, record
                record, first = b"", False

    def _written(self, cells: Sequence[Any]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerow(cells)
        return text.getvalue().encode("utf-8", "backslashreplace")


class GrowingFile:
    """A file to which whole rows are added.

    Attributes:
        path: The file; it is made with the first row.
    """

    def __init__(self, path: Path, form: RowForm) -> None:
        self.path, self.form = path, form
        self._handle: int | None = None
        self._size = 0
        self._synced = time.monotonic()

    def recover(self) -> Iterator[tuple[int, bytes]]:
        """The numbers and bytes of the rows that are there; a row that was cut short is cut away at the end.

        Raises:
            ChainkitError: The file holds something else.
        """
        self._size = 0
        if not self.path.exists():
            return
        for number, end, line in self.form.numbers(self.path):
            self._size = end
            if number:
                yield number, line
        if self.path.stat().st_size != self._size:
            os.truncate(self.path, self._size)

    def add(self, data: bytes) -> None:
        """Write whole rows at the end; when this returns, a kill of the process does not lose them.

        Raises:
            OSError: The disk is full, or the file cannot be written; nothing of the rows is left in it.
        """
        handle = self._open() if self._handle is None else self._handle
        if not self._size:
            data = self.form.head() + data
        try:
            _write(handle, data)
        except BaseException:
            os.ftruncate(handle, self._size)
            raise
        self._size += len(data)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(handle)
            self._synced = time.monotonic()

    def clear(self) -> None:
        """Take all rows out; the next rows stand where these were, and the disk is not waited for."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
        else:
            self.path.unlink(missing_ok=True)
        self._size = 0

    def close(self) -> None:
        """Wait until the disk has all, and close the file; one without rows is removed."""
        if self._handle is not None:
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = None
            if not self._size:
                self.path.unlink()

    def _open(self) -> int:
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        self._handle = os.open(self.path, flags, 0o666)
        return self._handle

    @property
    def empty(self) -> bool:
        """Whether it holds no rows."""
        return not self._size


def _write(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _cell(value: Any) -> Any:
    value = as_json(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


def _foreign(path: Path) -> ChainkitError:
    return ChainkitError(
        f"{path}: was not written by a mapping of these columns; --overwrite (overwrite=True) replaces it"
    )
