"""Runs the tree of a program, one short method per node. It never computes: see `chainkit.programs.run.steps`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from chainkit.base.errors import LimitReached, ProgramError
from chainkit.programs.language.syntax import (
    Arguments,
    Await,
    Block,
    Body,
    Break,
    Continue,
    DictOf,
    Each,
    Expression,
    Gen,
    GenEach,
    If,
    Include,
    Node,
    Parse,
    Role,
    Select,
    Set,
    Show,
    Text,
)
from chainkit.programs.model.protocol import Context
from chainkit.programs.model.record import (
    ROLE_BEGIN,
    ROLE_END,
    RoleBegun,
    RoleDone,
    Source,
    Span,
    TextAdded,
    VariableSet,
)
from chainkit.programs.run import calling, choices, loops, slots
from chainkit.programs.run.scope import Branch, Scope
from chainkit.programs.run.shared import Leave, Record, Shared, Skip
from chainkit.programs.run.steps import Steps, Wait
from chainkit.programs.run.values import shown, truth

_TAIL = 400  # characters before a slot that may open a quote or a tag


class Executor:
    """One line of execution: a context that grows, the names it sees, and the text it has written.

    Attributes:
        context: What the model has before it.
        scope: The variables.
        record: What was written.
        role: The role that is open.
    """

    def __init__(self, shared: Shared, context: Context, scope: Scope, source: str) -> None:
        self.shared, self.context, self.scope, self.source = shared, context, scope, source
        self.record = Record()
        self.hidden = 0
        self.depth = 0
        self.role: str | None = None
        self.path: tuple[int, ...] = ()
        self._seeds = [0]

    def run(self, body: Body, following: str = "") -> Steps:
        """Go through nodes; `following` is the literal text behind them."""
        for number, node in enumerate(body):
            after = body[number + 1] if number + 1 < len(body) else None
            ahead = following if after is None else after.text if isinstance(after, Text) else ""
            try:
                yield from self._node(node, ahead)
            except (Leave, Skip):
                raise
            except ProgramError as error:
                error.at(self.source, node.at)
                raise
            except Exception as error:
                if not getattr(error, "__notes__", None):  # the innermost node says where
                    place = ProgramError("", self.source, node.at)
                    error.add_note(f"in the program, line {place.line}, column {place.column}: {place.source_line}")
                raise

    def _node(self, node: Node, following: str) -> Steps:  # noqa: C901 - one case per node
        match node:
            case Text(text):
                yield from self.write(text, "template")
            case Show():
                yield from self._show(node)
            case Gen():
                yield from slots.gen(self, node, following)
            case Select():
                yield from choices.select(self, node, following)
            case Set():
                yield from self._set(node)
            case Await():
                yield from self.write(shown((yield from self.awaited(node))), "variable")
            case Parse():
                yield from self.parsed(node, following)
            case Include():
                yield from calling.include(self, node, following)
            case Break():
                raise Leave
            case Continue():
                raise Skip
            case If():
                yield from self._if(node, following)
            case Each():
                yield from loops.each(self, node)
            case GenEach():
                yield from loops.gen_each(self, node, following)
            case Role():
                yield from self._role(node)
            case Block():
                yield from self._block(node, following)
            case _:
                assert_never(node)

    def write(self, text: str, source: Source, name: str = "") -> Steps:
        """Put text behind what the model has read, and tell of it."""
        if text:
            self.context.append(text)
            yield from self.add(text, source, name)

    def add(self, text: str, source: Source, name: str = "", alternatives: Iterable[str] = ()) -> Steps:
        """Record text that the context has already."""
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

    def inside(self, **names: Any) -> Executor:
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

    def branch(self, number: int) -> Executor:
        """A line of execution of its own that begins here; `join` takes over what came of it."""
        inner = self.inside()
        inner.scope, inner.context = self.scope.branch(), self.context.fork()
        inner.record = Record(tail=self.record.tail, beside=True)
        inner.path, inner._seeds = (*self.path, number), [0]
        return inner

    def join(self, branch: Executor, *, hidden: bool) -> Steps:
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
        """Run nodes; hidden ones are forgotten by the model behind the last of them. Gives the text."""
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
        """What was written since there were `start` spans, without the marks of roles."""
        return "".join(span.text for span in self.record.spans[start:] if span.source != "role")

    def next_seed(self, given: int | None, row: int = 0) -> int | None:
        """The seed of the next slot, or of one of its rows."""
        self._seeds[0] += 1
        if given is not None:
            return given if row == 0 else _mixed(given, row)
        if self.shared.seed is None:
            return None
        return _mixed(self.shared.seed, *self.path, self._seeds[0], row)

    def value(self, expression: Expression) -> Steps:
        """What an expression stands for."""
        return calling.value(self, expression)

    def named(self, arguments: Arguments, name: str, default: Any = None) -> Steps:
        """The value of a parameter."""
        if name not in arguments.values:
            return default
        return (yield from self.value(arguments.values[name]))

    def text(self, arguments: Arguments, name: str, default: str | None = None) -> Steps:
        """The value of a parameter that is a text."""
        result = yield from self.named(arguments, name, default)
        if result is not None and not isinstance(result, str):
            raise ProgramError(f"{name.replace('_', ' ')} must be a text, not {_told(result)}").at(
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
            raise ProgramError(f"{name} must be a whole number of at least {least}, not {_told(result)}").at(
                self.source, arguments.values[name].at
            )
        return result

    def number(self, arguments: Arguments, name: str, default: float) -> Steps:
        """The value of a parameter that is a number."""
        result = yield from self.named(arguments, name, default)
        if result is None:
            return default
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise ProgramError(f"{name} must be a number, not {_told(result)}").at(
                self.source, arguments.values[name].at
            )
        return float(result)

    def _show(self, node: Show) -> Steps:
        result = yield from self.value(node.value)
        if callable(result):
            result = yield from calling.called(self, node.value, result, (), {})
        yield from self.write(shown(result), "variable")

    def _set(self, node: Set) -> Steps:
        name = node.arguments.values["name"]
        hidden = yield from self.flag(node.arguments, "hidden", True)
        pairs: dict[str, Any]
        target = yield from self.value(name)
        if isinstance(target, Mapping):
            if "value" in node.arguments.values:
                raise ProgramError("set takes a dict of names and values, or a name and a value")
            pairs = {str(key): value for key, value in target.items()}
        elif isinstance(target, str):
            if "value" not in node.arguments.values:
                raise ProgramError("set needs a value: {{set 'name' value}}")
            pairs = {target: (yield from self.named(node.arguments, "value"))}
        else:
            example = "{{set {'name': value}}}" if isinstance(name, DictOf) else "{{set 'name' value}}"
            raise ProgramError(f"set needs a name in quotes: {example}")
        for path, value in pairs.items():
            self.scope.assign(path, value)
            yield VariableSet(path, value)
            if not hidden:
                yield from self.write(shown(value), "variable", path)

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
        """Run a text as a program; gives what it wrote."""
        from chainkit.programs.language.parser import parse

        text = yield from self.text(node.arguments, "string")
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

    def _if(self, node: If, following: str) -> Steps:
        invert = node.invert is not None and truth((yield from self.value(node.invert)))
        for number, (condition, body) in enumerate(node.branches):
            holds = truth((yield from self.value(condition)))
            if holds != (invert and number == 0):
                yield from self.inside().run(body, following)
                return
        yield from self.inside().run(node.otherwise, following)

    def _block(self, node: Block, following: str) -> Steps:
        name = yield from self.text(node.arguments, "name")
        hidden = yield from self.flag(node.arguments, "hidden", False)
        result = yield from self.covered(node.body, following, hidden)
        if name:
            self.scope.assign(name, result)
            yield VariableSet(name, result)

    def _role(self, node: Role) -> Steps:
        role = node.role or (yield from self.text(node.arguments, "role_name"))
        if self.role is not None:
            raise ProgramError(f"{role} stands inside {self.role}; a message cannot hold another one")
        hidden = yield from self.flag(node.arguments, "hidden", False)
        attributes: dict[str, str] = {}
        for name, expression in node.arguments.extra.items():
            attributes[name] = shown((yield from self.value(expression)))
        mark, tail = self.context.mark(), self.record.tail
        inner = self.inside()
        inner.role, inner.hidden = role, self.hidden + hidden
        try:
            yield from inner._message(role, attributes, node)
        finally:
            if hidden:
                self.context.rewind(mark)
                self.record.tail = tail

    def _message(self, role: str, attributes: Mapping[str, str], node: Role) -> Steps:
        start = len(self.record.spans)
        self.context.open(role, attributes)
        self.record.tail = ""
        told = "".join(f' {name}="{value}"' for name, value in attributes.items())
        yield from self.add(f"{ROLE_BEGIN}{role}{told}\n", "role", role)
        yield RoleBegun(role)
        try:
            yield from self.run(node.body)
        except (Leave, Skip):
            yield from self._message_end(role, start)
            raise
        yield from self._message_end(role, start)

    def _message_end(self, role: str, start: int) -> Steps:
        self.context.close()
        text = self.text_since(start)
        yield from self.add(ROLE_END, "role", role)
        yield RoleDone(role, text)


def _mixed(*numbers: int) -> int:
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") & 0x7FFFFFFF  # services take no larger seeds


def _told(value: Any) -> str:
    return repr(value)[:60]
