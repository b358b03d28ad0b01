"""From a program's text to its tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from chainkit.base.errors import ProgramSyntaxError, nearest
from chainkit.programs.language.commands import BLOCKS, COMMANDS, INCLUDE, ROLES, SEPARATORS
from chainkit.programs.language.expressions import Expressions
from chainkit.programs.language.lexer import Lexeme, Plain, Tag, pieces
from chainkit.programs.language.syntax import (
    Arguments,
    Await,
    Body,
    Break,
    Continue,
    Each,
    Expression,
    Gen,
    GenEach,
    If,
    Include,
    Inner,
    Literal,
    NamedBlock,
    Node,
    Parse,
    Role,
    Select,
    Set,
    Show,
    Template,
    Text,
)

_DEEPEST = 60  # blocks inside one another
_LONGEST = 4_000_000  # characters


@lru_cache(maxsize=256)
def parse(source: str) -> Template:
    """The tree of a program.

    Raises:
        ProgramSyntaxError: The text is not a program; the message shows the place.
    """
    if len(source) > _LONGEST:
        raise ProgramSyntaxError(f"the program has {len(source)} characters, and {_LONGEST} are allowed")
    return Template(source, _Parser(source).all())


@dataclass
class _Open:
    """A block that has begun.

    Attributes:
        name: What the closing tag must say.
        tag: The opening tag.
        arguments: Those of the opening tag.
        parts: Bodies between the separators; the last one is being filled.
        separators: What separates them: the word, its condition, its place.
    """

    name: str
    tag: Tag
    arguments: Arguments
    program: Expression | None = None
    parts: list[list[Node]] = field(default_factory=lambda: [[]])
    separators: list[tuple[str, Expression | None, int]] = field(default_factory=list)


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._open = [_Open("", Tag("open", (), 0, 0), Arguments())]

    def all(self) -> Body:
        for piece in pieces(self._source):
            if isinstance(piece, Plain):
                self._text(piece.text, piece.at)
            else:
                self._tag(piece)
        if len(self._open) > 1:
            unclosed = self._open[-1]
            raise self._fault(
                f"this {unclosed.name} is not closed: {{{{/{unclosed.name}}}}} is missing", unclosed.tag.at
            )
        return tuple(self._open[0].parts[0])

    def _fault(self, reason: str, at: int) -> ProgramSyntaxError:
        return ProgramSyntaxError(reason, self._source, at)

    def _add(self, node: Node) -> None:
        self._open[-1].parts[-1].append(node)

    def _text(self, text: str, at: int) -> None:
        part = self._open[-1].parts[-1]
        if part and isinstance(before := part[-1], Text):  # a comment stood between them
            part[-1] = Text(before.text + text, before.at)
        else:
            part.append(Text(text, at))

    def _tag(self, tag: Tag) -> None:
        match tag.kind:
            case "open":
                self._begin(tag)
            case "close":
                self._end(tag)
            case "include" | "open_include":
                self._include(tag)
            case "inline" if _word(tag) in SEPARATORS:
                self._separate(tag)
            case "inline":
                self._add(self._inline(tag))

    def _inline(self, tag: Tag) -> Node:
        first = tag.tokens[0]
        if first.kind == "end":
            raise self._fault("this tag is empty", tag.at)
        reader = Expressions(self._source, tag.tokens)
        if first.kind == "name":
            self._refuse_foreign(first, alone=tag.tokens[1].kind in ("end", "operator"))
        if first.kind == "name" and first.value in COMMANDS and not reader.is_value(1):
            return self._command(tag, reader)
        value = reader.whole()
        return value.command if isinstance(value, Inner) else Show(value, tag.at)

    def _refuse_foreign(self, first: Lexeme, *, alone: bool) -> None:
        word = first.value
        if word in ("elseif", "elsif") and not alone:
            raise self._fault(f"there is no {word}; write {{{{elif a}}}}", first.at)
        if word == "if" and not alone:
            raise self._fault("if is a block; write {{#if ...}}...{{/if}}", first.at)

    def _command(self, tag: Tag, reader: Expressions) -> Node:
        name = reader.take().value
        start = reader.position
        arguments = reader.arguments(name, COMMANDS[name])
        if reader.next.kind != "end":  # `gen('x') + 'y'`: the command is part of a value
            again = Expressions(self._source, tag.tokens)
            if start == 1 and name in ("gen", "select", "await", "parse"):
                return Show(again.whole(), tag.at)
            raise self._fault(f"{name} must be alone in its tag", reader.next.at)
        match name:
            case "gen":
                return Gen(arguments, tag.at)
            case "select":
                if "options" not in arguments.values:
                    raise self._fault(
                        "select needs options: {{select 'name' options=list}}, or the block "
                        "{{#select 'name'}}a{{or}}b{{/select}}",
                        tag.at,
                    )
                return Select(arguments, (), tag.at)
            case "set":
                return Set(arguments, tag.at)
            case "await":
                return Await(arguments, tag.at)
            case "parse":
                return Parse(arguments, tag.at)
            case "break":
                self._needs_loop("break", tag)
                return Break(tag.at)
            case _:
                self._needs_loop("continue", tag)
                return Continue(tag.at)

    def _needs_loop(self, word: str, tag: Tag) -> None:
        if not any(block.name in ("each", "geneach") for block in self._open):
            raise self._fault(f"{word} is outside of every loop", tag.at)

    def _begin(self, tag: Tag) -> None:
        name = _word(tag)
        if name not in BLOCKS:
            raise self._fault(self._no_block(name), tag.tokens[0].at)
        if len(self._open) > _DEEPEST:
            raise self._fault(f"blocks are nested more than {_DEEPEST} deep", tag.at)
        reader = Expressions(self._source, tag.tokens)
        reader.take()
        conditional = name in ("if", "unless")
        arguments = self._condition(name, reader) if conditional else reader.arguments(name, BLOCKS[name])
        if reader.next.kind != "end":
            raise self._fault(f"expected the end of the tag, not {reader.next.value!r}", reader.next.at)
        self._open.append(_Open(name, tag, arguments))

    def _condition(self, name: str, reader: Expressions) -> Arguments:
        """`{{#if a == b}}`, `{{#if f a}}` and `{{#if a invert=True}}`."""
        if reader.next.kind == "end":
            raise self._fault(f"{name} needs a value", reader.next.at)
        first, follows = reader.next, reader.tokens[min(reader.position + 1, len(reader.tokens) - 1)]
        named = first.kind == "name" and follows.value == "=" and follows.kind == "operator"
        inverted = any(
            token.value == "invert" and after.value == "="
            for token, after in zip(reader.tokens, reader.tokens[1:], strict=False)
        )
        if named or inverted:
            return reader.arguments(name, BLOCKS[name])
        return Arguments({"value": reader.value()})

    def _no_block(self, name: str) -> str:
        if not name:
            return "a block needs a name, as in {{#if x}}"
        if name in COMMANDS:
            return f"{name} is not a block; write {{{{{name} ...}}}}"
        hint = nearest(name, BLOCKS)
        advice = f"did you mean '{hint}'?" if hint else f"blocks: {', '.join(BLOCKS)}"
        return f"no block is called '{name}'; {advice}"

    def _separate(self, tag: Tag) -> None:
        word, block = _word(tag), self._open[-1]
        reader = Expressions(self._source, tag.tokens)
        reader.take()
        condition: Expression | None = None
        if word == "else" and reader.next.kind == "name" and reader.next.value == "if":
            reader.take()
            word = "elif"
        if word == "elif":
            if reader.next.kind == "end":
                raise self._fault("elif needs a value", reader.next.at)
            condition = reader.value()
        if reader.next.kind != "end":
            raise self._fault(f"expected the end of the tag, not {reader.next.value!r}", reader.next.at)
        self._check_separator(word, block, tag)
        block.separators.append((word, condition, tag.at))
        block.parts.append([])

    def _check_separator(self, word: str, block: _Open, tag: Tag) -> None:
        homes = {"or": ("select",), "elif": ("if", "unless"), "else": ("if", "unless", "each", "include")}[word]
        kind = "include" if block.program else block.name
        if kind not in homes:
            where = f"directly inside {block.name}" if block.name else "outside of every block"
            named = " or ".join(f"{{{{#{home}}}}}" for home in homes if home != "include")
            raise self._fault(f"{word} belongs into {named}, and is {where}", tag.at)
        if any(earlier == "else" for earlier, _, _ in block.separators):
            raise self._fault(f"{word} comes after the else of this {block.name}", tag.at)

    def _include(self, tag: Tag) -> None:
        reader = Expressions(self._source, tag.tokens)
        if reader.next.kind != "name":
            raise self._fault("the name of a program must follow '>'", reader.next.at)
        name = reader.next.value
        program = reader.path()
        arguments = reader.arguments(name, INCLUDE, parenthesised=False)
        if reader.next.kind != "end":
            raise self._fault(f"expected the end of the tag, not {reader.next.value!r}", reader.next.at)
        if tag.kind == "include":
            self._add(Include(program, arguments, None, tag.at))
        else:
            self._open.append(_Open(name, tag, arguments, program))

    def _end(self, tag: Tag) -> None:
        name = _word(tag)
        if len(tag.tokens) > 2:
            raise self._fault(f"a closing tag has a name and nothing else, as in {{{{/{name}}}}}", tag.tokens[1].at)
        block = self._open[-1]
        if not block.name:
            raise self._fault(f"{{{{/{name}}}}} closes nothing", tag.at)
        if name != block.name:
            line = self._source.count("\n", 0, block.tag.at) + 1
            raise self._fault(
                f"{{{{/{name}}}}} cannot close the {block.name} of line {line}; {{{{/{block.name}}}}} must come first",
                tag.at,
            )
        self._open.pop()
        self._add(self._built(block, tag))

    def _built(self, block: _Open, closing: Tag) -> Node:
        parts, at, arguments = [tuple(part) for part in block.parts], block.tag.at, block.arguments
        if block.program is not None:
            return Include(block.program, arguments, parts[0], at)
        match block.name:
            case "if" | "unless":
                return self._conditional(block, parts)
            case "each":
                return Each(arguments, parts[0], parts[1] if len(parts) > 1 else (), at)
            case "geneach":
                return GenEach(arguments, parts[0], at)
            case "select":
                return self._selection(block, parts)
            case "block":
                return NamedBlock(arguments, parts[0], at)
        role = block.name if block.name in ROLES else None
        return Role(role, arguments, parts[0], at, closing.at)

    def _conditional(self, block: _Open, parts: Sequence[Body]) -> If:
        conditions = [block.arguments.values["value"]]
        otherwise: Body = ()
        for word, condition, _ in block.separators:
            if condition is not None:
                conditions.append(condition)
            elif word == "else":
                otherwise = parts[-1]
        invert = block.arguments.values.get("invert")
        if block.name == "unless":
            invert = Literal(True, block.tag.at)
        return If(tuple(zip(conditions, parts, strict=False)), otherwise, invert, block.tag.at)

    def _selection(self, block: _Open, parts: Sequence[Body]) -> Select:
        if "options" in block.arguments.values:
            raise self._fault("a select block holds its options; leave options= away", block.tag.at)
        for part in parts:
            for node in part:
                if not isinstance(node, Text | Show):
                    raise self._fault("an option of select is text and values, no other command", node.at)
        return Select(block.arguments, tuple(parts), block.tag.at)


def _word(tag: Tag) -> str:
    """The name that a tag begins with, or nothing."""
    first: Lexeme = tag.tokens[0]
    return first.value if first.kind == "name" else ""
