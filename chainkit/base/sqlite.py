"""One way to open the SQLite files that chainkit keeps: readable by their user alone, and never another program's."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chainkit.base.errors import of_system

_MAGIC = b"SQLite format 3\0"
_FAMILY = 0x636B0000  # "ck" in the two upper bytes of the application id, which SQLite keeps at byte 68 of a file
_SWEEP_EVERY = 256


class ForeignFile(sqlite3.DatabaseError):
    """The SQLite database was made by another program; it is left untouched."""


@dataclass(frozen=True)
class FileLayout:
    """A kind of file.

    Attributes:
        number: 1 to 65535, another one for each kind; part of the file's application id.
        schema: SQL that makes the tables; it may run on a file that has them.
        table: One of the tables; identifies a file that has no application id.
    """

    number: int
    schema: str
    table: str

    @property
    def application_id(self) -> int:
        """The application id in the header of such a file."""
        return _FAMILY | self.number


def connect(
    path: Path | None, layout: FileLayout, *, wait_seconds: float = 30, make: bool = True, folders: bool = True
) -> sqlite3.Connection:
    """Open a file, and make it (mode 0600) if it is not there; None opens memory.

    The connection is in WAL mode and commits each statement by itself outside of `transaction`; threads may share it
    under a lock. The caller that opens it closes it.

    Args:
        path: The file.
        layout: What it must be.
        wait_seconds: How long a statement waits for another process that writes.
        make: Whether a missing or empty file gets its tables; if not, an empty file is a `ForeignFile`.
        folders: Whether missing folders are made too.

    Raises:
        ForeignFile: A SQLite file of something else; not a byte of it is changed.
        sqlite3.Error: It is not an SQLite file, is damaged, locked, or cannot be written.
        OSError: The folder or the file cannot be made.
    """
    if path is not None and make:
        _make_private(path, folders)
    connection = sqlite3.connect(
        path or ":memory:", timeout=wait_seconds, isolation_level=None, check_same_thread=False
    )
    try:
        _check(connection, layout, make)
        _use_wal(connection, time.monotonic() + wait_seconds)
        connection.execute("PRAGMA synchronous = NORMAL")
        _make_tables(connection, layout)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Generator[sqlite3.Connection]:
    """All statements of the block or none; waits for other writers."""
    connection.execute(begin)
    try:
        yield connection
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def translated(fault: Callable[[str], Exception]) -> Generator[None]:
    """Turn errors of SQLite and of the system into the error that `fault` makes of a reason."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise fault(reason(error)) from error


def statements(script: str) -> Iterator[str]:
    """The statements of a script; unlike `executescript`, running them one by one stays inside a transaction."""
    gathered = ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            yield gathered
            gathered = ""
    if gathered.strip():
        yield gathered


def reason(error: sqlite3.Error | OSError) -> str:
    """The fault of a file, worded to follow its name.

    >>> reason(sqlite3.OperationalError("database is locked"))
    'another process has been writing to it for too long; try again (database is locked)'
    """
    text = of_system(error) if isinstance(error, OSError) else str(error)
    for part, plain in _REASONS.items():
        if part in text:
            return f"{plain} ({text})"
    return f"cannot be used ({text})"


_REASONS = {
    "locked": "another process has been writing to it for too long; try again",
    "not a database": "is not an SQLite file",
    "malformed": "is damaged",
    "disk is full": "the disk is full",
    "readonly": "may not be written",
    "unable to open": "cannot be opened",
}


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the file itself is broken, rather than locked, foreign or out of space."""
    return isinstance(error, sqlite3.DatabaseError) and any(
        part in str(error) for part in ("not a database", "malformed")
    )


def set_aside(path: Path, layout: FileLayout) -> Path | None:
    """Rename a damaged file of ours, with what SQLite keeps beside it; None, and nothing done, if it is not ours."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
        if not head.startswith(_MAGIC) or int.from_bytes(head[68:72], "big") != layout.application_id:
            return None
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        path.rename(aside)
        for end in ("-wal", "-shm"):
            beside = path.with_name(path.name + end)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + end))
    except OSError:
        return None
    return aside


class KeyValueFile:
    """Bytes by key in one file, which threads and processes may share.

    Attributes:
        path: The file.
        limit: Bytes of values that are kept, or None for all; the oldest are dropped first.

    Raises:
        sqlite3.Error: As `connect`; so does every method.
        OSError: As `connect`.
    """

    def __init__(self, path: Path, number: int, limit: int | None = None, *, folders: bool = True) -> None:
        self.path, self.limit = path, limit
        self._lock = threading.Lock()
        self._unseen = 0
        self._connection = connect(path, cache_layout(number), folders=folders)
        weakref.finalize(self, self._connection.close)  # where nobody closes it, also at the end of the process

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        with self._lock:
            rows = self._connection.execute("SELECT value FROM results WHERE key = ?", (key,)).fetchall()
        return rows[0][0] if rows else None

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; another one of this key is replaced."""
        with self._lock:
            row = (key, value, time.time_ns() // 1000)
            self._connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", row)
            self._unseen += 1
            if self.limit is not None and self._unseen >= _SWEEP_EVERY:
                self._unseen = 0
                self._evict(self.limit)

    def drop(self, key: bytes) -> None:
        """Forget a key."""
        with self._lock:
            self._connection.execute("DELETE FROM results WHERE key = ?", (key,))

    def clear(self) -> None:
        """Forget everything and give the space back."""
        with self._lock:
            self._connection.execute("DELETE FROM results")
            self._connection.execute("VACUUM")

    def __len__(self) -> int:
        with self._lock:
            return self._connection.execute("SELECT COUNT(*) FROM results").fetchall()[0][0]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _evict(self, limit: int) -> None:
        with transaction(self._connection) as connection:
            total = connection.execute("SELECT COALESCE(SUM(LENGTH(value)), 0) FROM results").fetchone()[0]
            while total > limit:
                old = connection.execute("SELECT key, LENGTH(value) FROM results ORDER BY made LIMIT 256").fetchall()
                connection.executemany("DELETE FROM results WHERE key = ?", [(key,) for key, _ in old])
                total -= sum(size for _, size in old)


def cache_layout(number: int) -> FileLayout:
    """The layout of a `Cache`."""
    schema = "CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, value BLOB, made INTEGER) WITHOUT ROWID"
    return FileLayout(number, schema, "results")


def _make_private(path: Path, folders: bool) -> None:
    if folders:
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():  # SQLite gives its -wal and -shm the mode of the file
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _check(connection: sqlite3.Connection, layout: FileLayout, make: bool) -> None:
    found = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    ours = found == layout.application_id or (found == 0 and layout.table in tables)
    if not ours and (tables or found or not make):
        raise ForeignFile("is a SQLite file of something else")


def _use_wal(connection: sqlite3.Connection, until: float) -> None:
    """SQLite does not wait by itself where two processes switch a new file to WAL at once."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _make_tables(connection: sqlite3.Connection, layout: FileLayout) -> None:
    """Two processes may do this at once: no statement changes an existing table."""
    if connection.execute("PRAGMA application_id").fetchone()[0] == layout.application_id:
        return
    with transaction(connection):
        for statement in statements(layout.schema):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {layout.application_id}")
