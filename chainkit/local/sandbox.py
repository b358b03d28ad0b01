"""A Jinja sandbox for chat templates from model files: no access to Python, bounded time and memory.

jinja2's own sandbox keeps a template away from Python's insides. It does not stop `{% for i in range(...) %}` in three
levels, `x ~ x` forty times, or a macro that calls itself twice. Here every turn of a loop, every call and every value
that is made (text, list, number) counts against a budget of time and memory, before it is made where its size can be
foretold; and only values of known kinds become text.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from datetime import date
from typing import Any, NamedTuple

from jinja2 import Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 1.0
MAX_STEPS = 500_000
MAX_TEXT = 8_000_000  # characters in one text, and in the whole output
MAX_MADE = 64_000_000  # characters in all texts that are made on the way
MAX_NUMBER = 100_000  # repetitions, widths, powers
MAX_ITEMS = 200_000  # in one value, nested ones counted as often as they appear
MAX_BITS = 2_048  # of a whole number
MAX_STRIPPED = 1_000  # characters in the argument of strip(): its time is the product of both lengths
ITEM_COST = 16  # cost of an item in a new list, in characters

_FILTERS = frozenset(
    [
        "abs",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "e",
        "escape",
        "first",
        "float",
        "groupby",
        "indent",
        "int",
        "items",
        "join",
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "replace",
        "reverse",
        "round",
        "safe",
        "select",
        "selectattr",
        "sort",
        "string",
        "sum",
        "title",
        "trim",
        "truncate",
        "unique",
        "upper",
        "urlencode",
        "wordcount",
    ]
)
_TEXT_METHODS = frozenset(
    [
        "capitalize",
        "casefold",
        "count",
        "endswith",
        "find",
        "format",
        "index",
        "isalnum",
        "isalpha",
        "isascii",
        "isdecimal",
        "isdigit",
        "islower",
        "isnumeric",
        "isspace",
        "istitle",
        "isupper",
        "join",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rindex",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
    ]
)
_LONG_NUMBER = re.compile(r"\d{5,}|\*|\{[^{}]*\{")
"""A width in a format: long, or taken from an argument."""
_STRIPPING = frozenset(["trim", "strip", "lstrip", "rstrip"])
_PASSING = frozenset(["count", "d", "default", "first", "last", "length", "list"])
"""Filters that look at no item of their value."""


_PRINTED = (int, float, type(None), Undefined, range, date, Macro, LoopContext)
"""What becomes a short text, beside texts, lists and dicts."""


class Budget:
    """The remaining budget of one rendering."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.steps, self.made, self.deadline = 0, 0, time.thread_time() + seconds

    def step(self, made: int = 0) -> None:
        """Count a turn of a loop or a call, and the characters that it makes.

        Raises:
            SecurityError: The budget is used up.
        """
        self.steps += 1
        self.made += made
        if self.steps > MAX_STEPS:
            raise SecurityError(f"it takes more than {MAX_STEPS} steps")
        if self.made > MAX_MADE or made > MAX_TEXT:
            raise SecurityError("it makes more text than any prompt needs")
        if time.thread_time() > self.deadline:  # CPU time, because a busy machine is not the template's fault
            raise SecurityError("it takes too long")


