"""Answers of models in one SQLite file, for many processes: the least recently used make room for new ones."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chainkit.base.paths import cache_dir
from chainkit.base.sqlite import FileLayout, connect, transaction

LIMIT_BYTES = 1 << 28
"""Maximum size of a file's answers; beyond it, the least recently used are dropped."""

LAYOUT = FileLayout(
    11,
    """
    CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, kind TEXT, value BLOB, bytes INTEGER, used INTEGER)
        WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS by_use ON answers (used, bytes);
    CREATE TABLE IF NOT EXISTS counts (kind TEXT PRIMARY KEY, hits INTEGER, misses INTEGER, stored INTEGER,
        evicted INTEGER) WITHOUT ROWID;
    """,
    "answers",
)
_FLUSH_EVENTS = 256
_SWEEP_BYTES = 1 << 20  # new bytes, or a sixteenth of the limit, after which the size is checked
_OVERHEAD = 64  # bytes of a row beside its value


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Counts of hits, misses and writes for answers of one kind, over all processes.

    Attributes:
        entries: Number stored now.
        bytes: Their size.
        hits: Number of lookups that found one.
        misses: Number of lookups that found none.
        stored: Number of writes.
        evicted: Number dropped to make room.
    """

    entries: int = 0
    bytes: int = 0
    hits: int = 0
    misses: int = 0
    stored: int = 0
    evicted: int = 0


class AnswerStore:
    """Values of several kinds by key; threads and processes may share a file, which is in WAL mode.

    Uses and counts are gathered in memory and written with the next values, so that a hit only reads.

    Attributes:
        path: The file.
        limit: Bytes of all values together.

    Raises:
        sqlite3.Error: The file cannot be used; so does every method.
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path, limit: int = LIMIT_BYTES) -> None:
        if limit < 1:
            raise ValueError(f"limit must be 1 byte or more, got {limit}")
        self.path, self.limit = path, limit
        self._lock = threading.Lock()
        self._connection = connect(path, LAYOUT)
        self._used: dict[bytes, int] = {}
        self._counts: dict[str, list[int]] = {}  # hits, misses, stored, evicted
        self._events = 0
        self._since_sweep = 0
        self._closed = weakref.finalize(self, self._connection.close)

    def get(self, key: bytes, kind: str) -> bytes | None:
        """The value of a key, or None; counts a hit or a miss."""
        with self._lock:
            rows = self._connection.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchall()
            self._count(kind, 0 if rows else 1)
            if rows:
                self._used[key] = _now()
            self._events += 1
            if self._events >= _FLUSH_EVENTS:
                with transaction(self._connection):
                    self._flush()
        return rows[0][0] if rows else None

    def put(self, key: bytes, value: bytes, kind: str) -> None:
        """Store a value; an earlier one of this key is replaced."""
        size = len(value) + len(key) + _OVERHEAD
        with self._lock, transaction(self._connection) as connection:
            row = (key, kind, value, size, _now())
            connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row)
            self._count(kind, 2)
            self._since_sweep += size
            if self._since_sweep >= min(_SWEEP_BYTES, self.limit // 16 + 1):
                self._since_sweep = 0
                self._flush()
                self._evict()

    def clear(self, kinds: Iterable[str] | None = None) -> None:
        """Delete the values and counts of these kinds, or all, and shrink the file."""
        with self._lock:
            self._used.clear()
            with transaction(self._connection) as connection:
                for kind in [None] if kinds is None else kinds:
                    where, given = ("", ()) if kind is None else (" WHERE kind = ?", (kind,))
                    connection.execute(f"DELETE FROM answers{where}", given)  # noqa: S608 - no text of others
                    connection.execute(f"DELETE FROM counts{where}", given)  # noqa: S608
                    self._counts = {} if kind is None else {k: c for k, c in self._counts.items() if k != kind}
            self._connection.execute("VACUUM")

    def counts(self) -> dict[str, AnswerCounts]:
        """Entries, hits and misses by kind."""
        with self._lock:
            with transaction(self._connection):
                self._flush()
            rows = self._connection.execute("SELECT kind, hits, misses, stored, evicted FROM counts").fetchall()
            here = self._connection.execute("SELECT kind, COUNT(*), SUM(bytes) FROM answers GROUP BY kind").fetchall()
        sizes = {kind: (entries, size) for kind, entries, size in here}
        counted = {kind: tuple(numbers) for kind, *numbers in rows}
        return {
            kind: AnswerCounts(*sizes.get(kind, (0, 0)), *counted.get(kind, (0, 0, 0, 0)))
            for kind in sorted({*sizes, *counted})
        }

    def __len__(self) -> int:
        with self._lock:
            return self._connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0]

    def close(self) -> None:
        """Write the counts and close the file."""
        with self._lock:
            if self._closed.alive:
                with transaction(self._connection):
                    self._flush()
            self._closed()

    def _count(self, kind: str, place: int, number: int = 1) -> None:
        self._counts.setdefault(kind, [0, 0, 0, 0])[place] += number

    def _flush(self) -> None:
        """Write pending uses and counts, inside a transaction."""
        used, counts, self._used, self._counts, self._events = self._used, self._counts, {}, {}, 0
        self._connection.executemany(
            "UPDATE answers SET used = ? WHERE key = ?", [(at, key) for key, at in used.items()]
        )
        self._connection.executemany(
            "INSERT INTO counts VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind) DO UPDATE SET hits = hits + excluded.hits, "
            "misses = misses + excluded.misses, stored = stored + excluded.stored, "
            "evicted = evicted + excluded.evicted",
            [(kind, *numbers) for kind, numbers in counts.items()],
        )

    def _evict(self) -> None:
        """Drop the least recently used until a tenth of the limit is free, inside a transaction."""
        total = self._connection.execute("SELECT COALESCE(SUM(bytes), 0) FROM answers").fetchone()[0]
        if total <= self.limit:
            return
        while total > self.limit - self.limit // 10:
            old = self._connection.execute("SELECT key, kind, bytes FROM answers ORDER BY used LIMIT 64").fetchall()
            for key, kind, size in old:
                if total > self.limit - self.limit // 10:
                    self._connection.execute("DELETE FROM answers WHERE key = ?", (key,))
                    self._count(kind, 3)
                    total -= size


def answers_path() -> Path:
    """The file of answers that is used if none is named."""
    return cache_dir() / "answers.sqlite"


def _now() -> int:
    return time.time_ns() // 1000
