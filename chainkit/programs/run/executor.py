"""Runs the tree of a program, one short method per node. It never computes: see `chainkit.programs.run.steps`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from chainkit.base.errors import ProgramError
from chainkit.programs.language.syntax import (
    Arguments,
    Await,
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
    Inner,
    NamedBlock,
    Node,
    Parse,
    Role,
    Select,
    Set,
    Show,
    Text,
)
from chainkit.programs.model.record import (
    ROLE_BEGIN,
    ROLE_END,
    RoleBegun,
    RoleDone,
    VariableSet,
)
from chainkit.programs.run import calling, choices, loops, slots
from chainkit.programs.run.line import ExecutionLine
from chainkit.programs.run.shared import Leave, Skip
from chainkit.programs.run.steps import Steps
from chainkit.programs.run.values import shown, truth


class Executor(ExecutionLine):
    """Runs nodes in one line of execution, one short method per kind of node."""

    def run(self, body: Body, following: str = "") -> Steps:
        """Execute nodes; `following` is the literal text after them."""
        for number, node in enumerate(body):
            after = body[number + 1] if number + 1 < len(body) else None
            ahead = following if after is None else after.text if isinstance(after, Text) else ""
            try:
                yield from self._node(node, ahead)
            except (Leave, Skip):
                raise
            except ProgramError as error:
                error.at(self.source, _place(node, error.reason))
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
            case NamedBlock():
                yield from self._block(node, following)
            case _:
                assert_never(node)

    def value(self, expression: Expression) -> Steps:
        """The value of an expression."""
        return calling.value(self, expression)

    def command(self, node: Inner) -> Steps:
        """The value of a command inside another; its text is read by the model and then removed from its context."""
        match node.command:
            case Await():
                return (yield from self.awaited(node.command))
            case Gen() | Select() | Parse() as command:
                inner, mark, tail = self.inside(), self.context.mark(), self.record.tail
                inner.hidden += 1
                try:
                    if isinstance(command, Gen):
                        return (yield from slots.gen(inner, command, ""))
                    if isinstance(command, Select):
                        return (yield from choices.select(inner, command, ""))
                    return (yield from inner.parsed(command, ""))
                finally:
                    self.context.rewind(mark)
                    self.record.tail = tail

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

    def _if(self, node: If, following: str) -> Steps:
        invert = node.invert is not None and truth((yield from self.value(node.invert)))
        for number, (condition, body) in enumerate(node.branches):
            holds = truth((yield from self.value(condition)))
            if holds != (invert and number == 0):
                yield from self.inside().run(body, following)
                return
        yield from self.inside().run(node.otherwise, following)

    def _block(self, node: NamedBlock, following: str) -> Steps:
        name = yield from self.text(node.arguments, "name")
        hidden = yield from self.flag(node.arguments, "hidden", False)
        result = yield from self.covered(node.body, following, hidden)
        if name:
            self.scope.assign(name, result)
            yield VariableSet(name, result)

    def _role(self, node: Role) -> Steps:
        role = node.role or (yield from self.text(node.arguments, "role_name"))
        if self.role is not None:
            raise ProgramError(f"{role} is inside {self.role}; messages cannot be nested")
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
        marks = "".join(f' {name}="{value}"' for name, value in attributes.items())
        yield from self.add(f"{ROLE_BEGIN}{role}{marks}\n", "role", role)
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


def _place(node: Node, reason: str) -> int:
    """Position of the first value that an error names, or of the tag."""
    arguments = getattr(node, "arguments", Arguments())
    word = reason.partition(" ")[0]
    return arguments.values[word].at if word in arguments.values else node.at
