"""Conditions on passages, as SQL: which file, page or metadata they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from chainkit.knowledge.documents import absolute

Value: TypeAlias = str | int | float | bool | None
Filter: TypeAlias = Mapping[str, Value | Sequence[Value]]

_METADATA = "SELECT 1 FROM json_each(coalesce(p.metadata, '{}')) WHERE key = ? AND"
_COLUMNS = {"page": "p.page", "first_line": "p.first_line", "last_line": "p.last_line"}


def condition(wanted: Filter) -> tuple[str, list[Value]]:
    """A filter as an SQL condition over `passages p JOIN documents d`, with its values.

    `path` takes a file, a folder or a pattern; `page`, `first_line` and `last_line` are numbers; every other name is
    looked up in the metadata. A list means any of its values, None that there is none.

    Raises:
        ValueError: A value is neither text, number, truth value, None nor a list of these.

    >>> condition({"page": [1, 2]})
    ('(p.page IS ? OR p.page IS ?)', [1, 2])
    """
    parts: list[str] = []
    values: list[Value] = []
    for name, given in wanted.items():
        choices = [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
        tests = [_one(name, value) for value in choices]
        parts.append("(" + (" OR ".join(test for test, _ in tests) or "0") + ")")
        values += [value for _, some in tests for value in some]
    return " AND ".join(parts) or "1", values


def _one(name: str, value: object) -> tuple[str, list[Value]]:
    if not isinstance(value, str | int | float | bool | None):
        kind = type(value).__name__
        raise ValueError(f"a filter compares with text, numbers, truth values or None; '{name}' is a {kind}")
    if name in ("path", "source"):
        return _path(name, value)
    if column := _COLUMNS.get(name):
        return f"{column} IS ?", [value]
    if value is None:
        return f"NOT EXISTS ({_METADATA} value IS NOT NULL)", [name]
    return f"EXISTS ({_METADATA} value = ?)", [name, value]


def _path(name: str, value: Value) -> tuple[str, list[Value]]:
    if not isinstance(value, str):
        raise ValueError(f"'{name}' in a filter is a file, a folder or a pattern, got {value!r}")
    place = absolute(value)
    below = place.rstrip("/\\")
    tests = "d.path IN (?, ?) OR d.path GLOB ? OR (length(d.path) > ? AND substr(d.path, 1, ?) IN (?, ?))"
    return tests, [value, place, place, len(below), len(below) + 1, below + "/", below + "\\"]
