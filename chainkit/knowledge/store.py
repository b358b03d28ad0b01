"""The SQLite file behind an index: documents, passages, their words (FTS5) and their vectors."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.base.errors import BrokenIndex, IndexFileError
from chainkit.knowledge.codes import Codes, Matrix, packed, unpacked
from chainkit.knowledge.filters import Filter, condition
from chainkit.knowledge.split import Passage

FORMAT = "2"
WAIT_SECONDS = 120
MANY = 20_000  # a word that stands in more passages is counted by where the last of its first ones stands
_VECTORS_AT_ONCE = 8_192
_VARIABLES_AT_ONCE = 500

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL,
    is_file INTEGER NOT NULL, notes TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE IF NOT EXISTS passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES documents (id),
    position INTEGER NOT NULL, headings TEXT NOT NULL, text TEXT NOT NULL,
    page INTEGER, first_line INTEGER, last_line INTEGER, metadata TEXT
);
CREATE INDEX IF NOT EXISTS passages_of_document ON passages (document, position);
CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS codes (
    first INTEGER PRIMARY KEY, document INTEGER NOT NULL, passages INTEGER NOT NULL, codes BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS codes_of_document ON codes (document);
CREATE INDEX IF NOT EXISTS codes_place ON codes (first, passages);
CREATE TABLE IF NOT EXISTS sent (target TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (target, name)) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    headings, text, content='passages', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER IF NOT EXISTS passage_comes AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, headings, text) VALUES (new.id, new.headings, new.text);
END;
CREATE TRIGGER IF NOT EXISTS passage_goes AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, headings, text) VALUES ('delete', old.id, old.headings, old.text);
    DELETE FROM vectors WHERE id = old.id;
END;
"""
# Temporary tables live in a file of this connection alone: writing them neither locks the index nor shows in it.
_STAGE = """
CREATE TEMP TABLE IF NOT EXISTS staged (
    path TEXT NOT NULL, position INTEGER NOT NULL, headings TEXT NOT NULL, text TEXT NOT NULL,
    page INTEGER, first_line INTEGER, last_line INTEGER, metadata TEXT, vector BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS temp.staged_path ON staged (path, position);
"""


_PASSAGE = "p.id, d.path, d.is_file, p.position, p.headings, p.text, p.page, p.first_line, p.last_line, p.metadata"
_JOINED = "FROM passages p JOIN documents d ON d.id = p.document"


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as the store knows it.

    Attributes:
        path: An absolute path, or the id of a text that is no file.
        fingerprint: Changes with its bytes and with how it is read and split.
        is_file: Whether it can be read again from `path`.
        notes: How it was read, for instance with a guessed encoding.
    """

    path: str
    fingerprint: str
    is_file: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A passage with what is stored beside it."""

    id: int
    passage: Passage
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_file: bool = True


