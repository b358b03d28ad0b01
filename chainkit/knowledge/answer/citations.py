"""Citations: the numbers in an answer, checked against the passages and traced to a quote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chainkit.knowledge.index.split import Passage, place
from chainkit.knowledge.readers.plain import sentences, stems

SUPPORT = 1 / 3
_MARK = re.compile(r"[ \t]*\[(\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*)\]")
_MAYBE_MARK = re.compile(r"[ \t]+(?:\[[\d\s,;–-]{0,40})?$|\[[\d\s,;–-]{0,40}$")
_NUMBERS = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")
_FIELD = re.compile(r"[^\s:.!?|][^\n:.!?|]{0,40}: ")  # begins a row of a table, or a line like "Subject: ..."
_LEAD = re.compile(r"(?:[-*+>#|]+|\d+[.)])\s+")
_UNIT_CHARACTERS = 400
_UNIT_LINES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A number in an answer, and the words it stands for.

    Attributes:
        number: As it is written in the answer, from 1.
        path: The document.
        quote: Word for word from the document: what of the passage comes nearest to the statement that cites it.
        page: From 1; None where the document has no pages.
        first_line: The line that the quote begins in, from 1; None where the document has no lines.
        last_line: The line that it ends in.
        headings: The headings above it.
    """

    number: int
    path: str
    quote: str
    page: int | None = None
    first_line: int | None = None
    last_line: int | None = None
    headings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"[{self.number}] {place(self.path, self.page, self.first_line, self.last_line)}"


class Checked:
    """A text that arrives in pieces, without the citations of passages that do not exist.

    Code between backticks is left as it is. A citation is given out only once it is complete.

    Args:
        count: How many passages there are.

    Attributes:
        removed: How many citations were taken out so far.

    >>> checked = Checked(2)
    >>> [checked.feed("Bees fly [1"), checked.feed("], or not [7]."), checked.end(), checked.removed]
    ['Bees fly', ' [1], or not.', '', 1]
    """

    def __init__(self, count: int) -> None:
        self.removed = 0
        self._count = count
        self._held = ""
        self._ticks = 0

    def feed(self, piece: str) -> str:
        """What can be shown after one more piece."""
        text = self._held + piece
        maybe = _MAYBE_MARK.search(text)
        cut = maybe.start() if maybe else len(text)
        self._held = text[cut:]
        return self._clean(text[:cut])

    def end(self) -> str:
        """What was still held back."""
        text, self._held = self._held, ""
        return self._clean(text)

    def _clean(self, text: str) -> str:
        parts: list[str] = []
        done = 0
        for match in _MARK.finditer(text):
            before = text[done : match.start()]
            self._ticks += before.count("`")
            parts += [before, match.group() if self._ticks % 2 else self._kept(match)]
            done = match.end()
        self._ticks += text.count("`", done)
        return "".join([*parts, text[done:]])

    def _kept(self, match: re.Match[str]) -> str:
        numbers = list(_listed(match.group(1)))
        good = [number for number in numbers if 1 <= number <= self._count]
        self.removed += len(numbers) - len(good)
        if len(good) == len(numbers):
            return match.group()
        space = match.group()[: match.group().index("[")]
        return space + "".join(f"[{number}]" for number in good) if good else ""


def cited(text: str) -> list[int]:
    """The numbers that a text cites, each once, in their order; those between backticks are code.

    >>> cited("So [2], so [1, 2], not `x[3]`.")
    [2, 1]
    """
    found: dict[int, None] = {}
    ticks = done = 0
    for match in _MARK.finditer(text):
        ticks += text.count("`", done, match.start())
        done = match.start()
        if ticks % 2 == 0:
            found.update(dict.fromkeys(_listed(match.group(1))))
    return list(found)


def trace(answer: str, passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """The citations of an answer, each with the quote that supports best what cites it."""
    statements = [answer[start:end] for start, end in _statements(answer)]
    return tuple(
        quote(number, passages[number - 1], " ".join(one for one in statements if number in cited(one)))
        for number in sorted(cited(answer))
        if 1 <= number <= len(passages)
    )


def unsupported(answer: str, passages: Sequence[Passage]) -> tuple[str, ...]:
    """The sentences of an answer that cite nothing, or whose words are mostly not in what they cite."""
    found: list[str] = []
    for start, end in _statements(answer):
        sentence = answer[start:end]
        numbers = [number for number in cited(sentence) if 1 <= number <= len(passages)]
        own = stems(_MARK.sub("", sentence))
        there = set[str]().union(*(stems(passages[number - 1].context) for number in numbers))
        if own and len(own & there) < SUPPORT * len(own):
            found.append(sentence)
    return tuple(found)


def quote(number: int, passage: Passage, statement: str) -> Citation:
    """The part of a passage that has most words in common with a statement, as a citation."""
    wanted = stems(_MARK.sub("", statement))
    spans = list(units(passage.text)) or [(0, len(passage.text))]

    def fit(span: tuple[int, int]) -> float:
        own = stems(passage.text[span[0] : span[1]])
        return len(own & wanted) / (len(own) + len(wanted)) ** 0.5 if own else 0.0

    return citation(number, passage, *max(spans, key=fit))


def citation(number: int, passage: Passage, start: int, end: int) -> Citation:
    """A citation of `passage.text[start:end]`."""
    first_line, last_line = passage.lines(start, end)
    return Citation(
        number=number,
        path=passage.path,
        quote=passage.text[start:end],
        page=passage.page,
        first_line=first_line,
        last_line=last_line,
        headings=passage.headings,
    )


def units(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of what can be quoted on its own: sentences, or lines of what is not prose; no bullets.

    >>> text = "name: Ada, keeps: bees\\nname: Alan, keeps: wasps"
    >>> [text[start:end] for start, end in units(text)]
    ['name: Ada, keeps: bees', 'name: Alan, keeps: wasps']
    """
    for start, end in sentences(text):
        lines = text[start:end].split("\n")
        if (
            end - start > _UNIT_CHARACTERS
            or len(lines) > _UNIT_LINES
            or text[start] in "|-*+"
            or (len(lines) > 1 and all(map(_FIELD.match, lines)))
        ):
            yield from _line_units(text, start, end)
        else:
            yield _without_lead(text, start, end)


def _line_units(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begun = start
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        following = text[stop + 1 : end].lstrip(" ")[:2]
        # an item of a list may go on in the next line
        if stop == end or text[begun] not in "-*+" or following[:1] in ("-", "*", "+", "\n", "|"):
            if text[begun:stop].strip():
                yield _without_lead(text, begun, stop)
            begun = stop + 1
        start = stop + 1


def _without_lead(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    lead = _LEAD.match(text, start, end)
    if lead is None or lead.end() >= end:
        return start, end
    if lead.group()[0] == "|":
        end -= len(text[start:end]) - len(text[start:end].rstrip("| "))
    return lead.end(), end


def _statements(answer: str) -> Iterator[tuple[int, int]]:
    """Sentences of an answer, with citations that follow the full stop counted to the sentence before them."""
    spans = list(sentences(answer))
    while spans:
        start, end = spans.pop(0)
        while mark := _MARK.match(answer, end):
            end = mark.end()
        yield start, end
        if spans and spans[0][0] < end:
            rest = (end, spans[0][1])
            spans[0:1] = [rest] if answer[rest[0] : rest[1]].strip() else []


def _listed(numbers: str) -> Iterator[int]:
    for match in _NUMBERS.finditer(numbers):
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        yield from range(first, last + 1) if first <= last <= first + 20 else (first, last)
