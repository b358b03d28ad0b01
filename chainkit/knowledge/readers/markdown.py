"""Markdown: headings kept, lists, tables and code whole, every block with its lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from chainkit.knowledge.readers.blocks import Block, Kind
from chainkit.knowledge.readers.source import Source

_KINDS: dict[str, Kind] = {
    "paragraph_open": "paragraph",
    "blockquote_open": "paragraph",
    "html_block": "paragraph",
    "list_item_open": "item",
    "fence": "code",
    "code_block": "code",
    "table_open": "table",
}


def read(source: Source) -> Iterator[Block]:
    """Headings, paragraphs, items of lists, code blocks and tables."""
    yield from blocks(source.whole_text())


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a Markdown text; front matter comes first, as a paragraph.

    >>> [(block.kind, block.text, block.first_line) for block in blocks("# Bees\\n\\nThey fly.")]
    [('heading', 'Bees', 1), ('paragraph', 'They fly.', 3)]
    """
    lines = text.split("\n")
    matter = _front_matter(lines)
    if matter:
        yield from _block(lines, 1, matter - 1, "paragraph")
        text = "\n".join([""] * matter + lines[matter:])
    yield from _top_blocks(_parser().parse(text), lines)


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable("table")


def _front_matter(lines: Sequence[str]) -> int:
    """How many lines the front matter has, its two fences included."""
    if lines[0].rstrip() != "---":
        return 0
    return next((number + 1 for number, line in enumerate(lines[1:200], 1) if line.rstrip() == "---"), 0)


def _top_blocks(tokens: Sequence[Token], lines: Sequence[str]) -> Iterator[Block]:
    done = 0  # lines before this one are part of a block that was given already
    for place, token in enumerate(tokens):
        if token.map is None or token.map[0] < done:
            continue
        first, end = token.map
        if token.type == "heading_open":
            title = tokens[place + 1].content
            yield Block(title, "heading", int(token.tag[1]), first + 1, end)
            done = end
        elif kind := _KINDS.get(token.type):
            yield from _block(lines, first, end, kind)
            done = end


def _block(lines: Sequence[str], first: int, end: int, kind: Kind) -> Iterator[Block]:
    while end > first and not lines[end - 1].strip():
        end -= 1
    if first < end:
        yield Block("\n".join(lines[first:end]), kind, 0, first + 1, end)
