"""RTF: headings, paragraphs, rows of tables, each footnote and text box after its paragraph."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chainkit.base.errors import MissingLibrary
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.source import Source

_APART = re.compile(r"\{\\(?:\*\\)?(?P<word>footnote|shptxt|header[lrf]?|footer[lrf]?|deleted|v)(?![a-z0-9-])")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_PARAGRAPH = re.compile(r"\\par(?![a-z])")
_OUTLINE = re.compile(r"\\outlinelevel([0-8])(?!\d)")
_STYLE = re.compile(r"\{\\s(\d{1,5})(?!\d)(?:[^{}]|\{[^{}]{0,500}\}){0,2000}? ?heading (\d);", re.IGNORECASE)
_STYLED = re.compile(r"\\s(\d{1,5})(?!\d)")
_LEVEL = re.compile("[\ue010-\ue018]")
_DROPPED = frozenset(("deleted", "v"))


def read(source: Source) -> Iterator[Block]:
    """The paragraphs, in their order; headers and footers where the file has them.

    Raises:
        MissingLibrary: striprtf is not installed.
    """
    try:
        from striprtf.striprtf import rtf_to_text
    except ImportError as error:
        raise MissingLibrary("striprtf", extra="knowledge") from error
    raw = _rearranged(source.path.read_bytes().decode("latin-1"))
    levels = {number: int(level) for number, level in _STYLE.findall(raw)}
    raw = _OUTLINE.sub(lambda found: found[0] + _mark(int(found[1]) + 1), raw)
    raw = _STYLED.sub(lambda found: found[0] + (_mark(levels[found[1]]) if found[1] in levels else ""), raw)
    for line in rtf_to_text(raw, errors="replace").split("\n"):
        yield from _block(line)


def _block(line: str) -> Iterator[Block]:
    levels = [ord(mark) - 0xE010 + 1 for mark in _LEVEL.findall(line)]
    text = _LEVEL.sub("", line)
    cells = [" ".join(cell.split()) for cell in text.split("|")]
    if len(cells) > 1 and text.rstrip().endswith("|"):
        if row := " | ".join(filter(None, cells)):
            yield Block(row, "table")
    elif text.strip():
        yield Block(text.strip(), "heading" if levels else "paragraph", min(6, levels[-1]) if levels else 0)


def _mark(level: int) -> str:
    """A level, kept through striprtf as a sign that no text has: RTF writes it as a number below zero."""
    return f" \\u{0xE010 + min(level, 9) - 1 - 0x10000}?"


def _rearranged(text: str) -> str:
    """Move footnotes and similar parts after the paragraph that holds them; remove hidden text."""
    parts: list[str] = []
    waiting: list[str] = []
    place = 0
    while found := _APART.search(text, place):
        end = _group_end(text, found.start())
        _append(parts, waiting, text[place : found.start()])
        if found["word"] not in _DROPPED:
            waiting.append("{\\pard " + text[found.end() : end - 1] + "\\par}")
        place = end
    _append(parts, waiting, text[place:])
    return "".join([*parts, *waiting])


def _append(parts: list[str], waiting: list[str], text: str) -> None:
    """Add text; what waits for the end of a paragraph is put there."""
    found = _PARAGRAPH.search(text) if waiting else None
    if found is None:
        parts.append(text)
        return
    parts += [text[: found.end()], *waiting, text[found.end() :]]
    waiting.clear()


def _group_end(text: str, start: int) -> int:
    """Where the group that begins here is closed."""
    depth = 0
    for found in _BRACE.finditer(text, start):
        if found[0] == "{":
            depth += 1
        elif found[0] == "}":
            depth -= 1
            if not depth:
                return found.end()
    return len(text)
