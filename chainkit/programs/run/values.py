"""Evaluation of expressions: members, operators, built-in functions, and values as text.

A template reads only the variables it was given: keys of dicts, items of lists, fields of dataclasses, named tuples
and pydantic models. It cannot reach Python attributes, so no class, module, file or private name.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainkit.base.errors import MissingVariable, ProgramError, nearest
from chainkit.programs.run import text_calls

LONGEST_TEXT = 10_000_000  # characters of one value
LONGEST_LIST = 200_000
_LARGEST = 2**4096  # whole numbers beyond this are a mistake or an attack

Number = int | float
_MISSING = object()


def shown(value: Any) -> str:
    """A value as text: None is empty, texts are as they are, the rest is as Python writes it.

    >>> shown(None), shown("a"), shown([1, "b"]), shown(0.5)
    ('', 'a', "[1, 'b']", '0.5')
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        raise ProgramError(f"{name} is a function; call it with {{{{{name}()}}}}")
    return _bounded(str(value))


def member(value: Any, key: Any) -> Any:
    """`value[key]`, or `value.key`.

    Raises:
        MissingVariable: There is none.
        ProgramError: Values of this kind have no members.
    """
    if isinstance(value, Mapping):
        if not _hashable(key):
            raise ProgramError(f"{type(key).__name__} cannot be a key")
        if key in value:
            return value[key]
        raise MissingVariable(f"there is no {key!r}; there is: {_listed(value)}")
    if isinstance(value, Sequence) and isinstance(key, int):
        if -len(value) <= key < len(value):
            return value[key]
        raise MissingVariable(f"there is no item {key} in a list of {len(value)}")
    names = fields(value)
    if isinstance(key, str) and key in names:
        return getattr(value, key)
    if isinstance(value, str) and key in _TEXT_METHODS:
        return Method(value, key)
    if isinstance(value, str) and (found := text_calls.part(value, key)) is not None:
        return found
    raise MissingVariable(_no_member(value, key, names))


def fields(value: Any) -> tuple[str, ...]:
    """The names that a template may read from an object."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        names: Sequence[str] = [field.name for field in dataclasses.fields(kind)]
    elif isinstance(value, tuple) and isinstance(declared := getattr(kind, "_fields", None), tuple):
        names = declared
    else:
        declared = getattr(kind, "model_fields", None)
        names = list(declared) if isinstance(declared, Mapping) else []
    return tuple(name for name in names if not name.startswith("_"))


def put(container: Any, key: Any, value: Any) -> None:
    """Set an item of a list or a dict.

    Raises:
        ProgramError: It cannot be set there.
    """
    in_dict = isinstance(container, dict) and _hashable(key)
    in_list = isinstance(container, list) and isinstance(key, int) and -len(container) <= key < len(container)
    if not in_dict and not in_list:
        raise ProgramError(f"{key!r} cannot be set in a {_kind(container)}")
    container[key] = value


def _no_member(value: Any, key: Any, names: Sequence[str]) -> str:
    if value is None:
        return f"None has no {key!r}"
    if names:
        hint = nearest(str(key), names)
        return f"{_kind(value)} has no field {key!r}; " + (f"did you mean '{hint}'?" if hint else ", ".join(names))
    if isinstance(value, str | int | float | list | tuple):
        return f"a {_kind(value)} has no {key!r}"
    return f"templates cannot read attributes of {_kind(value)} objects; pass a dict, dataclass or pydantic model"


def _kind(value: Any) -> str:
    return {str: "text", list: "list", dict: "dict"}.get(type(value), type(value).__name__)


def _listed(names: Mapping[Any, Any]) -> str:
    return ", ".join(str(name) for name in list(names)[:20]) or "nothing"


def _hashable(key: Any) -> bool:
    return isinstance(key, str | int | float | bool | None)


@dataclasses.dataclass(frozen=True)
class Method:
    """One of the harmless methods of a text."""

    text: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        """Call it with texts."""
        most = _TEXT_METHODS[self.name]
        if len(arguments) > most or not all(isinstance(argument, str) for argument in arguments):
            raise ProgramError(f"{self.name} of a text takes at most {most} texts")
        if self.name == "replace" and len(arguments) == 2:
            grown = len(self.text) + (self.text.count(arguments[0])) * len(arguments[1])
            _check_length(grown)
        try:
            return getattr(self.text, self.name)(*arguments)
        except (TypeError, ValueError) as error:
            raise ProgramError(f"{self.name} of a text: {error}") from error


# name -> how many texts it takes
_TEXT_METHODS: Mapping[str, int] = {
    "upper": 0,
    "lower": 0,
    "title": 0,
    "capitalize": 0,
    "strip": 1,
    "lstrip": 1,
    "rstrip": 1,
    "split": 1,
    "splitlines": 0,
    "replace": 2,
    "startswith": 1,
    "endswith": 1,
}


def add(*values: Any) -> Any:
    """The sum of numbers, or the concatenation of texts or lists."""
    if not values:
        return 0
    if all(isinstance(value, str) for value in values):
        _check_length(sum(map(len, values)))
        return "".join(values)
    if all(isinstance(value, list | tuple) for value in values):
        _check_length(sum(map(len, values)), LONGEST_LIST)
        return [item for value in values for item in value]
    result = _number("+", values[0])
    for value in values[1:]:
        result = _small(result + _number("+", value))
    return result


def multiply(*values: Any) -> Number:
    """The product of numbers."""
    result: Number = 1
    for value in values:
        result = _small(result * _number("*", value))
    return result


def subtract(minuend: Any, subtrahend: Any) -> Number:
    """A difference."""
    return _small(_number("-", minuend) - _number("-", subtrahend))


def contains(string: Any, substring: Any) -> bool:
    """Whether a text, list or dict has something in it."""
    try:
        return substring in string
    except TypeError:
        raise ProgramError(f"a {_kind(substring)} cannot be in a {_kind(string)}") from None


def length(value: Any) -> int:
    """How long a text, list or dict is."""
    try:
        return len(value)
    except TypeError:
        raise ProgramError(f"a {_kind(value)} has no length") from None


def numbers(*bounds: Any) -> list[int]:
    """Python's `range` as a list."""
    if not 1 <= len(bounds) <= 3 or not all(isinstance(bound, int) for bound in bounds):
        raise ProgramError("range takes one to three whole numbers")
    try:
        result = range(*bounds)
    except ValueError as error:
        raise ProgramError(f"range: {error}") from None
    if max(map(abs, bounds)) > 2**60 or len(result) > LONGEST_LIST:
        raise ProgramError(f"a range of more than {LONGEST_LIST} numbers is too long")
    return list(result)


