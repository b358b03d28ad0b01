"""Conversations in an SQLite file: every message whole, its text searchable, readable by its user alone."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from chainkit.base.errors import ConversationFileError
from chainkit.base.paths import config_dir
from chainkit.base.redaction import Redaction
from chainkit.base.sqlite import FileLayout, ForeignFile, connect, reason, transaction

VERSION = 1
"""The layout of the file, in SQLite's `user_version`."""

# The trigram tokenizer finds parts of words, and words of scripts that put no space between them.
_TABLES = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, started TEXT NOT NULL, changed TEXT NOT NULL, title TEXT NOT NULL, system TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY, conversation TEXT NOT NULL, at TEXT NOT NULL, model TEXT NOT NULL,
    role TEXT NOT NULL, text TEXT NOT NULL, data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_conversation ON messages (conversation, number);
CREATE INDEX IF NOT EXISTS conversations_changed ON conversations (changed);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
    text, content='messages', content_rowid='number', tokenize='trigram'
);
CREATE TRIGGER IF NOT EXISTS message_added AFTER INSERT ON messages BEGIN
    INSERT INTO words (rowid, text) VALUES (new.number, new.text);
END;
CREATE TRIGGER IF NOT EXISTS message_removed AFTER DELETE ON messages BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.number, old.text);
END;
PRAGMA user_version = 1;
"""
_LAYOUT = FileLayout(11, _TABLES, "conversations")
_GRAM = 3  # characters that a word must have for the index
_TITLE = 80  # characters


@dataclass(frozen=True, kw_only=True)
class SavedMessage:
    """A message and where it came from.

    Attributes:
        message: As it was said.
        model: Spec of the model that said it, or that it was said to.
        at: When it was kept, in UTC.
    """

    message: BaseMessage
    model: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class SavedConversation:
    """A conversation without its messages.

    Attributes:
        id: Eight hexadecimal digits.
        title: How the first question begins.
        system: The system prompt.
        model: Spec of the model that spoke last.
        count: How many messages there are.
        started: When it began, in UTC, and `changed` when something was said last.
        excerpt: Of a search, the text around the match.
    """

    id: str
    title: str
    system: str
    model: str
    count: int
    started: datetime
    changed: datetime
    excerpt: str = ""


def conversations_file() -> Path:
    """Where `chainkit chat` keeps conversations; the file need not exist."""
    return config_dir() / "conversations.sqlite3"


class ConversationFile:
    """The conversations in one file. Each call opens and closes it, so that several programs may share it.

    API keys that are known on this machine become `***` before anything is kept; everything else stays as it was said.

    Args:
        path: The file; it is made, of mode 0600, with the first conversation.

    Raises:
        ConversationFileError: The file is something else or cannot be used; so does every method.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path) if path is not None else conversations_file()

    def begin(self, title: str, system: str = "") -> str:
        """A new conversation, without messages; returns its id."""
        id_, now, hidden = secrets.token_hex(4), _now(), Redaction()
        title, system = _storable(" ".join(title.split())[:_TITLE], hidden), _storable(system, hidden)
        with self._opened(make=True) as base:
            base.execute("INSERT INTO conversations VALUES (?, ?, ?, ?, ?)", (id_, now, now, title, system))
        return id_

    def add(self, id: str, messages: Iterable[BaseMessage], model: str, *, system: str | None = None) -> None:  # noqa: A002
        """Add messages to a conversation, and change the system prompt if given; all or none."""
        now, hidden = _now(), Redaction()
        rows = [
            (id, now, model, message.type, _storable(str(message.text), hidden), _dumped(message, hidden))
            for message in messages
        ]
        with self._opened(make=True) as base, transaction(base):
            base.executemany(
                "INSERT INTO messages (conversation, at, model, role, text, data) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
            base.execute("UPDATE conversations SET changed = ? WHERE id = ?", (now, id))
            if system is not None:
                base.execute("UPDATE conversations SET system = ? WHERE id = ?", (_storable(system, hidden), id))

    def messages(self, id: str) -> list[SavedMessage]:  # noqa: A002
        """The messages of a conversation, in order."""
        with self._opened() as base:
            rows = base.execute(
                "SELECT data, model, at FROM messages WHERE conversation = ? ORDER BY number", (id,)
            ).fetchall()
        said = messages_from_dict([json.loads(row[0]) for row in rows])
        return [
            SavedMessage(message=message, model=row[1], at=datetime.fromisoformat(row[2]))
            for message, row in zip(said, rows, strict=True)
        ]

    def find(self, id: str = "") -> SavedConversation:  # noqa: A002
        """A conversation by its id or the beginning of it; the latest if none is given.

        Raises:
            ConversationFileError: There is none, or more than one.
        """
        found = self._listed("WHERE substr(id, 1, ?) = ?", (len(id), id), 2)
        if not found:
            raise ConversationFileError(
                self.path, f"no conversation has an id that begins with '{id}'" if id else "no conversation is kept"
            )
        if id and len(found) > 1:
            raise ConversationFileError(self.path, f"more than one conversation has an id that begins with '{id}'")
        return found[0]

    def recent(self, limit: int = 20) -> list[SavedConversation]:
        """The conversations in which something was said last, the newest first."""
        return self._listed("", (), limit)

    def search(self, words: Sequence[str], limit: int = 20) -> list[SavedConversation]:
        """The conversations that contain all of these words, ignoring case, newest first."""
        hidden = Redaction()
        wanted = [word for word in (_storable(word, hidden) for word in words) if word.strip()]
        if not wanted or not self.path.is_file():
            return []
        with self._opened() as base:
            hits = [dict(_hits(base, word)) for word in wanted]
        common = set.intersection(*map(set, hits))
        if not common:
            return []
        found = self._listed(f"WHERE id IN ({', '.join('?' * len(common))})", tuple(common), limit)
        return [_with_excerpt(one, hits[0][one.id], wanted[0]) for one in found]

    def forget(self, ids: Sequence[str] | None = None, *, before: datetime | None = None) -> int:
        """Delete conversations, so that the file does not hold their words any more; returns how many.

        Args:
            ids: These; without them all.
            before: Only those in which nothing was said since.
        """
        limit = before.astimezone(UTC).isoformat() if before else "~"
        if not self.path.is_file():
            return 0
        with self._opened() as base:
            rows = base.execute("SELECT id FROM conversations WHERE changed < ?", (limit,)).fetchall()
            going = [row for row in rows if ids is None or row[0] in ids]
            with transaction(base):
                base.executemany("DELETE FROM messages WHERE conversation = ?", going)
                base.executemany("DELETE FROM conversations WHERE id = ?", going)
                base.execute("INSERT INTO words (words) VALUES ('optimize')")  # the index would keep the words
            base.execute("VACUUM")
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(going)

    def _listed(self, condition: str, values: Sequence[object], limit: int) -> list[SavedConversation]:
        if not self.path.is_file():
            return []
        inside = "FROM messages WHERE conversation = id"
        columns = (
            f"id, title, system, started, changed, (SELECT count(*) {inside}),"
            f" coalesce((SELECT model {inside} ORDER BY number DESC LIMIT 1), '')"
        )
        with self._opened() as base:
            rows = base.execute(
                f"SELECT {columns} FROM conversations {condition} ORDER BY changed DESC, rowid DESC LIMIT ?",  # noqa: S608
                (*values, limit),
            ).fetchall()
        return [
            SavedConversation(
                id=row[0],
                title=row[1],
                system=row[2],
                started=datetime.fromisoformat(row[3]),
                changed=datetime.fromisoformat(row[4]),
                count=row[5],
                model=row[6],
            )
            for row in rows
        ]

    @contextmanager
    def _opened(self, *, make: bool = False) -> Generator[sqlite3.Connection]:
        if self.path.is_dir():
            raise ConversationFileError(self.path, "is a folder; name a file in it")
        if not make and not self.path.is_file():
            raise ConversationFileError(self.path, "no conversation is kept")
        try:
            with closing(connect(self.path, _LAYOUT, wait_seconds=10, make=make)) as base:
                if base.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                    raise ForeignFile("a file of another version")
                yield base
        except ForeignFile as error:
            raise ConversationFileError(
                self.path, "holds no conversations of chainkit, or of another version"
            ) from error
        except (sqlite3.Error, OSError) as error:
            raise ConversationFileError(self.path, f"cannot be used: {reason(error)}") from error


def _hits(base: sqlite3.Connection, word: str) -> list[tuple[str, str]]:
    """Conversations and the text of their latest message that holds a word."""
    if len(word) < _GRAM:
        pattern = "".join(f"\\{sign}" if sign in "\\%_" else sign for sign in word)
        condition, value = "text LIKE ? ESCAPE '\\'", f"%{pattern}%"
    else:
        quoted = word.replace('"', '""')
        condition, value = "number IN (SELECT rowid FROM words WHERE words MATCH ?)", f'"{quoted}"'
    return base.execute(
        f"SELECT conversation, text FROM messages WHERE {condition} ORDER BY number",  # noqa: S608 - a constant
        (value,),
    ).fetchall()


def _with_excerpt(one: SavedConversation, text: str, word: str, around: int = 60) -> SavedConversation:
    flat = " ".join(text.split())
    at = max(flat.casefold().find(word.casefold()), 0)
    first, last = max(at - around, 0), min(at + len(word) + around, len(flat))
    excerpt = f"{'...' if first else ''}{flat[first:last]}{'...' if last < len(flat) else ''}"
    return SavedConversation(**{**vars(one), "excerpt": excerpt})


def _dumped(message: BaseMessage, hidden: Redaction) -> str:
    return hidden.known(json.dumps(message_to_dict(message), default=str))


def _storable(text: str, hidden: Redaction) -> str:
    """The text without known keys, and with a `?` for halves of surrogate pairs, which SQLite cannot hold."""
    return hidden.known(text).encode("utf-8", "replace").decode("utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat()