class Store:
    """One SQLite file, or memory alone.

    Safe to use from several threads and from several processes: readers never wait, writers wait for each other.
    What a call has stored survives the end of the process at any moment, and a document is stored whole or not at all.

    Args:
        path: The file; None keeps everything in memory.

    Attributes:
        staging: To be held from the first `stage` to the `commit`, so that threads do not mix what they put aside.

    Raises:
        BrokenIndex: The file is no index, is damaged, or comes from another version.
        IndexFileError: The file cannot be opened or written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.RLock()
        self.staging = threading.RLock()
        self._changes = 0
        with self._translated():
            self._db = sqlite3.connect(
                path or ":memory:", timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def meta(self, name: str) -> Any:
        """A stored setting, or None."""
        row = self._one("SELECT value FROM meta WHERE name = ?", name)
        return row[0] if row else None

    def set_meta(self, values: Mapping[str, object]) -> None:
        """Store settings."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def set_first(self, values: Mapping[str, object]) -> None:
        """Store settings unless another process has stored the first of them before."""
        with self._transaction():
            if self._db.execute("SELECT 1 FROM meta WHERE name = ?", (next(iter(values)),)).fetchone() is None:
                self._db.executemany("INSERT INTO meta VALUES (?, ?)", values.items())

    def sources(self) -> list[str]:
        """The paths and patterns that the index is to follow."""
        return [row[0] for row in self._all("SELECT path FROM sources ORDER BY path")]

    def add_sources(self, paths: Iterable[str]) -> None:
        """Follow more paths."""
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO sources VALUES (?)", [(path,) for path in paths])

    def remove_sources(self, paths: Iterable[str]) -> None:
        """Follow paths no longer."""
        with self._transaction():
            self._db.executemany("DELETE FROM sources WHERE path = ?", [(path,) for path in paths])

    def documents(self) -> dict[str, Stored]:
        """All documents by path."""
        rows = self._all("SELECT path, fingerprint, is_file, notes FROM documents ORDER BY id")
        return {
            path: Stored(path, mark, bool(is_file), tuple(json.loads(notes))) for path, mark, is_file, notes in rows
        }

    def count(self) -> int:
        """The number of passages."""
        return self._one("SELECT count(*) FROM passages")[0]

    def version(self) -> tuple[int, int]:
        """Changes when passages come or go, by this connection or by another one."""
        return self._one("PRAGMA data_version")[0], self._changes

    def stage(self, rows: Iterable[tuple[Passage, Mapping[str, Any] | None, bytes]]) -> None:
        """Put passages with metadata and vectors aside, outside the index, until `commit`."""
        with self._lock, self._translated():
            self._db.execute("BEGIN")
            try:
                self._db.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_staged, rows))
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def unstage(self, path: str) -> None:
        """Forget what was put aside of one document."""
        with self._lock, self._translated():
            self._db.execute("DELETE FROM staged WHERE path = ?", (path,))

    def commit(self, documents: Sequence[Stored]) -> None:
        """Make documents part of the index with what was put aside for them, each in place of its former self."""
        with self._transaction():
            for document in documents:
                known = self._db.execute(
                    "SELECT fingerprint FROM documents WHERE path = ?", (document.path,)
                ).fetchone()
                if not known or known[0] != document.fingerprint:  # else another process was faster
                    self._delete(document.path)
                    self._insert(document)
                self._db.execute("DELETE FROM staged WHERE path = ?", (document.path,))
            self._changes += 1

    def remove(self, paths: Iterable[str]) -> list[str]:
        """Remove documents; those of the paths that were there."""
        with self._transaction():
            self._changes += 1
            return [path for path in paths if self._delete(path)]

    def codes(self, after: int, width: int) -> tuple[list[tuple[int, int]], Matrix, Codes]:
        """First passage and number of passages of all runs, and the scales and codes of the runs above `after`.

        All is of one moment, whatever other processes write meanwhile.
        """
        with self._lock, self._translated():
            self._db.execute("BEGIN")
            try:
                listing = self._db.execute("SELECT first, passages FROM codes ORDER BY first").fetchall()
                new = self._db.execute("SELECT codes FROM codes WHERE first > ? ORDER BY first", (after,))
                rows = sum(count for first, count in listing if first > after)
                return listing, *unpacked((row[0] for row in new), rows, width)
            finally:
                self._db.execute("COMMIT")

    def vectors(self, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors of some passages."""
        rows = self._in("SELECT id, vector FROM vectors WHERE id IN", ids)
        return {number: np.frombuffer(vector, np.float32) for number, vector in rows}

    def match(self, query: str, limit: int, wanted: Filter | None = None) -> list[tuple[int, float]]:
        """Ids and scores (BM25, more is better) of the passages that best match an FTS5 query."""
        test, values = condition(wanted or {})
        # the plus keeps SQLite from asking FTS5 anew for each passage that the filter lets through
        inside = f"AND +rowid IN (SELECT p.id {_JOINED} WHERE {test})" if wanted else ""
        rows = self._all(
            # not the column `rank`, which ranks in a second statement of its own
            f"SELECT rowid, bm25(words) AS misfit FROM words WHERE words MATCH ? {inside} "  # noqa: S608
            "ORDER BY misfit, rowid LIMIT ?",
            query,
            *(values if wanted else ()),
            limit,
        )
        return [(int(number), -float(misfit)) for number, misfit in rows]

    def frequencies(self, terms: Iterable[str]) -> dict[str, int]:
        """How many passages hold each FTS5 term; estimated for those that stand in more than `MANY`."""
        return {term: self._frequency(term) for term in terms}

    def held(self, terms: Iterable[str], number: int) -> set[str]:
        """Which of the FTS5 terms a passage holds."""
        statement = "SELECT 1 FROM words WHERE words MATCH ? AND rowid = ?"
        return {term for term in terms if self._one(statement, term, number)}

    def matching(self, wanted: Filter) -> list[int]:
        """The ids of the passages that a filter lets through, rising."""
        test, values = condition(wanted)
        rows = self._all(f"SELECT p.id {_JOINED} WHERE {test} ORDER BY p.id", *values)
        return [row[0] for row in rows]

    def passages(self, ids: Sequence[int]) -> dict[int, Row]:
        """The passages with these ids, as far as they still exist."""
        return {row[0]: _row(row) for row in self._in(f"SELECT {_PASSAGE} {_JOINED} WHERE p.id IN", ids)}

    def named(self, names: Sequence[str]) -> list[Row]:
        """The passages by their names: the id of a text, or `path#position` of one that was split."""
        found = list(
            self._in(f"SELECT {_PASSAGE} {_JOINED} WHERE NOT d.is_file AND p.position = 0 AND d.path IN", names)
        )
        for name in names:
            path, _, position = name.rpartition("#")
            if position.isdecimal():
                statement = (
                    f"SELECT {_PASSAGE} {_JOINED} WHERE (d.is_file OR p.position) AND d.path = ? AND p.position = ?"
                )
                found += self._all(statement, path, int(position))
        return [_row(row) for row in found]

    def passage_ids(self) -> list[int]:
        """The ids of all passages, rising."""
        return [row[0] for row in self._all("SELECT id FROM passages ORDER BY id")]

    def sent(self, target: str) -> set[str]:
        """The passages that were copied to a vector store, by their names there."""
        return {row[0] for row in self._all("SELECT name FROM sent WHERE target = ?", target)}

    def note_sent(self, target: str, names: Iterable[str]) -> None:
        """Remember that these passages were copied."""
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO sent VALUES (?, ?)", [(target, name) for name in names])

    def forget_sent(self, target: str, names: Iterable[str]) -> None:
        """Remember that these passages are no longer there."""
        with self._transaction():
            self._db.executemany("DELETE FROM sent WHERE target = ? AND name = ?", [(target, name) for name in names])

    def _frequency(self, term: str) -> int:
        inside = "SELECT rowid FROM words WHERE words MATCH ? LIMIT ?"
        count, last = self._one(f"SELECT count(*), max(rowid) FROM ({inside})", term, MANY)  # noqa: S608
        if count < MANY:
            return count
        lowest, highest = self._one("SELECT (SELECT min(id) FROM passages), (SELECT max(id) FROM passages)")
        return count * (highest - lowest + 1) // (last - lowest + 1)

    def _in(self, statement: str, values: Sequence[object]) -> Iterator[Any]:
        for start in range(0, len(values), _VARIABLES_AT_ONCE):
            some = values[start : start + _VARIABLES_AT_ONCE]
            yield from self._all(f"{statement} ({','.join('?' * len(some))})", *some)

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if not self._one("SELECT count(*) FROM sqlite_master WHERE name = 'meta'")[0]:
            if self._one("SELECT count(*) FROM sqlite_master")[0]:
                raise BrokenIndex(self.path, "is a SQLite file of something else, not an index")
            with self._transaction():
                for statement in _statements(_TABLES):
                    self._db.execute(statement)
                self._db.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (FORMAT,))
        if self.meta("format") != FORMAT:
            raise BrokenIndex(self.path, f"has format {self.meta('format')}, this chainkit knows {FORMAT}; index anew")
        for statement in _statements(_STAGE):
            self._db.execute(statement)

    def _insert(self, document: Stored) -> None:
        cursor = self._db.execute(
            "INSERT INTO documents (path, fingerprint, is_file, notes) VALUES (?, ?, ?, ?)",
            (document.path, document.fingerprint, document.is_file, json.dumps(document.notes)),
        )
        first = self._db.execute(
            "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'passages'"
        ).fetchone()[0]
        number = cursor.lastrowid
        self._db.execute(
            "INSERT INTO passages (id, document, position, headings, text, page, first_line, last_line, metadata) "
            "SELECT ? + row_number() OVER (ORDER BY position) - 1, ?, position, headings, text, page, first_line, "
            "last_line, metadata FROM staged WHERE path = ?",
            (first, number, document.path),
        )
        self._db.execute(
            "INSERT INTO vectors "
            "SELECT ? + row_number() OVER (ORDER BY position) - 1, vector FROM staged WHERE path = ?",
            (first, document.path),
        )
        staged = self._db.execute("SELECT vector FROM staged WHERE path = ? ORDER BY position", (document.path,))
        while rows := staged.fetchmany(_VECTORS_AT_ONCE):
            codes = packed([row[0] for row in rows])
            self._db.execute("INSERT INTO codes VALUES (?, ?, ?, ?)", (first, number, len(rows), codes))
            first += len(rows)

    def _delete(self, path: str) -> int:
        row = self._db.execute("SELECT id FROM documents WHERE path = ?", (path,)).fetchone()
        if row is None:
            return 0
        self._db.execute("DELETE FROM passages WHERE document = ?", row)
        self._db.execute("DELETE FROM codes WHERE document = ?", row)
        self._db.execute("DELETE FROM documents WHERE id = ?", row)
        return 1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise _named(self.path or "index in memory", error) from error

    def _all(self, statement: str, *values: object) -> list[Any]:
        with self._lock, self._translated():
            return self._db.execute(statement, values).fetchall()

    def _one(self, statement: str, *values: object) -> Any:
        with self._lock, self._translated():
            return self._db.execute(statement, values).fetchone()


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; unlike `executescript`, running them one by one stays inside a transaction."""
    gathered = ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            yield gathered
            gathered = ""


def _staged(row: tuple[Passage, Mapping[str, Any] | None, bytes]) -> tuple[object, ...]:
    passage, metadata, vector = row
    return (
        passage.path,
        passage.position,
        "\n".join(passage.headings),
        passage.text,
        passage.page,
        passage.first_line,
        passage.last_line,
        json.dumps(metadata) if metadata else None,
        vector,
    )


def _row(row: Sequence[Any]) -> Row:
    number, path, is_file, position, headings, text, page, first_line, last_line, metadata = row
    passage = Passage(
        text=text,
        path=path,
        headings=tuple(headings.split("\n")) if headings else (),
        position=position,
        page=page,
        first_line=first_line,
        last_line=last_line,
    )
    return Row(number, passage, json.loads(metadata) if metadata else {}, bool(is_file))


def _named(path: Path | str, error: sqlite3.DatabaseError) -> IndexFileError:
    text = str(error)
    if "locked" in text:
        reason = f"another process has been writing for more than {WAIT_SECONDS} seconds; try again"
        return IndexFileError(path, reason)
    if "not a database" in text or "malformed" in text:
        return BrokenIndex(path, f"is not an index or is damaged ({text}); delete it and index anew")
    return IndexFileError(path, f"cannot be used ({text})")