def strip(string: Any) -> str:
    """A text without white space around it."""
    return shown(string).strip()


def equal(*values: Any) -> bool:
    """Whether all values are the same."""
    return all(_same(values[0], value) for value in values[1:])


def negate(value: Any) -> bool:
    """Whether a value is empty, zero, False or None."""
    return not value


def binary(sign: str, left: Any, right: Any) -> Any:
    """The value of `left sign right`; `and` and `or` are not decided here.

    Raises:
        ProgramError: These values have no such thing.
    """
    match sign:
        case "+":
            return add(left, right)
        case "==" | "is":
            return _same(left, right)
        case "!=" | "is not":
            return not _same(left, right)
        case "in":
            return contains(right, left)
        case "not in":
            return not contains(right, left)
        case "<" | ">" | "<=" | ">=":
            return _compared(sign, left, right)
    first, second = _number(sign, left), _number(sign, right)
    try:
        return _small(_ARITHMETIC[sign](first, second))
    except ZeroDivisionError:
        raise ProgramError(f"{shown(left)} {sign} 0 has no value") from None
    except OverflowError:
        raise ProgramError("this number is too large") from None


def unary(sign: str, value: Any) -> Any:
    """The value of `not value` or `-value`."""
    return not value if sign == "not" else -_number("-", value)


_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _same(left: Any, right: Any) -> bool:
    try:
        return bool(left == right)
    except (TypeError, ValueError, RecursionError) as error:  # arrays have no single answer
        raise ProgramError(f"a {_kind(left)} and a {_kind(right)} cannot be compared: {error}") from error


def _compared(sign: str, left: Any, right: Any) -> bool:
    try:
        return bool(_ORDER[sign](left, right))
    except TypeError:
        raise ProgramError(f"a {_kind(left)} and a {_kind(right)} have no order") from None


def _number(sign: str, value: Any) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | float):
        advice = "; numbers in text are made numbers by {{gen 'x' type=int}}" if isinstance(value, str) else ""
        raise ProgramError(f"'{sign}' works on numbers, not on a {_kind(value)}{advice}")
    return value


def _small(value: Number) -> Number:
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise ProgramError("this number is too large")
    return value


def _check_length(count: int, most: int = LONGEST_TEXT) -> None:
    if count > most:
        raise ProgramError(f"this value is too long: {count}, and {most} are allowed")


def _bounded(text: str) -> str:
    _check_length(len(text))
    return text


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": add,
    "subtract": subtract,
    "multiply": multiply,
    "strip": strip,
    "equal": equal,
    "notequal": lambda first, second: not _same(first, second),
    "greater": lambda first, second: _compared(">", first, second),
    "less": lambda first, second: _compared("<", first, second),
    "contains": contains,
    "not": negate,
    "not_": negate,
    "len": length,
    "range": numbers,
    "callable": lambda value: callable(value) or text_calls.extract_function_call(value) is not None,
}
"""Functions that every program can call; a function of the same name that the caller gives goes first."""


def truth(value: Any) -> bool:
    """Whether a value counts as true."""
    try:
        return bool(value)
    except (TypeError, ValueError) as error:  # arrays have no single answer
        raise ProgramError(f"a {_kind(value)} is neither true nor false: {error}") from error


def copied(value: Any) -> Any:
    """Lists and dicts anew, so that a run never changes what its caller gave; other objects as they are.

    Raises:
        ProgramError: They are too large, too deep, or inside themselves.
    """
    return _copied(value, [LONGEST_LIST], 0)


_DEEPEST = 60


def _copied(value: Any, budget: list[int], depth: int) -> Any:
    if type(value) is not dict and type(value) is not list:
        return value
    budget[0] -= len(value)
    if budget[0] < 0 or depth > _DEEPEST:
        raise ProgramError("this value is too large or too deep")
    if isinstance(value, dict):
        return {key: _copied(item, budget, depth + 1) for key, item in value.items()}
    return [_copied(item, budget, depth + 1) for item in value]
