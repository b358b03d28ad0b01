"""Going through the tree of a program without running it."""

from __future__ import annotations

from collections.abc import Iterator

from chainkit.programs.language.syntax import (
    Arguments,
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
    Item,
    ListOf,
    Literal,
    NamedBlock,
    Node,
    Parse,
    Role,
    Select,
    Set,
    Show,
    Unary,
)


def nodes(body: Body) -> Iterator[Node]:
    """All nodes, those inside blocks and inside other commands included."""
    for node in body:
        yield node
        for expression in expressions(node):
            for part in parts(expression):
                if isinstance(part, Inner):
                    yield part.command
        for inner in bodies(node):
            yield from nodes(inner)


def bodies(node: Node) -> tuple[Body, ...]:
    """The bodies inside a block."""
    match node:
        case If():
            return (*(body for _, body in node.branches), node.otherwise)
        case Each():
            return node.body, node.otherwise
        case GenEach() | Role() | NamedBlock():
            return (node.body,)
        case Select():
            return node.options
        case Include() if node.fallback is not None:
            return (node.fallback,)
    return ()


def expressions(node: Node) -> Iterator[Expression]:
    """The values that a node's own tags name, without those of its body."""
    match node:
        case Show():
            yield node.value
        case If():
            for condition, _ in node.branches:
                yield condition
            if node.invert is not None:
                yield node.invert
        case Include():
            yield node.program
            yield from _of(node.arguments)
        case Gen() | Select() | Set() | Await() | Parse() | Each() | GenEach() | Role() | NamedBlock():
            yield from _of(node.arguments)


def parts(expression: Expression) -> Iterator[Expression]:
    """An expression and all that it is made of."""
    yield expression
    for part in inside(expression):
        yield from parts(part)


def inside(expression: Expression) -> tuple[Expression, ...]:
    """The direct parts of an expression."""
    match expression:
        case Item():
            return expression.of, expression.key
        case Call():
            return expression.function, *expression.positional, *expression.named.values()
        case Unary():
            return (expression.value,)
        case Binary():
            return expression.left, expression.right
        case ListOf():
            return expression.items
        case DictOf():
            return tuple(part for pair in expression.items for part in pair)
        case Inner():
            return tuple(_of(expression.command.arguments))
    return ()


def _of(arguments: Arguments) -> Iterator[Expression]:
    yield from arguments.values.values()
    yield from arguments.extra.values()
    yield from arguments.rest


def literal(arguments: Arguments, name: str) -> object:
    """The value of a parameter that is written out, or None."""
    value = arguments.values.get(name)
    return value.value if isinstance(value, Literal) else None
