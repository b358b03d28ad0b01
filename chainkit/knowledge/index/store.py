"""The SQLite file of an index: documents, passages, their words (FTS5) and vectors."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.knowledge.index.codes import Codes, Matrix, Whole, packed, spread, unpacked
from chainkit.knowledge.index.database import Database
from chainkit.knowledge.index.filters import Selection
from chainkit.knowledge.index.lexicon import Lexicon
from chainkit.knowledge.readers.split import Passage

_VECTORS_AT_ONCE = 8_192
_REFUSED = "refused:"
_PASSAGE = "p.id, d.path, d.is_file, p.position, p.headings, p.text, p.page, p.first_line, p.last_line, d.metadata"
_DOCUMENT = "SELECT path, fingerprint, is_file, notes, metadata FROM documents"
_JOINED = "FROM passages p JOIN documents d ON d.id = p.document"


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as the store knows it.

    Attributes:
        path: An absolute path, or the id of a text that is not a file.
        fingerprint: Changes with its bytes and with how it is read and split.
        is_file: Whether it can be read again from `path`.
        notes: How it was read, for instance with a guessed encoding.
        metadata: What came with it, as far as JSON can hold it; filters look here.
    """

    path: str
    fingerprint: str
    is_file: bool = True
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_refused(self) -> bool:
        """Whether it is recorded only so that it is not read in vain again; its note gives the reason."""
        return self.fingerprint.startswith(_REFUSED)


def refused(fingerprint: str) -> str:
    """The fingerprint of a document that cannot be read."""
    return _REFUSED + fingerprint


