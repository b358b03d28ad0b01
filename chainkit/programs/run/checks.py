"""Checks of a program before it runs: missing names, and features that its model lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chainkit.base.errors import MissingVariable, ProgramError, UnsupportedProgram, nearest
from chainkit.programs.language import walk
from chainkit.programs.language.syntax import (
    Await,
    Binary,
    Body,
    Call,
    DictOf,
    Each,
    Expression,
    Gen,
    GenEach,
    If,
    Include,
    Inner,
    Literal,
    Name,
    NamedBlock,
    Node,
    Parse,
    Role,
    Select,
    Set,
    Template,
    Text,
)
from chainkit.programs.model.forms import TYPES
from chainkit.programs.model.protocol import Abilities
from chainkit.programs.run import text_calls
from chainkit.programs.run.calling import missing, near_command, no_command
from chainkit.programs.run.scope import root_of
from chainkit.programs.run.values import FUNCTIONS

_LOOP_NAMES = frozenset({"@index", "@first", "@last", "@key", "this"})
_EVERYWHERE = frozenset({*FUNCTIONS, *text_calls.NAMES, "llm", "shell", "@prefix", "@raw_prefix"})
_DEEPEST = 20  # programs that include programs


class TemplateChecks:
    """The checks of one template, each made once: for a set of names that are given, and for what a model can do."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._named: set[frozenset[str]] = set()
        self._able: set[Abilities] = set()
        includes = any(isinstance(node, Include) for node in walk.nodes(template.body))
        self._roles = None if includes else has_roles(template, {})

    def variables(self, given: Mapping[str, Any]) -> None:
        """See `check_variables`."""
        names = frozenset(given)
        if names not in self._named:
            check_variables(self._template, given)
            self._named.add(names)

    def abilities(self, abilities: Abilities) -> None:
        """See `check_abilities`."""
        if abilities not in self._able:
            check_abilities(self._template, abilities)
            self._able.add(abilities)

    def roles(self, given: Mapping[str, Any]) -> bool:
        """See `has_roles`; included programs may be others each time."""
        return has_roles(self._template, given) if self._roles is None else self._roles


def writes(template: Template) -> bool:
    """Whether a model may be needed."""
    return any(isinstance(node, Gen | Select | GenEach | Include | Parse) for node in walk.nodes(template.body))


def has_roles(template: Template, given: Mapping[str, Any], depth: int = 0) -> bool:
    """Whether a program, or one that it includes, has messages."""
    for node in walk.nodes(template.body):
        if isinstance(node, Role):
            return True
        if isinstance(node, Include) and isinstance(node.program, Name) and depth < _DEEPEST:
            other = getattr(given.get(node.program.name), "template", None)
            if isinstance(other, Template) and other is not template and has_roles(other, given, depth + 1):
                return True
    return False


def free_names(template: Template) -> tuple[str, ...]:
    """Names that a program reads and does not set itself, in the order in which they stand."""
    own = _EVERYWHERE | assigned(template.body)
    return tuple(dict.fromkeys(name.name for name in _read(template.body, frozenset()) if name.name not in own))


def assigned(body: Body) -> frozenset[str]:
    """Names that a program may set, those that it waits for included."""
    return frozenset(root for node in walk.nodes(body) for path in _paths(node) for root in _roots(path))


def _roots(path: object) -> tuple[str, ...]:
    try:
        return (root_of(path),) if isinstance(path, str) else ()
    except ProgramError:
        return ()


def _paths(node: Node) -> Iterator[object]:
    """The variables that a node sets, as far as they are literal."""
    match node:
        case Gen():
            name = walk.literal(node.arguments, "name")
            yield from (name, walk.literal(node.arguments, "save_prompt"))
            yield walk.literal(node.arguments, "save_stop_text")
            if isinstance(name, str):
                yield from (f"{name}_{ending}" for ending in ("stop_text", "logprobs", "calls"))
        case Select():
            yield walk.literal(node.arguments, "name") or "selected"
            yield walk.literal(node.arguments, "logprobs")
        case Set():
            name = node.arguments.values["name"]
            pairs = name.items if isinstance(name, DictOf) else ((name, name),)
            yield from (key.value for key, _ in pairs if isinstance(key, Literal))
        case Await() | NamedBlock() | Parse():
            yield walk.literal(node.arguments, "name")
        case GenEach():
            yield walk.literal(node.arguments, "list_name")


def _read(body: Body, local: frozenset[str]) -> Iterator[Name]:
    for node in body:
        for expression in walk.expressions(node):
            yield from (name for name in _names(node, expression) if name.name not in local)
        inner = local
        if isinstance(node, Each | GenEach):
            item = walk.literal(node.arguments, "item_name") if isinstance(node, Each) else None
            inner = local | _LOOP_NAMES | ({item} if isinstance(item, str) else set())
        for part in walk.bodies(node):
            yield from _read(part, inner)