_budget: ContextVar[Budget] = ContextVar("budget")


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox in which chat templates run."""

    intercepted_binops = frozenset({"+", "*", "**", "%", "//"})

    def __init__(self) -> None:
        # the optimizer would compute constant expressions while compiling, outside of any budget
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[loopcontrols, _Generation], cache_size=0
        )
        self.finalize = _counted
        self.filters = {name: guarded(function) for name, function in self.filters.items() if name in _FILTERS}
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace")}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            literal = sum(len(data.data) for body in loop.body for data in body.find_all(nodes.TemplateData))
            loop.iter = self._through("limited", [loop.iter, nodes.Const(literal)])
        for concat in list(tree.find_all(nodes.Concat)):
            concat.nodes = [self._through("counted", [node]) for node in concat.nodes]
        _wrap_containers(tree)
        tree.set_environment(self)
        return tree

    @staticmethod
    def _through(method: str, arguments: list[Any]) -> nodes.Expr:
        return nodes.Call(nodes.EnvironmentAttribute(method), arguments, [], None, None)

    def limited(self, items: Iterable[Any], literal: int) -> Iterator[Any]:
        """The items of a loop, each counted together with the text in the loop's body."""
        budget = _budget.get()
        if not hasattr(items, "__len__"):
            items = list(items)  # loop.length and loop.last need it; it is as long as what it was made from
        return _Limited(items, budget, literal)  # type: ignore[return-value]

    def counted(self, value: Any) -> Any:
        """A part of a concatenation."""
        return _counted(value)

    def checked(self, value: Any) -> Any:
        """A list or dict that was written down; lists of lists of lists can be larger than any memory."""
        return _made(value)

    def sliced(self, value: Any) -> Any:
        """A slice, which is a new value."""
        return _made(value, new_items=False)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """As in jinja2's sandbox, and of a text only the methods that cannot blow it up."""
        if isinstance(obj, str) and attr not in _TEXT_METHODS:
            return False
        return not isinstance(obj, bytes) and super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        """Refuse at once: jinja2's own answer is a nothing that prints as an empty text."""
        raise SecurityError(f"it reaches for {attribute!r} of a {type(obj).__name__}")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse what would be huge before it is computed."""
        if operator == "*":
            _refuse_product(left, right)
        elif operator == "**" and (abs(right) > 64 or abs(left) > MAX_NUMBER):
            raise SecurityError("it raises a number to a huge power")
        elif operator == "%" and isinstance(left, str):
            _refuse_format(left, (right,))
        return _made(super().call_binop(context, operator, left, right), new_items=False)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - jinja2's hook
        budget = _budget.get()
        owner = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)
        _refuse_huge_arguments(owner, getattr(obj, "__name__", ""), (*args, *kwargs.values()))
        budget.step(MAX_TEXT // 1000 if isinstance(obj, Macro) else 0)
        return _made(super().call(context, obj, *args, **kwargs))


def with_budget(render: Callable[[], Iterable[str]], seconds: float = SECONDS) -> str:
    """The output of a rendering, with its pieces counted as they come.

    Raises:
        SecurityError: It takes more time, steps or text than any chat does.
    """
    budget = Budget(seconds)
    token = _budget.set(budget)
    try:
        parts: list[str] = []
        length = 0
        for part in render():
            length += len(part)
            if length > MAX_TEXT:
                raise SecurityError("its output is longer than any prompt")
            parts.append(part)
        return "".join(parts)
    finally:
        _budget.reset(token)


class _Limited:
    """A sequence that counts while it is walked through; jinja2 asks it for its length too."""

    def __init__(self, items: Any, budget: Budget, literal: int) -> None:
        self._items, self._budget, self._literal = items, budget, literal

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self._budget.step(self._literal)
            yield item


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; for a prompt it means nothing."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _wrap_containers(node: nodes.Node) -> None:
    """Let every list, tuple, dict and slice of the template be looked at when it is made."""
    for name, value in node.iter_fields():
        if isinstance(value, list):
            value[:] = [_wrapped(item) for item in value]
        elif isinstance(value, nodes.Node):
            setattr(node, name, _wrapped(value))


def _wrapped(node: Any) -> Any:
    if not isinstance(node, nodes.Node):
        return node
    _wrap_containers(node)
    made = isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load")
    if made:
        return ChatEnvironment._through("checked", [node])  # type: ignore[list-item]
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return ChatEnvironment._through("sliced", [node])
    return node


def _counted(value: Any) -> Any:
    budget = _budget.get(None)
    if budget is None:
        return value
    if not isinstance(value, str):
        weigh(value, printed=True)
        value = str(value)
    budget.step(len(value))
    return value


def _made(value: Any, *, new_items: bool = True) -> Any:
    """Count a value that was just made; what it holds was counted before unless it is new as well."""
    budget = _budget.get()
    if isinstance(value, str):
        budget.step(len(value))
    elif isinstance(value, dict | list | tuple):
        if len(value) > MAX_ITEMS:
            raise SecurityError("it makes a value of a huge size")
        if new_items:
            weigh(value)
        budget.step(ITEM_COST * len(value))
    elif isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise SecurityError("it computes with huge numbers")
    else:
        budget.step()
    return value


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts, and refuses arguments that would make huge values."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0  # jinja2 hands some filters its own context first
    name = function.__name__.removeprefix("sync_").removeprefix("do_")

    @functools.wraps(function)  # jinja2's marks on the function come along
    def run(*args: Any, **kwargs: Any) -> Any:
        _budget.get().step()
        values = list(args)
        if isinstance(values[first], Iterator):
            values[first] = list(values[first])
        weigh(values[first], printed=name not in _PASSING)
        _refuse_huge_arguments(values[first], name, (*values[first + 1 :], *kwargs.values()))
        return _made(function(*values, **kwargs))

    return run


def _refuse_huge_arguments(subject: Any, name: str, arguments: tuple[Any, ...]) -> None:
    for argument in arguments:
        if isinstance(argument, int) and abs(argument) > MAX_NUMBER:
            raise SecurityError(f"it calls {name or 'a function'} with a huge number")
        if isinstance(argument, str) and len(argument) > MAX_STRIPPED and name in _STRIPPING:
            raise SecurityError("it strips a huge text")
    if name == "sum" and any(isinstance(argument, list | tuple) for argument in arguments):
        raise SecurityError("it sums lists")
    _refuse_huge_result(subject, name, arguments)


def _refuse_huge_result(subject: Any, name: str, arguments: tuple[Any, ...]) -> None:
    if name == "join" and arguments:
        separator, items = (subject, arguments[0]) if isinstance(subject, str) else (arguments[0], subject)
        _refuse_repetition(str(separator), len(items) if hasattr(items, "__len__") else MAX_NUMBER, "joins")
    if not isinstance(subject, str):
        return
    if name in ("int", "float") and len(subject) > MAX_BITS:
        raise SecurityError("it reads a huge number")
    if name == "replace" and len(arguments) >= 2:
        old, new = (str(argument) for argument in arguments[:2])
        _refuse_repetition(new, subject.count(old), "replaces")
    elif name == "indent":
        width = next((argument for argument in arguments if isinstance(argument, int | str)), 4)
        _refuse_repetition(" " * width if isinstance(width, int) else width, subject.count("\n") + 1, "indents")
    elif name in ("format", "format_map"):
        _refuse_format(subject, arguments)


def _refuse_repetition(text: str, times: int, verb: str) -> None:
    if len(text) * times > MAX_TEXT:
        raise SecurityError(f"it {verb} into a huge text")


def _refuse_format(pattern: str, arguments: tuple[Any, ...]) -> None:
    if _LONG_NUMBER.search(pattern):
        raise SecurityError("it formats to a huge width")
    _refuse_repetition(
        "x" * max(1, weigh(arguments, printed=True).characters), pattern.count("%") + pattern.count("{"), "formats"
    )


def _refuse_product(left: Any, right: Any) -> None:
    for text, number in ((left, right), (right, left)):
        most = MAX_TEXT if isinstance(text, str | bytes) else MAX_ITEMS
        if isinstance(text, str | bytes | list | tuple) and isinstance(number, int) and len(text) * number > most:
            raise SecurityError("it repeats something too often")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > 4096:
        raise SecurityError("it computes with huge numbers")


class Weight(NamedTuple):
    """The size of a value; nested values count each time they appear.

    Attributes:
        characters: Of all texts.
        items: Of all lists and dicts, and the value itself.
        depth: How deep they are nested.
    """

    characters: int
    items: int
    depth: int


def weigh(value: Any, *, printed: bool = False) -> Weight:
    """The size of a value.

    Args:
        value: Any.
        printed: Whether it is about to become text: then only plain values may be in it.

    Raises:
        SecurityError: It has more text or more items than any chat, or is of a kind that is not printed.
    """
    waiting, items, size, deepest = [(value, 1)], 0, 0, 0
    while waiting:
        item, depth = waiting.pop()
        items, deepest = items + 1, max(deepest, depth)
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, dict):
            waiting.extend((part, depth + 1) for pair in item.items() for part in pair)
        elif isinstance(item, list | tuple):
            waiting.extend((part, depth + 1) for part in item)
        elif isinstance(item, int) and item.bit_length() > MAX_BITS:
            raise SecurityError("it computes with huge numbers")
        elif printed and not isinstance(item, _PRINTED):
            raise SecurityError(f"it prints a {type(item).__name__}")
        if items > MAX_ITEMS or size > MAX_TEXT or len(waiting) > 2 * MAX_ITEMS:
            raise SecurityError("it makes a value of a huge size")
    return Weight(size, items, deepest)
