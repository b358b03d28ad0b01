r"""A program's text in pieces: plain text, and tags in `{{` and `}}` whose insides are tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from chainkit.base.errors import ProgramSyntaxError
from chainkit.programs.language.commands import FOREIGN_MARKS, FOREIGN_TAGS

Kind = Literal["name", "special", "string", "number", "operator", "end"]
TagKind = Literal["inline", "open", "close", "include", "open_include"]

_OPERATORS = ("==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "<", ">", "=", ".", ",", ":")
_MARKS: tuple[tuple[str, TagKind], ...] = (("#>", "open_include"), ("#", "open"), ("/", "close"), (">", "include"))
_PAIRS = {")": "(", "]": "[", "}": "{"}
_NAME = re.compile(r"[^\W\d]\w*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_JINJA = re.compile(rf"\{{%-?\s*({'|'.join(FOREIGN_TAGS)})\b[^{{}}\n]*%\}}")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_CODES = {"x": 2, "u": 4}
_LONGEST_NUMBER = 100  # digits; Python refuses to read more than 4,300, and slowly before that


@dataclass(frozen=True, slots=True)
class Lexeme:
    """One word inside a tag.

    Attributes:
        kind: Kind of token; "end" is the closing `}}`.
        value: The name, operator, text or number.
        at: Where it begins in the source.
        end: Where it ends.
        spaced: Whether white space precedes it: `f (a)` is not `f(a)`.
    """

    kind: Kind
    value: Any
    at: int
    end: int
    spaced: bool


@dataclass(frozen=True, slots=True)
class Plain:
    """Text between tags, after white space control."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag without its braces.

    Attributes:
        kind: `{{a}}`, `{{#a}}`, `{{/a}}`, `{{>a}}` or `{{#>a}}`.
        tokens: Its insides; the last one is of kind "end".
        at: Position of its `{{`.
        end: Position after its `}}`.
    """

    kind: TagKind
    tokens: tuple[Lexeme, ...]
    at: int
    end: int


def pieces(source: str) -> Iterator[Plain | Tag]:
    r"""Text and tags in turn; comments are left out, `\{{` is text.

    Raises:
        ProgramSyntaxError: A tag, comment or text does not end, or holds a character that means nothing.
    """
    position, strip = 0, False
    while True:
        text, start = _plain(source, position)
        closing_strip = source.startswith("{{~", start)
        begins = position
        if strip:
            begins += len(text) - len(text.lstrip())
            text = text.lstrip()
        if closing_strip:
            text = text.rstrip()
        if text:
            _refuse_jinja(source, text, begins)
            yield Plain(text, begins)
        if start == len(source):
            return
        if comment := _comment(source, start):
            position, strip = comment
            continue
        tag, strip = _tag(source, start)
        yield tag
        position = tag.end


def _refuse_jinja(source: str, text: str, begins: int) -> None:
    if found := _JINJA.search(text):
        at = source.find(found[0], begins)
        raise ProgramSyntaxError(
            f"{{% {found[1]} %}} is Jinja's; write {FOREIGN_TAGS[found[1]]}, or {{{{'{{%'}}}} for the letters alone",
            source,
            at,
        )


def _plain(source: str, position: int) -> tuple[str, int]:
    """The text up to the next tag, and where that begins."""
    parts: list[str] = []
    while True:
        start = source.find("{{", position)
        if start < 0:
            return "".join([*parts, source[position:]]), len(source)
        if source.startswith("\\\\", start - 2) and start - 2 >= position:
            return "".join([*parts, source[position : start - 1]]), start
        if start == position or source[start - 1] != "\\":
            return "".join([*parts, source[position:start]]), start
        parts += [source[position : start - 1], "{{"]
        position = start + 2


def _comment(source: str, start: int) -> tuple[int, bool] | None:
    """Where a comment ends and whether to strip the white space after it; None if it is not a comment."""
    opening = re.compile(r"\{\{~?\s*!(--)?").match(source, start)
    if not opening:
        return None
    closing = re.compile(r"--\s*(~?)\}\}" if opening[1] else r"(~?)\}\}").search(source, opening.end())
    if not closing:
        raise ProgramSyntaxError("this comment does not end", source, start)
    return closing.end(), bool(closing[1])


def _tag(source: str, start: int) -> tuple[Tag, bool]:
    position = start + 2 + source.startswith("~", start + 2)
    position = _skip(source, position)
    kind: TagKind = "inline"
    for mark, meant in _MARKS:
        if source.startswith(mark, position):
            kind, position = meant, position + len(mark)
            break
    tokens = tuple(_Tokens(source, start, position).all())
    end = tokens[-1]
    return Tag(kind, tokens, start, end.end), end.value == "~}}"


def _skip(source: str, position: int) -> int:
    while position < len(source) and source[position].isspace():
        position += 1
    return position


class _Tokens:
    """The insides of one tag; braces are counted, so that `{{set {'a': {}}}}` ends where it should."""

    def __init__(self, source: str, tag: int, position: int) -> None:
        self._source, self._tag, self._position = source, tag, position
        self._open: list[tuple[str, int]] = []

    def all(self) -> Iterator[Lexeme]:
        while True:
            token = self._next()
            yield token
            if token.kind == "end":
                return

    def _next(self) -> Lexeme:
        source = self._source
        start = _skip(source, self._position)
        spaced = start > self._position
        if start >= len(source):
            raise ProgramSyntaxError("this tag does not end: }} is missing", source, self._tag)
        kind, value, end = self._read(start)
        self._position = end
        return Lexeme(kind, value, start, end, spaced)

    def _read(self, start: int) -> tuple[Kind, Any, int]:
        source = self._source
        for closing in ("~}}", "}}"):
            if source.startswith(closing, start) and not (self._open and closing == "}}" and self._inside("{")):
                return "end", closing, self._closed(start, closing)
        character = source[start]
        if match := _NAME.match(source, start):
            return "name", match[0], match.end()
        if match := _NUMBER.match(source, start):
            return "number", self._number(match), match.end()
        if character in "'\"":
            return ("string", *self._string(start))
        if character == "@" and (match := _NAME.match(source, start + 1)):
            return "special", f"@{match[0]}", match.end()
        if character in "([{" or character in _PAIRS:
            return "operator", character, self._bracket(start)
        for operator in _OPERATORS:
            if source.startswith(operator, start):
                return "operator", operator, start + len(operator)
        foreign = next((mark for mark in FOREIGN_MARKS if source.startswith(mark, start)), "")
        advice = f"; {FOREIGN_MARKS[foreign]}" if foreign else ""
        raise ProgramSyntaxError(f"{foreign or character!r} means nothing in a tag{advice}", source, start)

    def _inside(self, bracket: str) -> bool:
        return any(opened == bracket for opened, _ in self._open)

    def _closed(self, start: int, closing: str) -> int:
        if self._open:
            bracket, at = self._open[-1]
            raise ProgramSyntaxError(f"{bracket!r} is not closed", self._source, at)
        return start + len(closing)

    def _bracket(self, start: int) -> int:
        character = self._source[start]
        if character in _PAIRS:
            if not self._open or self._open[-1][0] != _PAIRS[character]:
                raise ProgramSyntaxError(f"{character!r} closes nothing", self._source, start)
            self._open.pop()
        else:
            self._open.append((character, start))
        return start + 1

    def _number(self, match: re.Match[str]) -> int | float:
        text = match[0]
        if len(text) > _LONGEST_NUMBER:
            raise ProgramSyntaxError("this number is too long", self._source, match.start())
        if not text.isdigit():
            return float(text)
        if not text.isascii():
            raise ProgramSyntaxError("write numbers with the digits 0 to 9", self._source, match.start())
        return int(text)

    def _string(self, start: int) -> tuple[str, int]:
        source, quote, position = self._source, self._source[start], start + 1
        parts: list[str] = []
        while position < len(source) and source[position] != quote:
            if source[position] != "\\":
                parts.append(source[position])
                position += 1
                continue
            text, position = self._escape(position)
            parts.append(text)
        if position >= len(source):
            raise ProgramSyntaxError(f"this text does not end: {quote} is missing", source, start)
        return "".join(parts), position + 1

    def _escape(self, start: int) -> tuple[str, int]:
        """What a backslash and what follows mean; before other letters it stays, as in the pattern `\\d`."""
        letter = self._source[start + 1 : start + 2]
        if letter in _ESCAPES:
            return _ESCAPES[letter], start + 2
        digits = self._source[start + 2 : start + 2 + _CODES.get(letter, 0)]
        if letter in _CODES and re.fullmatch(r"[0-9a-fA-F]+", digits) and len(digits) == _CODES[letter]:
            return chr(int(digits, 16)), start + 2 + len(digits)
        return "\\", start + 1
