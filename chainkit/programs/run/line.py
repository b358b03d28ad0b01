"""One line of execution of a run: the model's context, the visible names and the text written so far."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Self

from chainkit.base.errors import LimitReached, ProgramError
from chainkit.programs.language.parser import parse
from chainkit.programs.language.syntax import Arguments, Await, Body, Expression, Inner, Parse
from chainkit.programs.model.protocol import Context
from chainkit.programs.model.record import Source, Span, TextAdded, VariableSet
from chainkit.programs.run.scope import Branch, Scope
from chainkit.programs.run.shared import RunRecord, Shared
from chainkit.programs.run.steps import Steps, Wait
from chainkit.programs.run.values import truth

_TAIL = 400  # characters before a slot that may open a quote or a tag


class ExecutionLine(ABC):
    """One line of execution: a context that grows, the names it sees, and the text it has written.

    Attributes:
        context: What the model has before it.
        scope: The variables.
        record: What was written.
        role: The open role.
    """

    def __init__(self, shared: Shared, context: Context, scope: Scope, source: str) -> None:
        self.shared, self.context, self.scope, self.source = shared, context, scope, source
        self.record = RunRecord()
        self.hidden = 0
        self.depth = 0
        self.role: str | None = None
        self.path: tuple[int, ...] = ()
        self._seeds = [0]

    @abstractmethod
    def run(self, body: Body, following: str = "") -> Steps:
        """Go through nodes; `following` is the literal text after them."""

    @abstractmethod
    def value(self, expression: Expression) -> Steps:
        """The value of an expression."""

    @abstractmethod
    def command(self, node: Inner) -> Steps:
        """The value of a command inside another; its text is read by the model and then removed from its context."""

    def write(self, text: str, source: Source, name: str = "") -> Steps:
        """Append text to the model's context and report it."""
        if text:
            self.context.append(text)
            yield from self.add(text, source, name)

    def add(self, text: str, source: Source, name: str = "", alternatives: Iterable[str] = ()) -> Steps:
        """RunRecord text that the context has already."""
        if event := self.note(text, source, name, tuple(alternatives)):
            yield event

    def note(self, text: str, source: Source, name: str = "", alternatives: tuple[str, ...] = ()) -> TextAdded | None:
        """As `add`, for those who tell of it themselves."""
        if not text and not alternatives:
            return None
        self.shared.characters += len(text)
        if self.shared.characters > self.shared.limits.characters:
            raise LimitReached(f"the text of this run is longer than {self.shared.limits.characters} characters")
        record, hidden = self.record, bool(self.hidden)
        record.spans.append(Span(text, source, name, hidden, alternatives=alternatives))
        if source != "role":
            record.tail = (record.tail + text)[-_TAIL:]
        return TextAdded(text, source, name, hidden)

    def inside(self, **names: Any) -> Self:
        """This line of execution with names that hide others, one level deeper.

        Raises:
            LimitReached: It is too deep.
        """
        inner = copy.copy(self)
        inner.scope = self.scope.within(names) if names else self.scope
        inner.depth += 1
        if inner.depth > self.shared.limits.depth:
            raise LimitReached(
                f"blocks, included programs and parsed texts are nested more than {self.shared.limits.depth} deep"
            )
        return inner

    def branch(self, number: int) -> Self:
        """A separate line of execution that starts here; `join` merges its result."""
        inner = self.inside()
        inner.scope, inner.context = self.scope.branch(), self.context.fork()
        inner.record = RunRecord(tail=self.record.tail, beside=True)
        inner.path, inner._seeds = (*self.path, number), [0]
        return inner

    def join(self, branch: ExecutionLine, *, hidden: bool) -> Steps:
        """Take over the text and the variables of a branch; the model reads the text unless it is hidden."""
        assert isinstance(branch.scope, Branch)
        self.scope.merge(branch.scope)
        outer = self.hidden
        for span in branch.record.spans:
            if span.source == "role" and not hidden:
                raise ProgramError("rounds that run at the same time cannot add messages; write hidden=True as well")
            concealed = hidden or span.hidden
            self.hidden = outer + concealed
            try:
                if not concealed:
                    self.context.append(span.text)
                yield from self.add(span.text, span.source, span.name, span.alternatives)
            finally:
                self.hidden = outer

    def covered(self, body: Body, following: str, hidden: bool) -> Steps:
        """Run nodes and return their text; if hidden, remove it from the model's context afterwards."""
        inner, start = self.inside(), len(self.record.spans)
        if not hidden:
            yield from inner.run(body, following)
            return self.text_since(start)
        mark, tail = self.context.mark(), self.record.tail
        inner.hidden += 1
        try:
            yield from inner.run(body, following)
        finally:
            self.context.rewind(mark)
            self.record.tail = tail
        return self.text_since(start)

    def text_since(self, start: int) -> str:
        """The text of the spans from `start` on, without role markers."""
        return "".join(span.text for span in self.record.spans[start:] if span.source != "role")

    def next_seed(self, given: int | None, row: int = 0) -> int | None:
        """The seed of the next slot, or of one of its rows."""
        self._seeds[0] += 1
        if given is not None:
            return given if row == 0 else _mixed(given, row)
        if self.shared.seed is None:
            return None
        return _mixed(self.shared.seed, *self.path, self._seeds[0], row)

    def named(self, arguments: Arguments, name: str, default: Any = None) -> Steps:
        """The value of a parameter."""
        if name not in arguments.values:
            return default
        return (yield from self.value(arguments.values[name]))

    def text(self, arguments: Arguments, name: str, default: str | None = None) -> Steps:
        """The value of a parameter that is a text."""
        result = yield from self.named(arguments, name, default)
        if result is not None and not isinstance(result, str):
            raise ProgramError(f"{name.replace('_', ' ')} must be a text, not {_shown(result)}").at(
                self.source, arguments.values[name].at
            )
        return result

    def flag(self, arguments: Arguments, name: str, default: bool) -> Steps:
        """The value of a parameter that is true or false."""
        return truth((yield from self.named(arguments, name, default)))

    def count(self, arguments: Arguments, name: str, default: int | None, least: int = 0) -> Steps:
        """The value of a parameter that is a whole number."""
        result = yield from self.named(arguments, name, default)
        if result is None:
            return default
        if isinstance(result, bool) or not isinstance(result, int) or result < least:
            raise ProgramError(f"{name} must be a whole number of at least {least}, not {_shown(result)}").at(
                self.source, arguments.values[name].at
            )
        return result

    def number(self, arguments: Arguments, name: str, default: float) -> Steps:
        """The value of a parameter that is a number."""
        result = yield from self.named(arguments, name, default)
        if result is None:
            return default
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise ProgramError(f"{name} must be a number, not {_shown(result)}").at(
                self.source, arguments.values[name].at
            )
        return float(result)

    def awaited(self, node: Await) -> Steps:
        """The value of a variable, as soon as there is one; it is used up then."""
        name = yield from self.text(node.arguments, "name")
        while name not in self.scope.variables:
            if self.record.beside:
                self.scope.take(name)  # says that it cannot wait here
            given = yield Wait(name)
            self.scope.variables.update(given)
        consume = yield from self.named(node.arguments, "consume", True)
        return self.scope.take(name) if consume else self.scope[name]

    def parsed(self, node: Parse, following: str) -> Steps:
        """Run a text as a program; returns its text."""
        text = yield from self.text(node.arguments, "string")
        if text is None:
            raise ProgramError("parse needs the text of a program, got None")
        name = yield from self.text(node.arguments, "name")
        hidden = yield from self.flag(node.arguments, "hidden", False)
        template = parse(text)
        inner = self.inside()
        inner.source = template.source
        result = yield from inner.covered(template.body, following, hidden)
        if name:
            self.scope.assign(name, result)
            yield VariableSet(name, result)
        return result


def _mixed(*numbers: int) -> int:
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") & 0x7FFFFFFF  # services take no larger seeds


def _shown(value: Any) -> str:
    return repr(value)[:60]
