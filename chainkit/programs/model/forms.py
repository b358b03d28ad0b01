"""What `type=`, `schema=`, `pattern=`, `grammar=` and `options=` of a slot ask for, and the value that its text is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from chainkit.base.errors import ProgramError, nearest
from chainkit.base.patterns import Pattern
from chainkit.base.patterns import pattern as read_pattern
from chainkit.programs.model.protocol import Form

Reader = Callable[[str], Any]

_WHOLE = r"-?(0|[1-9][0-9]{0,17})"
_PLAIN: Mapping[Any, Form | None] = {
    int: Form(pattern=_WHOLE),
    float: Form(pattern=_WHOLE + r"(\.[0-9]{1,17})?"),
    bool: Form(options=("true", "false")),
    str: None,
}
TYPES: Mapping[str, type] = {kind.__name__: kind for kind in _PLAIN}
"""Names that mean a type in `type=`, where no variable has them."""

_PARAMETERS = ("pattern", "schema", "grammar", "type", "options")


@dataclass(frozen=True)
class Wanted:
    """A form and how its text is read.

    Attributes:
        form: None if any text will do.
        read: Makes the variable's value; raises ValueError if the text is not of the form.
    """

    form: Form | None
    read: Reader = str


ANYTHING = Wanted(None)


def wanted(given: Mapping[str, Any]) -> Wanted:
    """The form that a slot's parameters ask for.

    Args:
        given: Those of `pattern`, `schema`, `grammar`, `type` and `options` that are not None.

    Raises:
        ProgramError: There are several, or one cannot be used.
    """
    if len(given) > 1:
        raise ProgramError(f"a slot has one form, and this one has {' and '.join(given)}")
    for name, value in given.items():
        match name:
            case "pattern":
                return _pattern(value)
            case "options":
                return _options(value)
            case "grammar":
                return Wanted(Form(grammar=_text("grammar", value)))
            case "type":
                return _typed(value)
            case _:
                return _schema(value)
    return ANYTHING


def number(form: Form) -> Literal["integer", "number"] | None:
    """What JSON calls the number that a form is, if it is that of `type=int` or `type=float`."""
    if form == _PLAIN[int]:
        return "integer"
    return "number" if form == _PLAIN[float] else None


def form_parameters() -> tuple[str, ...]:
    """The parameters that ask for a form."""
    return _PARAMETERS


def fits(form: Form, text: str, read: Reader = str) -> bool:
    """Whether a text that a limit cut is of a form all the same; grammars cannot be checked here."""
    if number(form):  # it may be the beginning of another
        return False
    if form.pattern is not None:
        return _matches(form.pattern, text)
    if form.options and text not in form.options:
        return False
    try:
        reader_of(form)(text)
        read(text)
    except ValueError:
        return False
    return True


def _matches(pattern: str, text: str) -> bool:
    try:
        return compiled(pattern).fullmatch(text)
    except ProgramError:  # of Rust; the text was cut, so most likely it is not whole
        return False


def reader_of(form: Form) -> Reader:
    """The parser for the text of a form."""
    return _schema_reader(form.schema) if form.schema is not None else str


def _pattern(value: Any) -> Wanted:
    return Wanted(Form(pattern=_text("pattern", value)))


def compiled(pattern: str) -> Pattern:
    """A pattern that checks texts; local models read patterns as Rust does, and know a little more.

    Raises:
        ProgramError: Python cannot read it.
    """
    try:
        return read_pattern(pattern)
    except re.error as error:
        raise ProgramError(f"the pattern {pattern!r} cannot be read: {error}") from error


def _options(value: Any) -> Wanted:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) and one for one in value):
        raise ProgramError("options must be a list of texts, none of them empty")
    return Wanted(Form(options=tuple(dict.fromkeys(value))))


def _typed(value: Any) -> Wanted:
    if isinstance(value, str):
        if value not in TYPES:
            hint = nearest(value, TYPES)
            advice = f"did you mean '{hint}'?" if hint else f"types: {', '.join(TYPES)}, or a class as a variable"
            raise ProgramError(f"there is no type '{value}'; {advice}")
        value = TYPES[value]
    if value in (int, float, bool, str):
        return Wanted(_PLAIN[value], _boolean if value is bool else value)
    return _schema(value)


def _schema(value: Any) -> Wanted:
    if isinstance(value, str | int | float | list) or value is None:
        raise ProgramError("schema must be a pydantic model, another type, or a JSON schema as a dict")
    return Wanted(Form(schema=value), _schema_reader(value))


def _schema_reader(schema: Any) -> Reader:
    if isinstance(schema, Mapping):
        return _json

    def read(text: str) -> Any:
        from pydantic import TypeAdapter

        return TypeAdapter(schema).validate_json(text)  # pydantic's ValidationError is a ValueError

    return read


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _boolean(text: str) -> Literal[True, False]:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ProgramError(f"{name} must be a text that is not empty")
    return value


def taken(form: Form, text: str, *, goes_on: bool = False) -> str | None:
    """What an answer is of a form, without the quotation marks around it, or None if it is not.

    Args:
        form: The requested form.
        text: The answer: all of it must match the form, so that a truncated number or word does not count.
        goes_on: The text may go on after it, as that of a model which continues texts does.
    """
    stripped = text.strip()
    if form.schema is not None:
        return _json_text(form.schema, stripped)
    if form.options:
        return _option(form.options, stripped, goes_on=goes_on)
    if form.pattern is None:
        return None
    kind = number(form)
    pattern = compiled(_NUMBERS[kind] if kind else form.pattern)
    for said in (stripped, _bare(stripped)) if kind else (stripped,):
        match = pattern.match(said) if goes_on else None
        found = match[0] if match else said if not goes_on and pattern.fullmatch(said) else ""
        if found and (not kind or (_ends(said, len(found)) and isfinite(float(found)))):
            return found
    return None


_NUMBERS = {
    "integer": r"-?(0|[1-9][0-9]*)",
    "number": r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?",
}
_GOING_ON = re.compile(r"[.,'_\u2019]?\w|[\s\u00a0\u202f][0-9]{3}")  # what makes more of a number or word than there is


def _bare(text: str) -> str:
    return text.strip("'\"`*. \n")


def _ends(text: str, place: int) -> bool:
    return _GOING_ON.match(text, place) is None


def _option(options: tuple[str, ...], text: str, *, goes_on: bool) -> str | None:
    """The option that an answer is, in quotes or not; in the end, in letters of either case."""
    bare = _bare(text)
    for said in (text, bare):
        same = [option for option in options if said == option.strip()]
        begun = [option for option in options if option.strip() and said.startswith(option.strip())]
        whole = [option for option in begun if _ends(said, len(option.strip()))] if goes_on else []
        if same or whole:
            return max(same or whole, key=len)
    same = [option for option in options if option.strip().lower() == bare.lower()]
    return same[0] if len(same) == 1 else None


def _json_text(schema: Any, text: str) -> str | None:
    from chainkit.decoding.validation import Validator

    start = min((place for mark in "{[" if (place := text.find(mark)) >= 0), default=0)
    decoder, validator, read = json.JSONDecoder(), Validator.of(schema), _schema_reader(schema)
    for place in dict.fromkeys((0, start)):
        try:
            _, end = decoder.raw_decode(text[place:])
            found = text[place : place + end]
            if validator.fault_of_text(found) is None:
                read(found)
                return found
        except (ValueError, RecursionError):
            continue
    return None


def json_schema(schema: Any) -> dict[str, Any]:
    """The JSON schema of a type, or the schema itself."""
    if isinstance(schema, Mapping):
        return {str(key): value for key, value in schema.items()}
    from pydantic import PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(schema).json_schema()
    except PydanticUserError as error:
        raise ProgramError(f"{schema!r} has no JSON schema: {error.message}") from error
