"""The tree of a program. Nodes have no behaviour; `at` is where they begin in the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, number, True, False or None."""

    value: Any
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or a special one like `@index`."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Item:
    """`of[key]` and `of.key`."""

    of: Expression
    key: Expression
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """`{{f a b k=c}}` and `f(a, b, k=c)`."""

    function: Expression
    positional: tuple[Expression, ...]
    named: Mapping[str, Expression]
    at: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`not a` and `-a`."""

    operator: str
    value: Expression
    at: int


@dataclass(frozen=True, slots=True)
class Binary:
    """Two values and the operator between them."""

    operator: str
    left: Expression
    right: Expression
    at: int


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`."""

    items: tuple[Expression, ...]
    at: int


@dataclass(frozen=True, slots=True)
class DictOf:
    """`{'a': b}`."""

    items: tuple[tuple[Expression, Expression], ...]
    at: int


@dataclass(frozen=True, slots=True)
class Inner:
    """A command whose value another one takes: `{{set 'a' (await 'b')}}`."""

    command: Gen | Select | Await | Parse
    at: int


Expression: TypeAlias = Literal | Name | Item | Call | Unary | Binary | ListOf | DictOf | Inner


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments after the name of a command.

    Attributes:
        values: By the names of the command's parameters; those not written are missing.
        extra: Named ones that the command passes through.
        rest: Unnamed ones that a command with any number of them takes.
    """

    values: Mapping[str, Expression] = field(default_factory=dict[str, Any])
    extra: Mapping[str, Expression] = field(default_factory=dict[str, Any])
    rest: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Show:
    """`{{value}}`: its text is read by the model."""

    value: Expression
    at: int


@dataclass(frozen=True, slots=True)
class Gen:
    """`{{gen 'name' ...}}`: the model writes."""

    arguments: Arguments
    at: int


@dataclass(frozen=True, slots=True)
class Select:
    """`{{select 'name' options=...}}` and `{{#select 'name'}}a{{or}}b{{/select}}`: the model chooses."""

    arguments: Arguments
    options: tuple[Body, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Set:
    """`{{set 'name' value}}`."""

    arguments: Arguments
    at: int


@dataclass(frozen=True, slots=True)
class Await:
    """`{{await 'name'}}`: the run pauses until the variable is given."""

    arguments: Arguments
    at: int


@dataclass(frozen=True, slots=True)
class Parse:
    """`{{parse text}}`: a text is run as a program."""

    arguments: Arguments
    at: int


@dataclass(frozen=True, slots=True)
class Include:
    """`{{>other}}`; the body of `{{#>other}}...{{/other}}` is used if there is no such program."""

    program: Expression
    arguments: Arguments
    fallback: Body | None
    at: int


@dataclass(frozen=True, slots=True)
class Break:
    """`{{break}}`: the loop ends."""

    at: int


@dataclass(frozen=True, slots=True)
class Continue:
    """`{{continue}}`: the next round begins."""

    at: int


@dataclass(frozen=True, slots=True)
class If:
    """`{{#if a}}...{{elif b}}...{{else}}...{{/if}}`; `unless` is an `if` with `invert`."""

    branches: tuple[tuple[Expression, Body], ...]
    otherwise: Body
    invert: Expression | None
    at: int


@dataclass(frozen=True, slots=True)
class Each:
    """`{{#each list}}...{{else}}...{{/each}}`."""

    arguments: Arguments
    body: Body
    otherwise: Body
    at: int


@dataclass(frozen=True, slots=True)
class GenEach:
    """`{{#geneach 'list'}}...{{/geneach}}`: the model writes a list, item by item."""

    arguments: Arguments
    body: Body
    at: int


@dataclass(frozen=True, slots=True)
class Role:
    """`{{#user}}...{{/user}}`; `role` is None in `{{#role name}}`, where the arguments have it."""

    role: str | None
    arguments: Arguments
    body: Body
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class NamedBlock:
    """`{{#block 'name' hidden=True}}...{{/block}}`."""

    arguments: Arguments
    body: Body
    at: int


Node: TypeAlias = (
    Text
    | Show
    | Gen
    | Select
    | Set
    | Await
    | Parse
    | Include
    | Break
    | Continue
    | If
    | Each
    | GenEach
    | Role
    | NamedBlock
)
Body: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A whole program.

    Attributes:
        source: Its text.
        body: What it does.
    """

    source: str
    body: Body
