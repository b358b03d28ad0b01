"""How far a JSON text has come: which brackets are open, and where its last whole value ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from chainkit.base.errors import ChainkitError

_WHITE = b" \n\t\r"
_DELIMITERS = b",]}" + _WHITE
_CLOSERS = {ord("{"): b"}", ord("["): b"]"}


class DuplicateKey(ChainkitError, ValueError):
    """An object names a key twice."""


class Outline(NamedTuple):
    """The parser state after some bytes of a JSON text that is valid so far.

    Attributes:
        stack: The open brackets, the outermost first.
        mode: "value" or "key" where one may begin, "text" or "name" inside a string, "scalar" inside a number or word,
            "colon" after a key, "after" after a value.
        length: The bytes so far.
        end: Where the last whole value or opening bracket ends.
        name_end: Where the key ends whose value has not begun or is not whole; 0 if there is none.
        begin: Where the content of the last string begins.
        escaped: Whether the next byte of a string is escaped.
    """

    stack: bytes = b""
    mode: str = "value"
    length: int = 0
    end: int = 0
    name_end: int = 0
    begin: int = 0
    escaped: bool = False

    def after(self, data: bytes) -> Outline:
        """The state after these further bytes."""
        state = self
        for place, byte in enumerate(data, self.length + 1):
            if state.in_string:
                state = state._in_string(byte, place)
                continue
            if state.mode == "scalar":
                if byte not in _DELIMITERS:
                    continue
                state = state._replace(mode="after", end=place - 1, name_end=0)
            if byte not in _WHITE:
                state = state._between(byte, place)
        return state._replace(length=self.length + len(data))

    def _in_string(self, byte: int, place: int) -> Outline:
        if self.escaped or byte == 0x5C:
            return self._replace(escaped=not self.escaped)
        if byte != 0x22:
            return self
        if self.mode == "text":
            return self._replace(mode="after", end=place, name_end=0)
        return self._replace(mode="colon", name_end=place)

    def _between(self, byte: int, place: int) -> Outline:
        match byte:
            case 0x22:  # a quotation mark
                return self._replace(mode="name" if self.mode == "key" else "text", begin=place)
            case 0x7B | 0x5B:  # an opening bracket
                mode = "key" if byte == 0x7B else "value"
                return self._replace(stack=self.stack + bytes([byte]), mode=mode, end=place, name_end=0)
            case 0x7D | 0x5D:
                return self._replace(stack=self.stack[:-1], mode="after", end=place, name_end=0)
            case 0x2C:  # a comma
                return self._replace(mode="key" if self.stack.endswith(b"{") else "value")
            case 0x3A:  # a colon
                return self._replace(mode="value")
            case _:
                return self._replace(mode="scalar")

    @property
    def in_string(self) -> bool:
        """Whether a text or key is open."""
        return self.mode in ("text", "name")

    def partial(self, data: bytes) -> Any:
        """The value so far: what has begun and is not whole is left out, but a key that waits for its value has null.

        Args:
            data: All bytes up to here.

        Raises:
            DuplicateKey: An object has a duplicate key.
        """
        head = data[: self.name_end] + b":null" if self.name_end else data[: self.end]
        return load(head + b"".join(_CLOSERS[one] for one in reversed(self.stack)))

    def open_paths(self, value: Any) -> tuple[list[str] | None, list[str] | None]:
        """The paths of the innermost open container and of the key that waits for its value, in a partial value."""
        if not self.stack:
            return None, None
        path: list[str] = []
        for _ in self.stack[1:]:
            step = _last(value)
            path.append(str(step))
            value = value[step]
        return path, [*path, str(_last(value))] if self.name_end else None


def load(text: bytes | str) -> Any:
    """Parse a JSON text; objects must not have duplicate keys.

    Raises:
        DuplicateKey: One does.
        ValueError: It is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_single)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _last(container: Any) -> str | int:
    return next(reversed(container)) if isinstance(container, dict) else len(container) - 1


def _single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DuplicateKey("an object has a duplicate key")
    return found


def end_of(text: str, path: Sequence[str | int]) -> int:
    """Where the value at a path ends in a JSON text, in characters; a step that is not there ends the way.

    >>> end_of('{"a": [1, 22], "b": 3}', ["a", 1])
    12
    """
    decoder, place = json.JSONDecoder(), _next(text, 0)
    for step in path:
        found = _inside(decoder, text, place, step)
        if found is None:
            break
        place = found
    return decoder.raw_decode(text, place)[1]


def _inside(decoder: json.JSONDecoder, text: str, place: int, step: str | int) -> int | None:
    """Where the value of a key or index begins."""
    if text[place] not in "{[":
        return None
    keyed, place, index = text[place] == "{", _next(text, place + 1), 0
    while text[place] not in "}]":
        name: str | int = index
        if keyed:
            name, place = decoder.raw_decode(text, place)
            place = _next(text, _next(text, place) + 1)
        if str(name) == str(step):
            return place
        place, index = _next(text, decoder.raw_decode(text, place)[1]), index + 1
        if text[place] == ",":
            place = _next(text, place + 1)
    return None


def _next(text: str, place: int) -> int:
    """The next place that holds no white space."""
    while place < len(text) and text[place] in " \n\t\r":
        place += 1
    return place
