"""Traces in an SQLite file: one row for each step, texts whole, no API key."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chainkit.base.errors import NO_SUCH_FILE, LogFileError
from chainkit.base.paths import config_dir
from chainkit.base.sqlite import FileLayout, ForeignFile, connect, reason, transaction
from chainkit.observe.step import Step, dumped

VERSION = 1
"""The layout of the file, in SQLite's `user_version`."""

_TEXTS = ("id", "name", "kind", "answer", "model", "provider", "error")
_NUMBERS = ("seconds", "input_tokens", "output_tokens", "cached_tokens", "cost")
_VALUES = ("inputs", "output", "messages", "settings", "details")
_COLUMNS = ("root", "parent", "position", "started", *_TEXTS, *_NUMBERS, *_VALUES)

_TABLE = """
CREATE TABLE IF NOT EXISTS steps (
    root TEXT NOT NULL, parent TEXT, position INTEGER NOT NULL, started TEXT NOT NULL,
    id TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL,
    answer TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL, error TEXT NOT NULL,
    seconds REAL, input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, cost REAL,
    inputs TEXT NOT NULL, output TEXT NOT NULL, messages TEXT NOT NULL, settings TEXT NOT NULL, details TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS steps_root ON steps (root, position);
CREATE INDEX IF NOT EXISTS steps_started ON steps (started) WHERE parent IS NULL;
PRAGMA user_version = 1;
"""
_LAYOUT = FileLayout(5, _TABLE, "steps")


def log_file() -> Path:
    """Where traces are kept if no other place is named; it need not exist."""
    return config_dir() / "log.sqlite3"


