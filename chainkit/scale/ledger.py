"""The ledger of a run: every finished row is written at once, and exactly once.

Beside OUTPUT lie `OUTPUT.failed.jsonl` (rows that failed, with the reason), `OUTPUT.run.json` (what the run is of),
`OUTPUT.waiting` (rows that are finished before those in front of them, where the order of the input is kept) and,
while it runs, `OUTPUT.lock`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from chainkit.base.copying import put
from chainkit.base.errors import ChainkitError
from chainkit.scale.files import GrowingFile, JsonLines, RowForm, TableLines
from chainkit.scale.parquet import write_parquet

ENDINGS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_HEAD_BYTES = 1 << 16
_GROUP_ROWS = 64
_GROUP_SECONDS = 0.05  # a finished row is in its file after so long at the most


class Marks:
    """A set of row numbers from 0 on: one bit for each, so that a hundred million take 12 MB.

    >>> marks = Marks()
    >>> marks.add(70)
    >>> 70 in marks, 71 in marks, len(marks)
    (True, False, 1)
    """

    def __init__(self) -> None:
        self._bits = bytearray()
        self._count = 0

    def add(self, number: int) -> None:
        """Mark a row; one that is marked stays so."""
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(self._bits):
            self._bits.extend(bytes(max(place + 1 - len(self._bits), len(self._bits) // 8)))
        if not self._bits[place] & bit:
            self._bits[place] |= bit
            self._count += 1

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] & (1 << (number & 7)))

    def __len__(self) -> int:
        return self._count


class Ledger:
    """The files of one mapping.

    Attributes:
        output: The file that the user asked for.
        failures: The file of failed rows.
        done: Rows that are finished or have failed.
        skipped: How many were so when it was opened.
    """

    def __init__(self, output: Path, columns: Sequence[str], *, ordered: bool) -> None:
        self.output = output
        self.failures = beside(output, "failed.jsonl")
        self.done = Marks()
        self._ordered = ordered
        kind = output.suffix.lower()
        rows = beside(output, "rows.jsonl") if kind == ".parquet" else output
        form: RowForm = (
            TableLines(columns, "\t" if kind == ".tsv" else ",") if kind in (".csv", ".tsv") else JsonLines()
        )
        self._rows, self._failed = GrowingFile(rows, form), GrowingFile(self.failures, JsonLines())
        self._waiting = GrowingFile(beside(output, "waiting"), form)
        self._order: deque[int] = deque()
        self._ready: dict[int, bytes] = {}  # finished before those in front of them; b"" is a failed row
        self._early: deque[int] = deque()  # those of them that an earlier run has finished, in order
        self._group: list[bytes] = []
        self._lock = threading.RLock()  # of the group and the output
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._write_groups, daemon=True, name="chainkit-map-writer")
        self._fault: Exception | None = None
        self.skipped = 0

    def recover(self, *, retry_failed: bool) -> None:
        """Take up what earlier runs have left.

        Args:
            retry_failed: Rows that have failed are to be done again.
        """
        for number, _ in self._rows.recover():
            self.done.add(number)
        waiting = {number: line for number, line in self._waiting.recover() if number not in self.done}
        if self._ordered and not retry_failed:
            self._ready |= waiting
            self._early.extend(sorted(waiting))
        elif waiting:
            self._rows.add(b"".join(waiting[number] for number in sorted(waiting)))
            self._waiting.clear()
        for number in waiting:
            self.done.add(number)
        if not retry_failed:
            for number, _ in self._failed.recover():
                self.done.add(number)
        self.skipped = len(self.done)

    def to_retry(self) -> Iterator[tuple[int, Any]]:
        """The rows of the failures that no run has finished since; those that fail meanwhile are left out."""
        for _ in self._failed.recover():
            pass
        size = self.failures.stat().st_size if self.failures.exists() else 0
        seen = Marks()
        for number, end, line in self._failed.form.numbers(self.failures) if size else ():
            if end > size:
                return
            if number not in self.done and number not in seen:
                seen.add(number)
                yield number, json.loads(line)["input"]

    def replace_failures(self) -> None:
        """Leave in the file of failures only the last word on rows that are not finished."""
        self._failed.close()
        last = {number: line for number, line in self._failed.recover() if number not in self.done}
        if not last:
            self._failed.clear()
            return
        part = self.failures.with_name(self.failures.name + ".part")
        part.write_bytes(b"".join(last[number] for number in sorted(last)))
        put(part, self.failures)

    @property
    def whole(self) -> bool:
        """Whether a Parquet file was made of all rows, none of which had failed."""
        return self._rows.path != self.output and self.output.exists() and not self._rows.path.exists()

    @property
    def lag(self) -> int:
        """Rows that were begun and are not in the output yet."""
        return len(self._order)

    def begin(self, number: int) -> None:
        """A row is begun; rows are begun in the order of the input."""
        if self._ordered:
            while self._early and self._early[0] < number:
                self._order.append(self._early.popleft())
            self._order.append(number)
            if self._order[0] in self._ready:
                self._release()

    def finish(self, number: int, fields: Mapping[str, Any]) -> None:
        """A row is finished."""
        line = self._rows.form.line(number, fields)
        if not self._ordered:
            self._put(line)
        elif self._order[0] == number:
            self._order.popleft()
            self._put(line)
            self._release()
        else:
            self._waiting.add(line)
            self._ready[number] = line

    def fail(self, number: int, row: Any, error: Exception) -> None:
        """A row has failed."""
        reason = str(error).strip("'\"") if isinstance(error, KeyError) else str(error)
        self._failed.add(
            self._failed.form.line(number, {"error": type(error).__name__, "reason": reason, "input": row})
        )
        if self._ordered:
            self._ready[number] = b""
            self._release()

    def flush(self) -> None:
        """Write buffered entries."""
        with self._lock:
            if self._group:
                data, self._group = b"".join(self._group), []
                self._rows.add(data)

    def close(self) -> None:
        """Write all that is finished, and close the files."""
        self._closed.set()
        if self._writer.ident is not None:
            self._writer.join()
        self.flush()
        for file in (self._rows, self._failed, self._waiting):
            file.close()

    def complete(self) -> None:
        """All rows are done or have failed: make the output what the user asked for."""
        self._order.extend(self._early)
        self._early.clear()
        self._release()
        self.flush()
        if self._rows.path != self.output:
            self._rows.close()
            write_parquet(self._rows.path, self.output)
            if not self.failures.exists():  # else they may be retried, and added
                self._rows.clear()

    def _release(self) -> None:
        """Write rows whose turn it is."""
        while self._order and self._order[0] in self._ready:
            if line := self._ready.pop(self._order.popleft()):
                self._put(line)
        if not self._ready and not self._waiting.empty:
            self.flush()
            self._waiting.clear()

    def _put(self, line: bytes) -> None:
        """Write a row, together with those that come at the same time: a write for each costs more than a small row."""
        with self._lock:
            if self._fault is not None:
                raise self._fault
            self._group.append(line)
            if len(self._group) >= _GROUP_ROWS:
                self.flush()
        if self._writer.ident is None:
            self._writer.start()

    def _write_groups(self) -> None:
        while not self._closed.wait(_GROUP_SECONDS):
            try:
                self.flush()
            except OSError as error:  # raised in the thread that adds rows
                self._fault = error
                return


def beside(output: Path, ending: str) -> Path:
    """A file of the run beside its output."""
    return output.with_name(f"{output.name}.{ending}")


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Let no other process write to this output meanwhile; the end of the process, however it comes, gives it back.

    It is a transaction on an empty SQLite file, since those are exclusive on every system.

    Raises:
        ChainkitError: Another process does.
    """
    path = beside(output, "lock")
    try:
        lock = sqlite3.connect(path, timeout=0, isolation_level=None)
    except sqlite3.Error as error:
        raise ChainkitError(f"{output}: cannot be written: {path.name} cannot be made ({error})") from error
    with closing(lock):
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise ChainkitError(f"{output}: another process writes to it; wait for it, or end it") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def check_same(output: Path, source: Path | None, settings: Mapping[str, Any]) -> None:
    """Keep what a run is of, and refuse to go on with an output of something else.

    Raises:
        ChainkitError: It is of another input, another chain, or other columns; or the file is not of a mapping.
    """
    path = beside(output, "run.json")
    here = dict(settings)
    try:
        kept = json.loads(path.read_bytes()) if path.exists() else None
    except ValueError:
        kept = {}
    if kept is None:
        if output.exists():
            raise ChainkitError(f"{output}: exists; --overwrite (overwrite=True) replaces it")
        length = min(_HEAD_BYTES, source.stat().st_size) if source else 0
        here |= {"head": length, "sha256": _head(source, length)}
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(here, indent=1, default=str) + "\n", encoding="utf-8")
        put(part, path)
        return
    if source and kept.get("sha256") != _head(source, int(kept.get("head", 0))):
        raise ChainkitError(f"{output}: was made from another input than {source}; {_ADVICE}")
    for name, value in here.items():
        if kept.get(name) != value:
            raise ChainkitError(
                f"{output}: was made with {name}={kept.get(name)!r}, and now it is {value!r}; {_ADVICE}"
            )


_ADVICE = "choose another name for the output, or --overwrite (overwrite=True) replaces it"


def remove(output: Path) -> None:
    """Take away an output and all that lies beside it."""
    for ending in ("failed.jsonl", "run.json", "waiting", "rows.jsonl", "batches.jsonl"):
        beside(output, ending).unlink(missing_ok=True)
    output.unlink(missing_ok=True)


def _head(source: Path | None, length: int) -> str:
    if source is None:
        return ""
    with source.open("rb") as file:
        return hashlib.sha256(file.read(length)).hexdigest()