def _names(node: Node, expression: Expression) -> Iterator[Name]:
    a_type = isinstance(node, Gen) and node.arguments.values.get("type") is expression
    optional = isinstance(node, Include) and node.fallback is not None and node.program is expression
    for part in walk.parts(expression):
        if isinstance(part, Name) and not (a_type and part.name in TYPES) and not optional:
            yield part


def check_variables(template: Template, given: Mapping[str, Any]) -> None:
    """Refuse a run whose first steps are sure to miss a name.

    Raises:
        MissingVariable: A name is neither given nor set, and is read whatever the model writes.
    """
    if any(_sets_anything(node) for node in walk.nodes(template.body)):
        return
    known = _EVERYWHERE | assigned(template.body) | given.keys()
    for name in _unquoted(template.body):
        if name.name not in known and not nearest(name.name, given):
            reason = f"there is no variable '{name.name}'; put the name of a variable to set in quotes: '{name.name}'"
            raise MissingVariable(reason).at(template.source, name.at)
    lacking: dict[str, tuple[Name, bool]] = {}
    for expression in _certain(template.body):
        for part in _evaluated(expression):
            called = isinstance(part, Call)
            name = part.function if isinstance(part, Call) else part
            if isinstance(name, Name) and name.name not in known:
                lacking.setdefault(name.name, (name, called))
    if lacking:
        raise _missing(lacking, given).at(template.source, next(iter(lacking.values()))[0].at)


def check_commands(template: Template) -> None:
    """Refuse a program that calls what looks like a misspelt command.

    Raises:
        MissingVariable: No command has that name, and one has nearly that.
    """
    known = _EVERYWHERE | assigned(template.body)
    for node in walk.nodes(template.body):
        for expression in walk.expressions(node):
            for part in walk.parts(expression):
                if isinstance(part, Call) and isinstance(part.function, Name) and part.function.name not in known:
                    name = part.function.name
                    if near_command(name):
                        raise MissingVariable(no_command(name, ())).at(template.source, part.at)


def _unquoted(body: Body) -> Iterator[Name]:
    """Names of what commands set that are written without quotes, outside of loops, where names are many."""
    for node in body:
        if isinstance(node, Gen | Select | Set | NamedBlock | Await):
            name = node.arguments.values.get("name")
            if isinstance(name, Name) and not name.name.startswith("@"):
                yield name
        if isinstance(node, Role | NamedBlock):
            yield from _unquoted(node.body)


def _sets_anything(node: Node) -> bool:
    if isinstance(node, Include | Parse):
        return True
    return isinstance(node, Set) and not isinstance(node.arguments.values["name"], Literal | DictOf)


def _missing(lacking: Mapping[str, tuple[Name, bool]], given: Mapping[str, Any]) -> MissingVariable:
    """The error for the first of these names; for several variables, for all of them."""
    variables = sorted(str(one) for one in given)
    (name, called), *_ = lacking.values()
    plain = [one for one, (_, is_call) in lacking.items() if not is_call and not one.startswith("@")]
    if called or len(plain) < 2 or name.name not in plain:
        error = MissingVariable(no_command(name.name, variables) if called else missing(name.name, variables))
        error.names = tuple(plain[:1]) if name.name in plain else ()
        return error
    hints = {one: nearest(one, variables) for one in plain}
    named = ", ".join(f"'{one}'" + (f" (did you mean '{hint}'?)" if hint else "") for one, hint in hints.items())
    error = MissingVariable(f"{len(plain)} variables are missing: {named}")
    error.names = tuple(plain)
    return error


def _certain(body: Body) -> Iterator[Expression]:
    """Values that are needed in every case, up to where the run may wait."""
    for node in body:
        match node:
            case Await():
                return
            case If():
                yield node.branches[0][0]
            case Gen():
                yield from (value for name, value in node.arguments.values.items() if not _type_name(name, value))
                yield from node.arguments.extra.values()
            case Role() | NamedBlock():
                yield from walk.expressions(node)
                yield from _certain(node.body)
                if any(isinstance(inner, Await) for inner in walk.nodes(node.body)):
                    return
            case _:
                yield from walk.expressions(node)
        if any(isinstance(inner, Await) for inner in walk.nodes((node,))):
            return


def _type_name(name: str, value: Expression) -> bool:
    return name == "type" and isinstance(value, Name) and value.name in TYPES


def _evaluated(expression: Expression) -> Iterator[Expression]:
    if isinstance(expression, Inner):
        return
    yield expression
    if isinstance(expression, Binary) and expression.operator in ("and", "or"):
        yield from _evaluated(expression.left)
        return
    for part in walk.inside(expression):
        if not (isinstance(expression, Call) and part is expression.function):
            yield from _evaluated(part)


