"""One SQLite connection that threads share: transactions, and errors that say what to do."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainkit.base.errors import BrokenIndex, IndexFileError
from chainkit.base.sqlite import ForeignFile, connect, is_damage, reason, statements, transaction
from chainkit.knowledge.index.schema import FORMAT, LAYOUT, STAGE
from chainkit.knowledge.readers.scripts import segmented

WAIT_SECONDS = 120
_VARIABLES_AT_ONCE = 500


class Database:
    """The file of an index, or memory alone, with its tables made and its format checked.

    Readers never wait, writers wait for each other.

    Args:
        path: The file; None keeps everything in memory.

    Raises:
        BrokenIndex: The file is not an index, is damaged, or comes from another version.
        IndexFileError: The file cannot be opened or written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self._translated():
            self._connection = connect(path, LAYOUT, wait_seconds=WAIT_SECONDS, folders=False)
            weakref.finalize(self, self._connection.close)  # where nobody closes it, also at the end of the process
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def all(self, statement: str, *values: object) -> list[Any]:
        """The rows of a query."""
        with self._lock, self._translated():
            return self._connection.execute(statement, values).fetchall()

    def one(self, statement: str, *values: object) -> Any:
        """The first row of a query, or None."""
        with self._lock, self._translated():
            return self._connection.execute(statement, values).fetchone()

    def among(self, statement: str, values: Sequence[object]) -> Iterator[Any]:
        """The rows of a query that ends with `IN`, for any number of values."""
        for start in range(0, len(values), _VARIABLES_AT_ONCE):
            some = values[start : start + _VARIABLES_AT_ONCE]
            yield from self.all(f"{statement} ({','.join('?' * len(some))})", *some)

    def write(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row, in a separate transaction."""
        with self.writing() as connection:
            connection.executemany(statement, rows)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that waits for other writers; rolled back if the block raises."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction in which all reads are of one moment; temporary tables may be written in it."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated(), transaction(self._connection, begin):
            yield self._connection

    def _prepare(self) -> None:
        self._connection.create_function("segmented", 1, segmented, deterministic=True)
        if self.one("SELECT count(*) FROM meta")[0] == 0:
            self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (FORMAT,))
        found = self.one("SELECT value FROM meta WHERE name = 'format'")
        if found is None or found[0] != FORMAT:
            known = f"has format {found[0] if found else 'unknown'}, this chainkit knows {FORMAT}"
            raise BrokenIndex(self.path, f"{known}; delete it and index anew, or index into another file")
        for statement in statements(STAGE):
            self._connection.execute(statement)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as error:
            raise _named(self.path or "index in memory", error) from error


def _named(path: Path | str, error: sqlite3.DatabaseError | OSError) -> IndexFileError:
    if isinstance(error, ForeignFile):
        return BrokenIndex(path, f"{error}, not an index")
    if is_damage(error):
        return BrokenIndex(path, f"is not an index or is damaged ({error}); delete it and index anew")
    return IndexFileError(path, reason(error))