@dataclass(frozen=True, slots=True)
class Row:
    """A stored passage with its vector and metadata."""

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
        words: The search by words.
        staging: To be held from the first `stage` to the `commit`, so that threads do not mix what they put aside.

    Raises:
        BrokenIndex: The file is not an index, is damaged, or comes from another version.
        IndexFileError: The file cannot be opened or written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.staging = threading.RLock()
        self._changes = 0
        self._db = Database(path)
        self.words = Lexicon(self._db)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def meta(self, name: str) -> Any:
        """A stored setting, or None."""
        row = self._db.one("SELECT value FROM meta WHERE name = ?", name)
        return row[0] if row else None

    def set(self, name: str, value: object) -> None:
        """Store a setting in place of its former value."""
        self._db.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(name, value)])

    def set_first(self, values: Mapping[str, object]) -> None:
        """Store settings unless another process has stored the first of them before."""
        with self._db.writing() as db:
            if db.execute("SELECT 1 FROM meta WHERE name = ?", (next(iter(values)),)).fetchone() is None:
                db.executemany("INSERT INTO meta VALUES (?, ?)", values.items())

    def sources(self) -> list[str]:
        """The paths and patterns that the index is to follow."""
        return [row[0] for row in self._db.all("SELECT path FROM sources ORDER BY path")]

    def add_sources(self, paths: Iterable[str]) -> None:
        """Follow more paths."""
        self._db.write("INSERT OR IGNORE INTO sources VALUES (?)", [(path,) for path in paths])

    def remove_sources(self, paths: Iterable[str]) -> None:
        """Follow paths no longer."""
        self._db.write("DELETE FROM sources WHERE path = ?", [(path,) for path in paths])

    def documents(self) -> dict[str, Stored]:
        """All documents by path, also those that could not be read."""
        return {row[0]: _stored(row) for row in self._db.all(f"{_DOCUMENT} ORDER BY id")}

    def document(self, path: str) -> Stored | None:
        """The document of this path."""
        row = self._db.one(f"{_DOCUMENT} WHERE path = ?", path)
        return _stored(row) if row else None

    def contexts(self, paths: Sequence[str]) -> Iterator[tuple[int, str]]:
        """Id of each passage of some documents, and the text that was embedded for it."""
        for number, headings, text in self._db.among(
            f"SELECT p.id, p.headings, p.text {_JOINED} WHERE d.path IN", paths
        ):
            yield number, Passage(text=text, headings=_headings(headings)).context

    def count(self) -> int:
        """The number of passages."""
        return self._db.one("SELECT count(*) FROM passages")[0]

    def version(self) -> tuple[int, int]:
        """Changes when passages come or go, by this connection or by another one."""
        return self._db.one("PRAGMA data_version")[0], self._changes

    def stage(self, rows: Iterable[tuple[Passage, bytes]]) -> None:
        """Put passages with their vectors aside, outside the index, until `commit`."""
        with self._db.reading() as db:
            db.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(_staged, rows))

    def unstage(self, path: str) -> None:
        """Delete the staged passages of one document."""
        with self._db.reading() as db:
            db.execute("DELETE FROM staged WHERE path = ?", (path,))

    def commit(self, documents: Sequence[Stored]) -> None:
        """Commit documents with their staged passages; each replaces its earlier version."""
        with self._db.writing() as db:
            for document in documents:
                known = db.execute("SELECT fingerprint FROM documents WHERE path = ?", (document.path,)).fetchone()
                if not known or known[0] != document.fingerprint:  # else another process was faster
                    _delete(db, document.path)
                    _insert(db, document)
                db.execute("DELETE FROM staged WHERE path = ?", (document.path,))
            self._changes += 1

    def remove(self, paths: Iterable[str]) -> list[str]:
        """Remove documents; those of the paths that were there."""
        with self._db.writing() as db:
            self._changes += 1
            return [path for path in paths if _delete(db, path)]

    def codes(self, after: int, width: int) -> tuple[list[tuple[int, int]], Matrix, Codes]:
        """First passage and number of passages of all runs, and the scales and codes of the runs above `after`.

        All is of one moment, whatever other processes write meanwhile.
        """
        with self._db.reading() as db:
            listing = db.execute("SELECT first, passages FROM codes ORDER BY first").fetchall()
            new = db.execute("SELECT codes FROM codes WHERE first > ? ORDER BY first", (after,))
            rows = sum(count for first, count in listing if first > after)
            return listing, *unpacked((row[0] for row in new), rows, width)

    def vectors(self, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors of some passages."""
        rows = self._db.among("SELECT id, vector FROM vectors WHERE id IN", ids)
        return {number: np.frombuffer(vector, np.float32) for number, vector in rows}

    def matching(self, selections: Sequence[Sequence[Selection]]) -> Whole:
        """The ids of the passages that a filter lets through, rising."""
        groups = [np.unique(np.concatenate([self._ids(one) for one in group] or [_NONE])) for group in selections]
        return reduce(lambda one, other: np.intersect1d(one, other, assume_unique=True), groups)

    def passages(self, ids: Sequence[int]) -> dict[int, Row]:
        """The passages with these ids, as far as they still exist."""
        return {row[0]: _row(row) for row in self._db.among(f"SELECT {_PASSAGE} {_JOINED} WHERE p.id IN", ids)}

    def named(self, names: Sequence[str]) -> list[Row]:
        """The passages by their names: the id of a text, or `path#position` of one that was split."""
        found = list(
            self._db.among(f"SELECT {_PASSAGE} {_JOINED} WHERE NOT d.is_file AND p.position = 0 AND d.path IN", names)
        )
        for name in names:
            path, _, position = name.rpartition("#")
            if position.isdecimal():
                statement = (
                    f"SELECT {_PASSAGE} {_JOINED} WHERE (d.is_file OR p.position) AND d.path = ? AND p.position = ?"
                )
                found += self._db.all(statement, path, int(position))
        return [_row(row) for row in found]

    def of_document(self, path: str) -> list[Passage]:
        """The passages of a document, in their order."""
        rows = self._db.all(f"SELECT {_PASSAGE} {_JOINED} WHERE d.path = ? ORDER BY p.position", path)
        return [_row(row).passage for row in rows]

    def passage_ids(self) -> list[int]:
        """The ids of all passages, rising."""
        return [row[0] for row in self._db.all("SELECT id FROM passages ORDER BY id")]

    def sent(self, target: str) -> set[str]:
        """The passages that were copied to a vector store, by their names there."""
        return {row[0] for row in self._db.all("SELECT name FROM sent WHERE target = ?", target)}

    def note_sent(self, target: str, names: Iterable[str]) -> None:
        """Remember that these passages were copied."""
        self._db.write("INSERT OR IGNORE INTO sent VALUES (?, ?)", [(target, name) for name in names])

    def forget_sent(self, target: str, names: Iterable[str]) -> None:
        """Remember that these passages are no longer there."""
        self._db.write("DELETE FROM sent WHERE target = ? AND name = ?", [(target, name) for name in names])

    def _ids(self, selection: Selection) -> Whole:
        statement, values = selection
        # as one text: Python objects for each of 100,000 rows take eight times as long
        listed = self._db.one(f"SELECT group_concat(first || ',' || passages) FROM ({statement})", *values)[0]  # noqa: S608
        firsts, counts = np.fromstring(listed or "", np.int64, sep=",").reshape(-1, 2).T
        return spread(firsts, counts)


_NONE = np.empty(0, np.int64)


def _insert(db: sqlite3.Connection, document: Stored) -> None:
    cursor = db.execute(
        "INSERT INTO documents (path, fingerprint, is_file, notes, metadata) VALUES (?, ?, ?, ?, ?)",
        (
            document.path,
            document.fingerprint,
            document.is_file,
            json.dumps(document.notes),
            json.dumps(dict(document.metadata)),
        ),
    )
    first = db.execute("SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'passages'").fetchone()[0]
    number = cursor.lastrowid
    db.execute(
        "INSERT INTO passages (id, document, position, headings, text, page, first_line, last_line) "
        "SELECT ? + row_number() OVER (ORDER BY position) - 1, ?, position, headings, text, page, first_line, "
        "last_line FROM staged WHERE path = ?",
        (first, number, document.path),
    )
    db.execute(
        "INSERT INTO vectors SELECT ? + row_number() OVER (ORDER BY position) - 1, vector FROM staged WHERE path = ?",
        (first, document.path),
    )
    staged = db.execute("SELECT vector FROM staged WHERE path = ? ORDER BY position", (document.path,))
    while rows := staged.fetchmany(_VECTORS_AT_ONCE):
        codes = packed([row[0] for row in rows])
        db.execute("INSERT INTO codes VALUES (?, ?, ?, ?)", (first, number, len(rows), codes))
        first += len(rows)


def _delete(db: sqlite3.Connection, path: str) -> int:
    row = db.execute("SELECT id FROM documents WHERE path = ?", (path,)).fetchone()
    if row is None:
        return 0
    db.execute("DELETE FROM passages WHERE document = ?", row)
    db.execute("DELETE FROM codes WHERE document = ?", row)
    db.execute("DELETE FROM documents WHERE id = ?", row)
    return 1


def _stored(row: Sequence[Any]) -> Stored:
    path, mark, is_file, notes, metadata = row
    return Stored(path, mark, bool(is_file), tuple(json.loads(notes)), json.loads(metadata))


def _headings(stored: str) -> tuple[str, ...]:
    return tuple(stored.split("\n")) if stored else ()


def _staged(row: tuple[Passage, bytes]) -> tuple[object, ...]:
    passage, vector = row
    return (
        passage.path,
        passage.position,
        "\n".join(passage.headings),
        passage.text,
        passage.page,
        passage.first_line,
        passage.last_line,
        vector,
    )


def _row(row: Sequence[Any]) -> Row:
    number, path, is_file, position, headings, text, page, first_line, last_line, metadata = row
    passage = Passage(
        text=text,
        path=path,
        headings=_headings(headings),
        position=position,
        page=page,
        first_line=first_line,
        last_line=last_line,
    )
    return Row(number, passage, json.loads(metadata), bool(is_file))
