"""Files of vectors that an interrupted run can go on with."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from chainkit.base.copying import put
from chainkit.base.errors import BadVectors, ChainkitError, MissingLibrary
from chainkit.cli.embedding import Array
from chainkit.cli.faults import without_keys
from chainkit.cli.rows import InputRow

ENDINGS = (".jsonl", ".ndjson", ".npy", ".parquet")


class VectorFile(Protocol):
    """Where vectors are written, in the order of the texts.

    Attributes:
        done: How many vectors are in place.
    """

    done: int

    def add(self, rows: Sequence[InputRow], vectors: Array) -> None:
        """Write the vectors of the next rows."""

    def finish(self) -> None:
        """Make the file what the user asked for; all vectors are in place."""


@contextmanager
def vector_file(path: Path, rows: Sequence[InputRow], model: str, *, overwrite: bool = False) -> Iterator[VectorFile]:
    """Open the output of these rows, at the place where an earlier run ended.

    Raises:
        ChainkitError: The file is there already as a whole, or was made from other texts or by another model.
        MissingLibrary: Parquet is wanted and pyarrow is not installed.
    """
    kind = {".npy": NpyFile, ".parquet": ParquetFile}.get(path.suffix.lower(), JsonlFile)
    working = path if kind is JsonlFile else _part(path)
    if kind is ParquetFile:
        _arrow()
    if overwrite:
        working.unlink(missing_ok=True)
    elif working != path and path.exists():
        raise ChainkitError(f"{path} exists; --overwrite makes it afresh")
    with working.open("r+b" if working.exists() else "w+b") as handle:
        yield kind(path, handle, rows, model)


def jsonl_row(row: InputRow, model: str, vector: Array) -> dict[str, Any]:
    """A line of the JSONL output; `vector` is float32, and its numbers are as short as that allows."""
    numbers = [float(str(number)) for number in vector]
    return {"line": row.line, "text": row.text, "model": without_keys(model), "vector": numbers}


class JsonlFile:
    """One JSON object per line; a line that was cut short is written again."""

    def __init__(self, path: Path, handle: BinaryIO, rows: Sequence[InputRow], model: str) -> None:
        self._path = path
        self._handle = handle
        self._model = model
        self.done = 0
        end = 0
        for content in handle:
            if not content.endswith(b"\n"):
                self._check_torn(content)
                break
            self._check(content, rows)
            self.done += 1
            end += len(content)
        handle.seek(end)
        handle.truncate()

    def add(self, rows: Sequence[InputRow], vectors: Array) -> None:
        """Write one line for each row."""
        for row, vector in zip(rows, vectors, strict=True):
            line = json.dumps(jsonl_row(row, self._model, vector), ensure_ascii=False, allow_nan=False)
            self._handle.write(line.encode() + b"\n")
        self._handle.flush()
        self.done += len(rows)

    def finish(self) -> None:
        """Nothing is left to do."""

    def _check_torn(self, content: bytes) -> None:
        # the line truncated below must be one that we wrote, not part of a user's file
        if not content.startswith(_LINE_BEGIN) and not _LINE_BEGIN.startswith(content):
            raise ChainkitError(f"{self._path}: this was not written by 'chainkit embed'; {_ADVICE}")

    def _check(self, content: bytes, rows: Sequence[InputRow]) -> None:
        where = f"{self._path} line {self.done + 1}"
        if self.done >= len(rows):
            raise ChainkitError(f"{where}: more vectors than there are texts; {_ADVICE}")
        try:
            found = json.loads(content)
            same = found["text"] == rows[self.done].text and found["model"] == without_keys(self._model)
        except (ValueError, KeyError, TypeError) as error:
            raise ChainkitError(f"{where}: this was not written by 'chainkit embed'; {_ADVICE}") from error
        if not same:
            raise ChainkitError(f"{where}: made from another text or by another model; {_ADVICE}")


class NpyFile:
    """A NumPy array of float32, shape (N, D), that is put together from a part file once all rows are there.

    The part file has a line of JSON, {"texts": sha256, "model": ..., "width": D}, then the rows as raw float32.
    """

    def __init__(self, path: Path, handle: BinaryIO, rows: Sequence[InputRow], model: str) -> None:
        self._path = path
        self._handle = handle
        self._rows = rows
        self._total = len(rows)
        self._head = {"texts": _digest(rows), "model": without_keys(model)}
        self._width = 0
        self.done = 0
        self._begin = 0
        first = handle.readline()
        if first.endswith(b"\n"):
            self._resume(first)
        else:
            handle.seek(0)
            handle.truncate()

    def add(self, rows: Sequence[InputRow], vectors: Array) -> None:
        """Append the vectors.

        Raises:
            BadVectors: Their length is not that of the earlier ones.
        """
        if not self._width:
            self._start(vectors.shape[1])
        if vectors.shape[1] != self._width:
            raise BadVectors(f"the model gave vectors of {vectors.shape[1]} numbers after some of {self._width}")
        self._handle.write(vectors.astype("<f4").tobytes())
        self._handle.flush()
        self.done += len(rows)

    def finish(self) -> None:
        """Write the array beside the part file, then put it in its place."""
        ready = self._path.with_name(self._path.name + ".ready")
        self._handle.seek(self._begin)
        self._write(ready)
        self._handle.close()
        put(ready, self._path)
        _part(self._path).unlink()

    def _write(self, path: Path) -> None:
        """Write the whole file, with a handle at the first vector."""
        with path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (self._total, self._width)}
            np.lib.format.write_array_header_1_0(file, header)
            shutil.copyfileobj(self._handle, file)

    def _start(self, width: int) -> None:
        self._width = width
        line = json.dumps(self._head | {"width": width}).encode() + b"\n"
        self._handle.write(line)
        self._begin = len(line)

    def _resume(self, first: bytes) -> None:
        part = _part(self._path)
        try:
            found = json.loads(first)
            self._width = int(found.pop("width"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ChainkitError(f"{part}: this was not written by 'chainkit embed'; {_ADVICE}") from error
        if found != self._head:
            raise ChainkitError(f"{part}: made from other texts or by another model; {_ADVICE}")
        self._begin = len(first)
        row_bytes = 4 * self._width
        self.done = min((os.fstat(self._handle.fileno()).st_size - self._begin) // row_bytes, self._total)
        self._handle.seek(self._begin + self.done * row_bytes)
        self._handle.truncate()


class ParquetFile(NpyFile):
    """A Parquet table with the columns line, text, model and vector (a list of D float32 numbers)."""

    def _write(self, path: Path) -> None:
        arrow, parquet = _arrow()
        width, model = self._width, self._head["model"]
        schema = arrow.schema(
            [
                ("line", arrow.int64()),
                ("text", arrow.string()),
                ("model", arrow.dictionary(arrow.int32(), arrow.string())),
                ("vector", arrow.list_(arrow.float32(), width)),
            ]
        )
        with parquet.ParquetWriter(path, schema) as writer:
            for start in range(0, self._total, _ROWS_AT_ONCE):
                rows = self._rows[start : start + _ROWS_AT_ONCE]
                numbers = np.frombuffer(self._handle.read(4 * width * len(rows)), "<f4")
                columns = [
                    arrow.array([row.line for row in rows], arrow.int64()),
                    arrow.array([row.text for row in rows], arrow.string()),
                    arrow.array([model] * len(rows)).dictionary_encode(),
                    arrow.FixedSizeListArray.from_arrays(arrow.array(numbers, arrow.float32()), width),
                ]
                writer.write_batch(arrow.record_batch(columns, schema=schema))


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingLibrary("pyarrow", extra="parquet") from error


_ROWS_AT_ONCE = 10_000
_LINE_BEGIN = b'{"line": '
_ADVICE = "--overwrite starts afresh"


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _digest(rows: Sequence[InputRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        data = row.text.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