def write(path: str | os.PathLike[str], steps: Iterable[Step]) -> None:
    """Add traces to a file, which is made if it is not there and readable by its user alone.

    Raises:
        LogFileError: The file is something else, or cannot be written.
    """
    rows = [row for step in steps for row in _rows(step)]
    marks = ", ".join("?" * len(_COLUMNS))
    with _opened(path, make=True) as base, transaction(base):
        base.executemany(f"INSERT OR REPLACE INTO steps ({', '.join(_COLUMNS)}) VALUES ({marks})", rows)  # noqa: S608


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which traces are meant; all that is given must hold.

    Attributes:
        containing: Text in a prompt, an answer, an input or an error.
        model: This is part of the name of a model that was called, written `provider:name`.
        failed: Some step failed.
        since: They began at this time or later; a time without a zone is local.
        before: They began earlier than this.
    """

    containing: str = ""
    model: str = ""
    failed: bool = False
    since: datetime | None = None
    before: datetime | None = None

    def condition(self) -> tuple[str, list[str]]:
        """An SQL condition on the outermost step `top`, and its values."""
        parts, values = ["top.parent IS NULL"], list[str]()
        if self.containing:
            # Some columns are JSON, where quotes and line breaks are written differently.
            parts.append(
                _some(
                    "answer LIKE ? ESCAPE '\\' OR error LIKE ? ESCAPE '\\' OR messages LIKE ? ESCAPE '\\'"
                    " OR inputs LIKE ? ESCAPE '\\'"
                )
            )
            values += [_pattern(self.containing)] * 2 + [_pattern(dumped(self.containing)[1:-1])] * 2
        if self.model:
            parts.append(_some("kind = 'model' AND provider || ':' || model LIKE ? ESCAPE '\\'"))
            values.append(_pattern(self.model))
        if self.failed:
            parts.append(_some("error <> ''"))
        for sign, moment in ((">=", self.since), ("<", self.before)):
            if moment is not None:
                parts.append(f"top.started {sign} ?")
                values.append(moment.astimezone(UTC).isoformat())
        return " AND ".join(parts), values


@dataclass(frozen=True, kw_only=True)
class Sum:
    """What the calls of one model come to.

    Attributes:
        calls: How many there were; `failed` of them ended with an error, `uncounted` reported no tokens, and
            the price of `unpriced` is not known.
        seconds: Their times added up.
        cost: Estimated US dollars of the calls whose price is known.
    """

    provider: str
    model: str
    calls: int
    failed: int
    uncounted: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    seconds: float
    cost: float


def recent(
    path: str | os.PathLike[str], *, limit: int = 20, containing: str = "", only: Filter | None = None
) -> list[Step]:
    """The latest traces, the newest first, whole.

    Args:
        path: The file.
        limit: The most that are given.
        containing: Only traces with this text in a prompt, an answer, an input or an error.
        only: Only traces that match this filter, combined with `containing`.

    Raises:
        LogFileError: The file is missing or something else.
    """
    only = replace(only, containing=only.containing or containing) if only else Filter(containing=containing)
    condition, values = only.condition()
    with _opened(path) as base:
        wanted = f"SELECT id FROM steps AS top WHERE {condition} ORDER BY started DESC, rowid DESC LIMIT ?"  # noqa: S608
        found = base.execute(wanted, (*values, limit)).fetchall()
        return [_read(base, row[0]) for row in found]


def sums(path: str | os.PathLike[str], only: Filter | None = None) -> list[Sum]:
    """What the calls of each model come to, the dearest and then the most called first.

    Args:
        path: The file.
        only: Count only traces that this describes, with all calls in them.

    Raises:
        LogFileError: The file is missing or something else.
    """
    condition, values = (only or Filter()).condition()
    columns = (
        "provider, model, count(*), sum(error <> ''), sum(input_tokens IS NULL), sum(cost IS NULL),"
        " total(input_tokens), total(output_tokens), total(cached_tokens), total(seconds), total(cost)"
    )
    with _opened(path) as base:
        rows = base.execute(
            f"SELECT {columns} FROM steps WHERE kind = 'model'"  # noqa: S608
            f" AND root IN (SELECT id FROM steps AS top WHERE {condition})"
            " GROUP BY provider, model ORDER BY total(cost) DESC, count(*) DESC",
            values,
        ).fetchall()
    return [_sum(dict(zip((field.name for field in fields(Sum)), row, strict=True))) for row in rows]


def read(path: str | os.PathLike[str], id: str) -> Step:  # noqa: A002
    """One trace by its id, or by the beginning or the end of it if only one is like that.

    Raises:
        LogFileError: The file is missing or something else, or no trace, or more than one, has this id.
    """
    with _opened(path) as base:
        like = "SELECT id FROM steps WHERE parent IS NULL AND (substr(id, 1, ?1) = ?2 OR substr(id, -?1) = ?2)"
        rows = base.execute(like, (len(id), id)).fetchall()
        if len(rows) != 1:
            raise LogFileError(path, f"{len(rows) or 'no'} traces have an id that begins or ends with '{id}'")
        return _read(base, rows[0][0])


def forget(path: str | os.PathLike[str], *, before: datetime | None = None) -> int:
    """Remove traces that began before a time, or all; returns how many.

    Raises:
        LogFileError: The file is missing or something else.
    """
    limit = before.astimezone(UTC).isoformat() if before else "~"
    with _opened(path) as base:
        with transaction(base):
            roots = base.execute(
                "SELECT count(*) FROM steps WHERE parent IS NULL AND started < ?", (limit,)
            ).fetchone()[0]
            base.execute(
                "DELETE FROM steps WHERE root IN (SELECT id FROM steps WHERE parent IS NULL AND started < ?)", (limit,)
            )
        base.execute("VACUUM")
        return roots


@contextmanager
def _opened(path: str | os.PathLike[str], *, make: bool = False) -> Iterator[sqlite3.Connection]:
    place = Path(path)
    if place.is_dir():
        raise LogFileError(path, "is a folder; name a file in it")
    if not make and not place.is_file():
        raise LogFileError(path, f"{NO_SUCH_FILE}; chainkit.trace(path) or a command with --trace=FILE writes one")
    try:
        with closing(connect(place, _LAYOUT, wait_seconds=10, make=make)) as base:
            if base.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                raise ForeignFile("a log of another version")
            yield base
    except ForeignFile as error:
        raise LogFileError(path, "is not a log of chainkit, or one of another version") from error
    except (sqlite3.Error, OSError) as error:
        raise LogFileError(path, f"cannot be used as a log: {reason(error)}") from error


def _sum(row: dict[str, Any]) -> Sum:
    whole = {name: int(row[name]) for name in ("input_tokens", "output_tokens", "cached_tokens")}
    return Sum(**{**row, **whole})


def _some(condition: str) -> str:
    return f"EXISTS (SELECT 1 FROM steps WHERE root = top.id AND ({condition}))"  # noqa: S608 - a constant


def _pattern(text: str) -> str:
    """For LIKE with a backslash before its own signs."""
    for sign in "\\%_":
        text = text.replace(sign, "\\" + sign)
    return f"%{text}%"


def _rows(root: Step) -> Iterator[tuple[Any, ...]]:
    parents: list[tuple[Step, str | None]] = [(root, None)]
    position = 0
    while parents:
        step, parent = parents.pop()
        texts = [getattr(step, name) for name in (*_TEXTS, *_NUMBERS)]
        values = [dumped(getattr(step, name)) for name in _VALUES]
        yield root.id, parent, position, step.started.isoformat(), *texts, *values
        position += 1
        parents.extend((child, step.id) for child in reversed(step.children))


def _read(base: sqlite3.Connection, root: str) -> Step:
    names = ", ".join(_COLUMNS)
    rows = base.execute(f"SELECT {names} FROM steps WHERE root = ? ORDER BY position", (root,)).fetchall()  # noqa: S608
    steps: dict[str, Step] = {}
    inside: dict[str | None, list[str]] = {}
    for row in rows:
        found: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
        steps[found["id"]] = _step(found)
        inside.setdefault(found["parent"], []).append(found["id"])
    return _with_children(root, steps, inside)


def _with_children(id: str, steps: dict[str, Step], inside: dict[str | None, list[str]]) -> Step:  # noqa: A002
    children: Sequence[Step] = [_with_children(child, steps, inside) for child in inside.get(id, [])]
    return replace(steps[id], children=tuple(children))


def _step(found: dict[str, Any]) -> Step:
    values = {name: json.loads(found[name]) for name in _VALUES}
    values["messages"] = tuple((role, content) for role, content in values["messages"])
    plain = {name: found[name] for name in (*_TEXTS, *_NUMBERS)}
    return Step(started=datetime.fromisoformat(found["started"]), **plain, **values)
