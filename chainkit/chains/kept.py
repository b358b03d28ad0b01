"""Results kept in a file, so that work that was interrupted is not done twice."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager

from chainkit.base.errors import ChainkitError

_WAIT_SECONDS = 60


class Kept:
    """Texts by the hash of what they were made from, in one SQLite file; None keeps nothing.

    Threads and processes may share a file, and what was stored survives the end of the process.

    Raises:
        ChainkitError: The file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        if path is None:
            return
        with self._translated():
            self._db = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute("CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, text TEXT NOT NULL)")
            except sqlite3.DatabaseError:
                self._db.close()
                raise

    def load(self, key: str) -> str | None:
        """The text of a key, or None."""
        if self._db is None:
            return None
        with self._lock, self._translated():
            row = self._db.execute("SELECT text FROM results WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def store(self, key: str, text: str) -> None:
        """Keep a text."""
        if self._db is not None:
            with self._lock, self._translated():
                self._db.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (key, text))

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise ChainkitError(f"{self._path}: cannot be used to keep results ({error})") from error


def key_of(*parts: str) -> str:
    """The hash of some texts.

    >>> key_of("ab", "c") == key_of("a", "bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
