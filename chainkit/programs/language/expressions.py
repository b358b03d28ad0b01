"""The insides of a tag as a tree: values, operators, and calls with or without parentheses."""

from __future__ import annotations

from collections.abc import Sequence

from chainkit.base.errors import ProgramSyntaxError, nearest
from chainkit.programs.language.commands import COMMANDS, CONSTANTS, VALUES, Signature
from chainkit.programs.language.lexer import Lexeme
from chainkit.programs.language.syntax import (
    Arguments,
    Await,
    Binary,
    Call,
    DictOf,
    Expression,
    Gen,
    Inner,
    Item,
    ListOf,
    Literal,
    Name,
    Parse,
    Select,
    Unary,
)

_DEEPEST = 60  # brackets and operators inside one another
_LOOSEST_FIRST = (
    ("or",),
    ("and",),
    ("==", "!=", "<", ">", "<=", ">=", "in", "not in", "is", "is not"),
    ("+", "-"),
    ("*", "/", "%"),
)
_WORDS = frozenset({"and", "or", "not", "in", "is", "if", "else"})


class Expressions:
    """Reads the tokens of one tag from left to right.

    Args:
        source: The whole program, for errors.
        tokens: Tokens inside the tag; the last one is of kind "end".
    """

    def __init__(self, source: str, tokens: Sequence[Lexeme]) -> None:
        self.source, self.tokens = source, tokens
        self.position = 0
        self._depth = 0
        self._names: dict[str, int] = {}  # where parameters are named

    @property
    def next(self) -> Lexeme:
        """The token that comes."""
        return self.tokens[self.position]

    def take(self) -> Lexeme:
        """Return the next token and advance."""
        token = self.next
        if token.kind != "end":
            self.position += 1
        return token

    def fault(self, reason: str, token: Lexeme | None = None) -> ProgramSyntaxError:
        """An error at a token, or at the next one."""
        return ProgramSyntaxError(reason, self.source, (token or self.next).at)

    def whole(self) -> Expression:
        """All of a tag: `a`, `a + b`, `f a b`.

        Raises:
            ProgramSyntaxError: There is nothing, or more than one value.
        """
        value = self.value()
        if self.next.kind != "end":
            raise self.fault(f"{self._shown(self.next)} is one too many here")
        return value

    def value(self) -> Expression:
        """A call in either form, or a value with operators."""
        with self._deeper():
            first = self.next
            if first.kind == "name" and first.value in VALUES and not self.is_value(1):
                self.take()
                return Inner(self._command(first), first.at)
            value = self._operators(0, spaced=True)
            if isinstance(value, Name | Item) and self._begins_argument():
                positional, named = self._spaced_arguments()
                return Call(value, positional, named, value.at)
            return value

    def arguments(self, command: str, signature: Signature, *, parenthesised: bool | None = None) -> Arguments:
        """Arguments after the name of a command, up to the end of the tag or the closing parenthesis."""
        if parenthesised is None:
            parenthesised = self._at("(") and not self.next.spaced
        start = self.next
        if parenthesised:
            self.take()
            positional, named = self._listed_arguments()
        else:
            positional, named = self._spaced_arguments()
        return self._matched(command, signature, positional, named, start)

    def path(self) -> Expression:
        """A value with its members, and no operators around it."""
        return self._postfixed()

    def is_value(self, ahead: int) -> bool:
        """Whether a command's name is used as a variable here, as in `{{gen.x}}` or `{{select == 1}}`."""
        follows = self.tokens[min(self.position + ahead, len(self.tokens) - 1)]
        if follows.kind == "operator":
            starts = follows.value in ("[", "{", "(") and (follows.spaced or follows.value == "(")
            return not (starts or follows.value == "-")
        return follows.kind == "name" and follows.value in _WORDS

    def _command(self, name: Lexeme) -> Gen | Select | Await | Parse:
        arguments = self.arguments(name.value, COMMANDS[name.value])
        match name.value:
            case "gen":
                return Gen(arguments, name.at)
            case "select":
                return Select(arguments, (), name.at)
            case "await":
                return Await(arguments, name.at)
            case _:
                return Parse(arguments, name.at)

    def _matched(
        self,
        command: str,
        signature: Signature,
        positional: Sequence[Expression],
        named: dict[str, Expression],
        start: Lexeme,
    ) -> Arguments:
        if len(positional) > len(signature.parameters) and not signature.rest:
            most = len(signature.parameters)
            takes = f"{most} values without a name" if most else "nothing"
            place = positional[most].at
            raise ProgramSyntaxError(f"{command} takes {takes}, not {len(positional)}", self.source, place)
        values = {} if signature.rest else dict(zip(signature.parameters, positional, strict=False))
        extra: dict[str, Expression] = {}
        for written, value in named.items():
            name = (signature.aliases or {}).get(written, written)
            if name in values:
                raise ProgramSyntaxError(f"{command} is given {name} twice", self.source, value.at)
            if name in signature.parameters:
                values[name] = value
            else:
                self._check_extra(command, signature, written)
                extra[name] = value
        for name in signature.required:
            if name not in values:
                raise self.fault(f"{command} needs {name.replace('_', ' ')}", start)
        return Arguments(values, extra, tuple(positional) if signature.rest else ())

    def _check_extra(self, command: str, signature: Signature, name: str) -> None:
        hint = nearest(name, signature.parameters)
        if signature.passes and not (hint and command == "gen"):
            return
        known = ", ".join(signature.parameters)
        advice = f"did you mean '{hint}'?" if hint else f"it takes: {known}" if known else "it takes nothing"
        raise ProgramSyntaxError(f"{command} has no parameter '{name}'; {advice}", self.source, self._names[name])

    def _spaced_arguments(self) -> tuple[tuple[Expression, ...], dict[str, Expression]]:
        positional: list[Expression] = []
        named: dict[str, Expression] = {}
        while self.next.kind != "end" and not self._at(")"):
            self._argument(positional, named, spaced=True)
            if self._at(","):
                raise self.fault("a comma separates values inside parentheses only; here white space does")
        return tuple(positional), named

    def _listed_arguments(self) -> tuple[tuple[Expression, ...], dict[str, Expression]]:
        positional: list[Expression] = []
        named: dict[str, Expression] = {}
        while not self._at(")"):
            self._argument(positional, named, spaced=False)
            if self._at(","):
                self.take()
            elif not self._at(")"):
                raise self.fault(f"expected ',' or ')', not {self._shown(self.next)}")
        self.take()
        return tuple(positional), named

    def _argument(self, positional: list[Expression], named: dict[str, Expression], *, spaced: bool) -> None:
        token = self.next
        follows = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        if token.kind == "name" and follows.kind == "operator" and follows.value == "=":
            self.take()
            self.take()
            self._names[token.value] = token.at
            if token.value in named:
                raise self.fault(f"{token.value} is given twice", token)
            named[token.value] = self._operators(0, spaced=spaced)
            return
        if named:
            raise self.fault("a value without a name comes before those with one", token)
        positional.append(self._operators(0, spaced=spaced))

    def _operators(self, level: int, *, spaced: bool) -> Expression:
        if level == len(_LOOSEST_FIRST):
            return self._prefixed(spaced=spaced)
        left = self._operators(level + 1, spaced=spaced)
        count = 0
        while operator := self._operator(_LOOSEST_FIRST[level], spaced=spaced):
            count += 1
            if count > _DEEPEST:
                raise self.fault("this expression is too long")
            right = self._operators(level + 1, spaced=spaced)
            left = Binary(operator, left, right, left.at)
        return left

    def _operator(self, known: tuple[str, ...], *, spaced: bool) -> str | None:
        token = self.next
        if token.kind not in ("operator", "name"):
            return None
        word = token.value
        if word == "-" and spaced and self._is_sign(token):
            return None
        follows = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        if word == "not" and follows.value == "in" and "not in" in known:
            self.take()
            word = "not in"
        elif word == "is" and follows.value == "not" and "is" in known:
            self.take()
            word = "is not"
        if word not in known or (token.kind == "name" and word not in _WORDS and " " not in word):
            return None
        self.take()
        return word

    def _is_sign(self, token: Lexeme) -> bool:
        """Whether a minus belongs to what follows: `f a -1` has two values, `a - 1` and `a-1` have one."""
        follows = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        return token.spaced and not follows.spaced

    def _prefixed(self, *, spaced: bool) -> Expression:
        token = self.next
        if (token.kind == "name" and token.value == "not") or (token.kind == "operator" and token.value == "-"):
            with self._deeper():
                self.take()
                # `not` binds looser than comparisons, a sign tighter than everything
                level = 2 if token.value == "not" else len(_LOOSEST_FIRST)
                return Unary(token.value, self._operators(level, spaced=spaced), token.at)
        return self._postfixed()

    def _postfixed(self) -> Expression:
        value, count = self._atom(), 0
        while self.next.kind == "operator" and not self.next.spaced and self.next.value in (".", "[", "("):
            token = self.take()
            count += 1
            if count > _DEEPEST:
                raise self.fault("this expression is too long", token)
            if token.value == ".":
                value = Item(value, self._member(), token.at)
            elif token.value == "[":
                value = Item(value, self._bracketed("]"), token.at)
            else:
                value = Call(value, *self._listed_arguments(), value.at)
        return value

    def _member(self) -> Expression:
        token = self.take()
        if token.kind == "name" or (token.kind == "number" and isinstance(token.value, int)):
            return Literal(token.value, token.at)
        raise self.fault("a name must follow the dot", token)

    def _bracketed(self, closing: str) -> Expression:
        value = self.value()
        if not self._at(closing):
            raise self.fault(f"expected {closing!r}, not {self._shown(self.next)}")
        self.take()
        return value

    def _atom(self) -> Expression:
        with self._deeper():
            token = self.take()
            match token.kind:
                case "string" | "number":
                    return Literal(token.value, token.at)
                case "special":
                    return Name(token.value, token.at)
                case "name" if token.value not in _WORDS:
                    return self._named(token)
                case "operator" if token.value == "(":
                    return self._bracketed(")")
                case "operator" if token.value == "[":
                    return ListOf(tuple(self._items("]", self._list_item)), token.at)
                case "operator" if token.value == "{":
                    return DictOf(tuple(self._items("}", self._dict_item)), token.at)
            raise self.fault(f"expected a value, not {self._shown(token)}", token)

    def _named(self, token: Lexeme) -> Expression:
        if token.value in CONSTANTS:
            return Literal(CONSTANTS[token.value], token.at)
        if token.value in VALUES and self._at("(") and not self.next.spaced:
            return Inner(self._command(token), token.at)
        return Name(token.value, token.at)

    def _items(self, closing: str, read):  # noqa: ANN001, ANN202 - see the two readers below
        items = []
        while not self._at(closing):
            items.append(read())
            if self._at(","):
                self.take()
            elif not self._at(closing):
                raise self.fault(f"expected ',' or {closing!r}, not {self._shown(self.next)}")
        self.take()
        return items

    def _list_item(self) -> Expression:
        return self._operators(0, spaced=False)

    def _dict_item(self) -> tuple[Expression, Expression]:
        key = self._operators(0, spaced=False)
        if not self._at(":"):
            advice = "; write one value in two braces, as in {{a}}" if self._at("}") else ""
            raise self.fault(f"expected ':' after the key, not {self._shown(self.next)}{advice}")
        self.take()
        return key, self._operators(0, spaced=False)

    def _begins_argument(self) -> bool:
        token = self.next
        if token.kind == "end":
            return False
        if token.kind == "operator":
            return token.value in ("(", "[", "{") or (token.value == "-" and self._is_sign(token))
        return token.kind != "name" or token.value not in _WORDS or token.value == "not"

    def _at(self, operator: str) -> bool:
        return self.next.kind == "operator" and self.next.value == operator

    def _shown(self, token: Lexeme) -> str:
        return "the end of the tag" if token.kind == "end" else repr(self.source[token.at : token.end][:40])

    def _deeper(self) -> _Depth:
        return _Depth(self)


class _Depth:
    """Counts how deep the reader is, so that no program can overrun Python's stack."""

    def __init__(self, reader: Expressions) -> None:
        self._reader = reader

    def __enter__(self) -> None:
        self._reader._depth += 1
        if self._reader._depth > _DEEPEST:
            raise self._reader.fault("this expression is nested too deeply")

    def __exit__(self, *_: object) -> None:
        self._reader._depth -= 1