def check_abilities(template: Template, abilities: Abilities) -> None:
    """Refuse a program that a model cannot run, before anything is sent.

    Raises:
        UnsupportedProgram: The message says what the model cannot do, and where.
    """
    check = _Check(template, abilities)
    for node in walk.nodes(template.body):
        check.alone(node)
    if abilities.roles != "text":
        check.roles()


class _Check:
    def __init__(self, template: Template, abilities: Abilities) -> None:
        self._template, self._can = template, abilities

    def _fault(self, reason: str, at: int) -> UnsupportedProgram:
        return UnsupportedProgram(f"{self._can.name} {reason}", self._template.source, at)

    def alone(self, node: Node) -> None:
        """Check the requirements of a command, independent of its position."""
        if isinstance(node, Gen):
            if "grammar" in node.arguments.values and not self._can.grammars:
                raise self._fault("cannot be held to a grammar; use schema= or pattern=, or a local model", node.at)
            if walk.literal(node.arguments, "logprobs") not in (None, False) and not self._can.logprobs:
                raise self._fault("does not tell log-probabilities", node.at)
        if isinstance(node, Select) and not self._can.scores:
            if "logprobs" in node.arguments.values:
                raise self._fault("cannot tell how likely options are; leave logprobs= away", node.at)
            if walk.literal(node.arguments, "method") not in (None, "greedy"):
                raise self._fault("cannot compare options by score; leave method= away", node.at)

    def roles(self) -> None:
        """On a chat model, all text must be inside messages."""
        if not any(isinstance(node, Role) for node in walk.nodes(self._template.body)):
            writes = next((node for node in walk.nodes(self._template.body) if isinstance(node, Gen | Select)), None)
            includes = any(isinstance(node, Include | Parse) for node in walk.nodes(self._template.body))
            if writes is not None and self._can.roles == "messages" and not includes:
                raise self._fault(
                    "takes messages and cannot continue a text; put the text into {{#user}}...{{/user}} and this "
                    "into {{#assistant}}...{{/assistant}}",
                    writes.at,
                )
            return
        self._outside(self._template.body)

    def _outside(self, body: Body) -> None:
        for node in body:
            match node:
                case Role():
                    self._message(node)
                case Text() if node.text.strip():
                    start = node.at + len(node.text) - len(node.text.lstrip())
                    raise self._fault("takes messages, and this text is outside of every role", start)
                case Gen() | Select():
                    raise self._fault(
                        f"takes messages, and this {_word(node)} is outside of every role; put it into "
                        "{{#assistant}}...{{/assistant}}",
                        node.at,
                    )
                case GenEach():
                    self._loop(node)
                    self._outside(node.body)
                case _:
                    for inner in walk.bodies(node):
                        self._outside(inner)

    def _loop(self, node: GenEach) -> None:
        counted = "num_iterations" in node.arguments.values or walk.literal(node.arguments, "stop") is False
        if not counted:
            raise self._fault(
                "takes messages, and cannot be asked whether a list of them ends; give num_iterations=, or "
                "stop=False and a {{break}}",
                node.at,
            )

    def _message(self, node: Role) -> None:
        role = node.role or walk.literal(node.arguments, "role_name")
        if role == "assistant" or role is None:
            if not self._can.continues:
                self._assistant(node.body, begun=False)
            return
        if self._can.roles == "either":  # a local model can play anybody
            return
        for inner in walk.nodes(node.body):
            if isinstance(inner, Gen | Select | GenEach):
                raise self._fault(
                    f"writes messages of the assistant, and this one is of '{role}'; let it write as the assistant "
                    "with the roles turned round, or take a local model",
                    inner.at,
                )

    def _assistant(self, body: Body, *, begun: bool) -> bool:
        """Whether the message has begun after these nodes; if it has before a slot, it cannot be continued."""
        for node in body:
            match node:
                case Text():
                    begun = begun or bool(node.text.strip())
                case Gen() | Select():
                    begun = self._slot(node, begun)
                case GenEach() if walk.literal(node.arguments, "single_call") is not True:
                    raise self._fault("cannot write a list piece by piece; write single_call=True", node.at)
                case GenEach():
                    begun = self._slot(node, begun)
                case Each():
                    begun = self._assistant(node.body, begun=self._assistant(node.body, begun=begun))
                case NamedBlock() if walk.literal(node.arguments, "hidden") is True:
                    self._assistant(node.body, begun=begun)
                case If() | NamedBlock() | Include():
                    begun = max([begun, *(self._assistant(inner, begun=begun) for inner in walk.bodies(node))])
                case _:
                    pass
        return begun

    def _slot(self, node: Gen | Select | GenEach, begun: bool) -> bool:
        if begun:
            raise self._fault(
                f"cannot go on inside a message that has begun, so this {_word(node)} must be the first thing in its "
                "{{#assistant}}",
                node.at,
            )
        return walk.literal(node.arguments, "hidden") is not True


def _word(node: Gen | Select | GenEach) -> str:
    return {Gen: "gen", Select: "select", GenEach: "geneach"}[type(node)]
