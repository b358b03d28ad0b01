"""The variables of a run: those of all, and those of the loop or included program that is being run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chainkit.base.errors import MissingVariable, ProgramError
from chainkit.programs.run import values

_PATH = re.compile(r"(?:^|\.)(@?[^\W\d]\w*)|\[(-?\d+|'[^'\]]*'|\"[^\"\]]*\")\]|\.(\d+)")
_LONGEST_PATH = 40


class Scope:
    """Names and their values. Inner names hide outer ones; new ones become variables of the run.

    Attributes:
        variables: Those of the run.
    """

    def __init__(self, variables: dict[str, Any], inner: tuple[dict[str, Any], ...] = ()) -> None:
        self.variables = variables
        self._inner = inner

    def within(self, names: dict[str, Any]) -> Scope:
        """A scope with names that hide those outside."""
        return Scope(self.variables, (*self._inner, names))

    def branch(self) -> Branch:
        """A scope whose changes stay apart, for parts that run at the same time."""
        return Branch(self.variables, self._inner)

    def merge(self, branch: Branch) -> None:
        """Merge the changes of a branch; items that it appended to lists are appended to ours."""
        for path, items in branch.appended.items():
            self.append(path, items)
        roots = {root_of(path) for path in branch.appended}
        for name, value in branch.changes.items():
            if name not in roots:
                self.assign(name, value)

    def __contains__(self, name: str) -> bool:
        return self._home(name) is not None

    def __getitem__(self, name: str) -> Any:
        home = self._home(name)
        if home is None:
            raise MissingVariable(f"there is no variable '{name}'")
        return home[name]

    def take(self, name: str) -> Any:
        """The value of a variable of the run, which is then gone."""
        return self.variables.pop(name)

    def names(self) -> list[str]:
        """All names."""
        return sorted({*self.variables, *(name for names in self._inner for name in names)})

    def assign(self, path: str, value: Any) -> None:
        """Set a variable, or a part of one: `"a"`, `"this.name"`, `"a.b[0]"`.

        Raises:
            ProgramError: The path cannot be read, or leads through something that is not a list or dict.
        """
        value = values.copied(value)
        root, *rest = _steps(path)
        if not rest:
            self._put(root, value)
            return
        holder = self._changeable(root)
        if not isinstance(holder, dict | list):
            holder = {}
            self._put(root, holder)
        for step in rest[:-1]:
            inner = _existing(holder, step)
            if not isinstance(inner, dict | list):
                inner = {}
                values.put(holder, step, inner)
            holder = inner
        values.put(holder, rest[-1], value)

    def append(self, path: str, items: list[Any]) -> None:
        """Put items at the end of a list variable, which is made if there is none.

        Raises:
            ProgramError: The variable is not a list.
        """
        existing = self.read(path)
        if existing is None:
            existing = []
        if not isinstance(existing, list):
            raise ProgramError(f"list_append needs a list, and {path} is a {type(existing).__name__}")
        self.assign(path, [*existing, *items])

    def read(self, path: str) -> Any:
        """The value at a path, or None."""
        root, *rest = _steps(path)
        home = self._home(root)
        value = None if home is None else home[root]
        for step in rest:
            value = _existing(value, step)
        return value

    def _home(self, name: str) -> Mapping[str, Any] | None:
        for names in reversed(self._inner):
            if name in names:
                return names
        return self.variables if name in self.variables else None

    def _changeable(self, name: str) -> Any:
        home = self._home(name)
        return None if home is None else home[name]

    def _put(self, name: str, value: Any) -> None:
        for names in reversed(self._inner):
            if name in names:
                names[name] = value
                return
        self.variables[name] = value


class Branch(Scope):
    """A scope that reads the variables of a run and writes to a separate dict.

    Attributes:
        changes: Variables that were set.
        appended: Items appended to lists, by path.
    """

    def __init__(self, variables: dict[str, Any], inner: tuple[dict[str, Any], ...], of: Branch | None = None) -> None:
        super().__init__(variables, inner)
        self.changes: dict[str, Any] = of.changes if of else {}
        self.appended: dict[str, list[Any]] = of.appended if of else {}

    def within(self, names: dict[str, Any]) -> Branch:
        """A scope with names that hide those outside."""
        return Branch(self.variables, (*self._inner, names), self)

    def append(self, path: str, items: list[Any]) -> None:
        """Put items at the end of a list variable, which is made if there is none."""
        super().append(path, items)
        if not any(root_of(path) in names for names in self._inner):
            self.appended.setdefault(path, []).extend(items)

    def take(self, name: str) -> Any:
        """Nothing can be awaited here."""
        raise ProgramError(f"await '{name}' cannot stand in a loop whose rounds run at the same time")

    def names(self) -> list[str]:
        """All names."""
        return sorted({*super().names(), *self.changes})

    def _home(self, name: str) -> Mapping[str, Any] | None:
        home = super()._home(name)
        return self.changes if (home is None or home is self.variables) and name in self.changes else home

    def _changeable(self, name: str) -> Any:
        home = self._home(name)
        if home is None:
            return None
        if home is self.variables:
            self.changes[name] = values.copied(home[name])
            home = self.changes
        return home[name]

    def _put(self, name: str, value: Any) -> None:
        home = super()._home(name)
        if isinstance(home, dict) and home is not self.variables:
            home[name] = value
        else:
            self.changes[name] = value


def root_of(path: str) -> str:
    """The variable that a path begins with."""
    return str(_steps(path)[0])


def _steps(path: str) -> list[Any]:
    return list(_parsed(path))


def _parsed(path: str) -> Iterator[Any]:
    position = count = 0
    while position < len(path):
        match = _PATH.match(path, position)
        count += 1
        if not match or count > _LONGEST_PATH or (position == 0 and match[1] is None):
            break
        position = match.end()
        if match[1] is not None:
            yield match[1]
        elif match[3] is not None:
            yield int(match[3])
        else:
            yield match[2][1:-1] if match[2][0] in "'\"" else int(match[2])
    if position < len(path) or not path:
        raise ProgramError(f"{path!r} is not a name of a variable; names look like 'a', 'this.name' or 'a.b[0]'")


def _existing(value: Any, key: Any) -> Any:
    try:
        return values.member(value, key)
    except MissingVariable:
        return None
