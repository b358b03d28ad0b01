"""Citations: the numbers in an answer, checked against the passages and traced to a quote."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chainkit.knowledge.readers.plain import sentences, stems
from chainkit.knowledge.readers.split import Passage, place

SUPPORT = 1 / 3  # of a sentence's words, in the passage that it cites
REPEATED = 3
TRACED = 2 / 3  # the same, in a passage that it does not cite
_MARK = re.compile(r"[ \t]*\[(\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*)\]")
_MAYBE_MARK = re.compile(r"[ \t]+(?:\[[\d\s,;–-]{0,40})?$|\[[\d\s,;–-]{0,40}$")
_MAYBE_END = re.compile(r"(?:[.!?…。！？।۔؟]+[\"'”’)\]*_`」』]{0,4})?\s*$")
_NUMBERS = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")
_OWN_NUMBER = re.compile(r"(?:(?<=\w\w\w)|(?<=[^\w`])[ \t]?)\[\d{1,4}\]")
_FIELD = re.compile(r"[^\s:.!?|][^\n:.!?|]{0,40}: ")  # begins a row of a table, or a line like "Subject: ..."
_LEAD = re.compile(r"(?:[-*+>#|]+|\d+[.)])\s+")
_UNIT_CHARACTERS = 400
_UNIT_LINES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A citation number in an answer, and the words it supports.

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


class CheckedAnswer:
    """A text that arrives in pieces, without the citations of passages that do not exist, numbered in order of use.

    Code between backticks is left unchanged. A citation is emitted once it is complete.

    Args:
        count: How many passages there are.

    Attributes:
        removed: How many citations were taken out so far.
        order: The passages that are cited, each once; the one at place i has the number i + 1 in the text.

    >>> checked = CheckedAnswer(9)
    >>> [checked.feed("Bees fly [7"), checked.feed("], or not [3][12]."), checked.end(), checked.removed, checked.order]
    ['Bees fly', ' [1], or not [2].', '', 1, [7, 3]]
    """

    def __init__(self, count: int) -> None:
        self.removed = 0
        self.order: list[int] = []
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
        """The text still held back."""
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
        shown = [self.number(passage) for passage in good]
        if shown == numbers:
            return match.group()
        space = match.group()[: match.group().index("[")]
        return space + "".join(f"[{number}]" for number in dict.fromkeys(shown)) if shown else ""

    def number(self, passage: int) -> int:
        """The number of a passage in the text: its own from now on, if it has none yet."""
        if passage not in self.order:
            self.order.append(passage)
        return self.order.index(passage) + 1


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


class Traced:
    """An answer that arrives in pieces: citations checked, and added to sentences that stand in a passage without one.

    Args:
        passages: What the answer may rest on; passage i is what a model calls [i + 1].

    Attributes:
        unsupported: Sentences whose words are mostly in no passage.
        supported: How many sentences stand in a passage.

    >>> traced = Traced([Passage(text="Bees make honey from nectar."), Passage(text="Wasps make paper.")])
    >>> pieces = "Wasps make paper. Bees", " make honey [1]", ". Cats sleep."
    >>> [*map(traced.feed, pieces), traced.end()]
    ['Wasps make paper. [1] Bees', ' make honey [2]', '. Cats sleep', '.']
    >>> [citation.quote for citation in traced.citations()], traced.unsupported
    (['Wasps make paper.', 'Bees make honey from nectar.'], ['Cats sleep.'])
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.unsupported: list[str] = []
        self.supported = 0
        self._passages = passages
        self._stems = [stems(passage.context) for passage in passages]
        self._checked = CheckedAnswer(len(passages))
        self._buffer = ""
        self._shown = 0  # characters of the buffer
        self._cited: dict[int, list[str]] = {}
        self._repeated: Counter[str] = Counter()

    @property
    def repeated(self) -> bool:
        """Whether one sentence came so often that the text goes in a circle."""
        return any(times >= REPEATED for times in self._repeated.values())

    @property
    def removed(self) -> int:
        """How many citations of passages that do not exist were taken out."""
        return self._checked.removed

    def feed(self, piece: str) -> str:
        """What can be shown after one more piece."""
        return self._advanced(self._checked.feed(piece))

    def end(self) -> str:
        """The text still held back."""
        shown = self._advanced(self._checked.end())
        last = self._buffer.rstrip()
        shown += last[self._shown :] + (self._mark(last) if last.strip() else "")
        self._buffer, self._shown = "", 0
        return shown

    def citations(self) -> tuple[Citation, ...]:
        """The citations so far, each with the quote that supports best what cites it."""
        return tuple(
            quote(number, self._passages[passage - 1], " ".join(self._cited.get(number, ())))
            for number, passage in enumerate(self._checked.order, 1)
        )

    def _advanced(self, text: str) -> str:
        self._buffer += text
        shown = ""
        while len(spans := list(_statements(self._buffer))) > 1:
            start, end = spans[0]
            shown += self._buffer[self._shown : end] + self._mark(self._buffer[start:end])
            self._buffer, self._shown = self._buffer[end:], 0
        held = _MAYBE_END.search(self._buffer, self._shown)
        cut = held.start() if held else len(self._buffer)
        shown += self._buffer[self._shown : cut]
        self._shown = cut
        return shown

    def _mark(self, statement: str) -> str:
        """The citation that a sentence lacks, or nothing; notes what supports it."""
        own = stems(_MARK.sub("", statement))
        self._repeated[" ".join(_MARK.sub("", statement).split())] += len(own) > 1
        numbers = cited(statement)
        shares = [len(own & there) / max(1, len(own)) for there in self._stems]
        named = [self._checked.order[number - 1] for number in numbers if number <= len(self._checked.order)]
        for number in numbers:
            self._cited.setdefault(number, []).append(statement)
        if not own or any(shares[passage - 1] >= SUPPORT for passage in named):
            self.supported += bool(own)
            return ""
        best = max(range(len(shares)), key=shares.__getitem__, default=-1)
        if best < 0 or shares[best] < TRACED:
            self.unsupported += [] if statement.strip() in self.unsupported else [statement.strip()]
            return ""
        self.supported += 1
        number = self._checked.number(best + 1)
        if number in numbers:
            return ""
        self._cited.setdefault(number, []).append(statement)
        return f" [{number}]"


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


def without_numbers(text: str) -> str:
    """A text without what looks like a citation, such as the [2] of an encyclopedia.

    >>> without_numbers("Bees fly.[2][3] They sting[4], and x[1] is code.")
    'Bees fly. They sting, and x[1] is code.'
    """
    return text if "`" in text else _OWN_NUMBER.sub("", text)


def units(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of quotable units: sentences, or lines outside of prose; without bullets.

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
        following = text[stop + 1 : end].lstrip(" ")[:1]
        # an item of a list may continue in the next line
        if stop == end or text[begun] not in "-*+" or following in ("-", "*", "+", "\n", "|"):
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
