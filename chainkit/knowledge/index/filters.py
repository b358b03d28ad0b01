"""Conditions on passages: which file, page or metadata they come from, as queries that indexes answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from chainkit.knowledge.readers.documents import absolute

Value: TypeAlias = str | int | float | bool | None
Filter: TypeAlias = Mapping[str, Value | Sequence[Value]]
Selection: TypeAlias = tuple[str, tuple[Value, ...]]

_PLACES = ("page", "first_line", "last_line")
_LARGEST = 2**63 - 1  # what SQLite holds as a whole number
_PATTERN = frozenset("*?[")
_RUNS = "SELECT c.first, c.passages FROM codes c"


def selections(wanted: Filter) -> tuple[tuple[Selection, ...], ...]:
    """A filter as SQL queries with their values, some for each name; each gives first passage and number of runs.

    A passage is let through if one query of each name gives it. `path` takes a file, a folder or a pattern; `page`,
    `first_line` and `last_line` are numbers; every other name is looked up in the metadata. A list means any of its
    values, None that there is none.

    Raises:
        ValueError: A value is neither text, number, truth value, None nor a list of these.

    >>> selections({"page": [1, None]})
    ((('SELECT id AS first, 1 AS passages FROM passages WHERE page IN (SELECT value FROM json_each(?))', ('[1]',)),
      ('SELECT id AS first, 1 AS passages FROM passages WHERE page IS NULL', ())),)
    """
    return tuple(_of_name(name, given) for name, given in wanted.items())


def _of_name(name: str, given: Value | Sequence[Value]) -> tuple[Selection, ...]:
    choices = [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
    values = [_checked(name, value) for value in choices]
    if name in ("path", "source"):
        return tuple(_path(name, value) for value in values)
    found: list[Selection] = []
    if some := [value for value in values if value is not None]:
        found.append(_equal(name, json.dumps(some)))
    if len(some) < len(values):
        found.append(_absent(name))
    return tuple(found)


def _checked(name: str, value: object) -> Value:
    if not isinstance(value, str | int | float | bool | None):
        kind = type(value).__name__
        raise ValueError(f"a filter compares with text, numbers, truth values or None; '{name}' is a {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a filter compares with finite numbers; '{name}' is {value}")
    return float(value) if isinstance(value, int) and abs(value) > _LARGEST else value


def _equal(name: str, values: str) -> Selection:
    test = "IN (SELECT value FROM json_each(?))"
    if name in _PLACES:
        return f"SELECT id AS first, 1 AS passages FROM passages WHERE {name} {test}", (values,)  # noqa: S608
    return f"{_RUNS} JOIN labels l ON l.document = c.document WHERE l.name = ? AND l.value {test}", (name, values)


def _absent(name: str) -> Selection:
    if name in _PLACES:
        return f"SELECT id AS first, 1 AS passages FROM passages WHERE {name} IS NULL", ()  # noqa: S608
    return f"{_RUNS} WHERE c.document NOT IN (SELECT document FROM labels WHERE name = ?)", (name,)  # noqa: S608


def _path(name: str, value: Value) -> Selection:
    if not isinstance(value, str):
        raise ValueError(f"'{name}' in a filter is a file, a folder or a pattern, got {value!r}")
    place = absolute(value)
    tests, values = ["d.path IN (?, ?)"], [value, place]
    below = place.rstrip("/\\")
    for sign in "/\\":  # all that begins with it, as a range, which the index on paths answers
        tests.append("(d.path >= ? AND d.path < ?)")
        values += [below + sign, below + chr(ord(sign) + 1)]
    if not _PATTERN.isdisjoint(place):
        tests.append("d.path GLOB ?")
        values.append(place)
    return f"{_RUNS} JOIN documents d ON d.id = c.document WHERE {' OR '.join(tests)}", tuple(values)
