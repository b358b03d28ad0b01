"""PDF: the text of each page, in lines as they are seen; hyphenated words put together, form fields and notes read."""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from chainkit.base.errors import DocumentError, MissingLibrary
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.source import Source

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_TYPED = re.compile(r"[ \t]*\r?\n")
_LIGATURES = re.compile(r"[\ufb00-\ufb06\ufb13-\ufb17\u0132\u0133\u01c4-\u01cc]")
_SOFT = "\u00ad\u2010\u2027"
_HARD = "-\ufffe\u0002"
# before a hyphen that stays: these form compounds in English
_BEGINNINGS = """
all anti break build built check closed co cross day double e eight end ex first five follow four full half hand high
in large left long low mid multi new nine non off old on one open out part post pre real right second self semi seven
short six small so so-called state step ten third three time top two up up-to user well year
"""
_COMPOUND = frozenset(_BEGINNINGS.split())
_GAP = 0.55  # of a line's height, more than is usual on the page: a new paragraph
_SAME_SIZE = 0.12
_SPACE = 0.12  # of a line's height between two letters: a space
_TITLE = 1.15  # times the usual height: a heading
_TITLE_CHARACTERS = 200
_ENDED = re.compile(r"[.!?:;。！？][\"'”’»)\]]*$")
_WAITS = re.compile(
    r"(?:[,-]|\b(?:the|a|an|of|in|to|for|with|and|or|by|der|die|das|den|dem|des|ein|eine|und|mit|von|im|am|zum|zur|le|la|les"
    r"|de|du|des|et|un|une|el|los|las|y|en|con))$"
)
_OPEN_CHARACTERS = 40
_Box = tuple[float, float, float, float]  # left, bottom, right, top, in points
_SHOWN_PAGES = 10


def read(source: Source) -> Iterator[Block]:
    """The paragraphs of each page, with the page's number.

    Raises:
        DocumentError: The file is damaged, protected, or holds no text.
        MissingLibrary: pypdfium2 is not installed.
    """
    try:
        import pypdfium2 as pdfium
    except ImportError as error:
        raise MissingLibrary("pypdfium2", extra="knowledge") from error
    try:
        document = pdfium.PdfDocument(source.path)
    except pdfium.PdfiumError as error:
        raise _refused(source, error) from error
    pictures: list[int] = []
    try:
        document.init_forms()
        reading = _Reading(document)
        empty = True
        before: list[Block] = []
        for number in range(len(document)):
            blocks = reading.page(number)
            empty = empty and not blocks
            if not blocks and reading.is_picture(number):
                pictures.append(number + 1)
            reading.join_pages(before, blocks)
            yield from before
            before = blocks
        yield from before
    finally:
        document.close()
    if empty:
        raise DocumentError(source.path, "holds no text; scanned pages need text recognition first")
    if pictures:
        source.note(_without_text(pictures))


def _refused(source: Source, error: Exception) -> DocumentError:
    if "password" in str(error).lower():
        return DocumentError(source.path, "is protected by a password")
    if "security" in str(error).lower():
        return DocumentError(source.path, "is protected in a way that cannot be read")
    return DocumentError(source.path, f"is not a readable PDF ({str(error)[:120]})")


def _without_text(pages: Sequence[int]) -> str:
    numbers = ", ".join(map(str, pages[:_SHOWN_PAGES])) + (" ..." if len(pages) > _SHOWN_PAGES else "")
    if len(pages) == 1:
        return f"page {numbers} is a picture; no text"
    return f"{len(pages)} pages are pictures without text ({numbers})"


@dataclass(slots=True)
class _Line:
    """A line as laid out on the page.

    Attributes:
        soft: Whether it ends with a hyphen that is there only because the line ends.
        hard: Whether it ends with a hyphen that may belong to the word.
        left, right, bottom, top: In points, from the lower left corner.
        sizes: The heights of its first and its last letter.
    """

    text: str
    left: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    top: float = 0.0
    sizes: tuple[float, float] = (0.0, 0.0)
    soft: bool = False
    hard: bool = False

    @property
    def height(self) -> float:
        """Of its smaller end: a bullet may be of another font."""
        return max(1.0, min(self.sizes))

    def like(self, other: _Line) -> bool:
        """Whether two lines may be set in the same size."""
        return any(abs(one - two) <= _SAME_SIZE * max(one, two) for one in self.sizes for two in other.sizes)


class _Reading:
    """The pages of one document, which share its word statistics."""

    def __init__(self, document: Any) -> None:
        import pypdfium2.raw as raw

        self._document = document
        self._raw = raw
        self._rectangle = raw.FS_RECTF()
        self._words: Counter[str] = Counter()
        self._soft_hyphens = False

    def page(self, number: int) -> list[Block]:
        """The blocks of a page, counted from 0."""
        page = self._document[number]
        try:
            text = page.get_textpage()
            try:
                lines = self._lines(text)
            finally:
                text.close()
            texts = [*self._paragraphs(lines), *((one, 0) for one in self._beside(page))]
        finally:
            page.close()
        return [Block(one, "heading" if level else "paragraph", level, page=number + 1) for one, level in texts]

    def join_pages(self, before: list[Block], after: list[Block]) -> None:
        """Put the end of a sentence on a new page to its beginning, past the lines that every page has."""
        ends = next(
            (place for place in range(len(before) - 1, max(-1, len(before) - 5), -1) if _is_open(before[place])), None
        )
        if ends is None:
            return
        block = before[ends]
        waits = _WAITS.search(block.text) is not None
        begins = next((place for place, one in enumerate(after[:2]) if _goes_on_with(one, waits)), None)
        if begins is None:
            return
        hyphen = block.text.endswith("-")
        first = _WORD.findall(block.text[:-1])[-1:] if hyphen else []
        second = _WORD.match(after[begins].text)
        text = f"{block.text}\n{after[begins].text}"
        if first and second and block.text[:-1].endswith(first[0]):
            keeps = self._keeps(first[0], second[0]) and not self._soft_hyphens
            text = (block.text if keeps else block.text[:-1]) + after[begins].text
        before[ends] = replace(block, text=text)
        del after[begins]

    def is_picture(self, number: int) -> bool:
        page = self._document[number]
        try:
            return any(True for _ in page.get_objects([self._raw.FPDF_PAGEOBJ_IMAGE], max_depth=4))
        finally:
            page.close()

    def _lines(self, text: Any) -> list[_Line]:
        count = text.count_chars()
        if count <= 0:
            return []
        whole = text.get_text_range(0, count)
        lines: list[_Line] = []
        place = 0
        for raw in whole.split("\n"):
            bare = raw.rstrip("\r")
            if bare.strip():
                lines += self._pieces(text, bare, place)
            place += len(raw) + 1
        return lines

    def _boxes(self, text: Any, line: str, place: int) -> list[_Box | None]:
        """Box of each letter of a line; None for spaces."""
        first, last = self._index(text, place), self._index(text, place + len(line) - 1)
        whole = first >= 0 and last - first == len(line) - 1  # so that every letter follows the one before
        return [
            None
            if letter.isspace()
            else self._box(text, first + offset if whole else self._index(text, place + offset))
            for offset, letter in enumerate(line)
        ]

    def _with_spaces(self, line: str, boxes: Sequence[_Box | None]) -> str:
        """A line with a space wherever its letters are apart: pdfium misses spaces that are not characters."""
        parts: list[str] = []
        before: _Box | None = None
        for letter, box in zip(line, boxes, strict=True):
            if before and box and box[0] - before[2] > _SPACE * (before[3] - before[1]):
                parts.append(" ")
            before = box
            parts.append(letter)
        return "".join(parts)

    def _pieces(self, text: Any, line: str, place: int) -> Iterator[_Line]:
        """A line, split in two at a hyphen where pdfium joined two lines."""
        start = 0
        for match in re.finditer("[\ufffe\u0002]", line):
            yield self._line(text, line[start : match.end()], place + start)
            start = match.end()
        if line[start:].strip():
            yield self._line(text, line[start:], place + start)

    def _line(self, text: Any, line: str, place: int) -> _Line:
        bare = line.strip()
        boxes = self._boxes(text, line, place)
        shown = self._with_spaces(line, boxes).strip()
        lead = len(line) - len(line.lstrip())
        soft, hard = bare[-1] in _SOFT, bare[-1] in _HARD and len(bare) > 1
        self._soft_hyphens = self._soft_hyphens or soft
        folded = _LIGATURES.sub(lambda match: unicodedata.normalize("NFKC", match[0]), shown)
        self._words.update(word.lower() for word in _WORD.findall(folded[:-1] if soft or hard else folded))
        found = _Line(folded, soft=soft, hard=hard)
        first = self._box(text, self._index(text, place + lead))
        last = self._box(text, self._index(text, place + lead + len(bare) - (2 if hard or soft else 1)))
        if first and last:
            found.left, found.bottom, found.top = first[0], min(first[1], last[1]), max(first[3], last[3])
            found.right = last[2]
            found.sizes = abs(first[3] - first[1]), abs(last[3] - last[1])
            if tight := _tight(line, boxes):
                size = sorted(box[3] - box[1] for box in tight)[(len(tight) - 1) * 9 // 10]
                found.sizes = size, size
                found.bottom, found.top = min(box[1] for box in tight), max(box[3] for box in tight)
        return found

    def _index(self, text: Any, place: int) -> int:
        return self._raw.FPDFText_GetCharIndexFromTextIndex(text, place)

    def _box(self, text: Any, index: int) -> _Box | None:
        if index < 0:
            return None
        rectangle = self._rectangle
        if not self._raw.FPDFText_GetLooseCharBox(text, index, rectangle):
            return None
        return rectangle.left, rectangle.bottom, rectangle.right, rectangle.top

    def _paragraphs(self, lines: Sequence[_Line]) -> Iterator[tuple[str, int]]:
        """Text and level (0 for none) of each paragraph."""
        if not lines:
            return
        usual = _usual([line.height for line in lines])
        gaps = [one.bottom - other.top for one, other in pairwise(lines) if one.bottom > other.top - one.height]
        usual_gap = (
            max(0.0, sorted(gaps)[len(gaps) // 4]) if gaps else 0.0
        )  # paragraphs may be shorter than three lines
        gathered = [lines[0]]
        for before, line in pairwise(lines):
            if self._goes_on(before, line, usual_gap):
                gathered.append(line)
            else:
                yield self._paragraph(gathered, usual)
                gathered = [line]
        yield self._paragraph(gathered, usual)

    def _goes_on(self, before: _Line, line: _Line, usual_gap: float) -> bool:
        if before.soft or before.hard:
            return True
        if not before.top or not line.top:
            return True
        if not before.like(line):
            return False
        gap = before.bottom - line.top
        if gap < -1.5 * before.height:
            return not re.search(r"[.!?:]$", before.text) and line.text[:1].islower()  # the next column
        return gap <= usual_gap + _GAP * before.height

    def _paragraph(self, lines: Sequence[_Line], usual: float) -> tuple[str, int]:
        text = lines[0].text
        for before, line in pairwise(lines):
            text = self._joined(text, before, line)
        text = text.translate(_HYPHENS).rstrip("\ufffe\u0002")
        height = max(line.height for line in lines)
        titled = height > _TITLE * usual and len(text) < _TITLE_CHARACTERS and any(map(str.isalpha, text))
        return text, (1 if height > 1.5 * usual else 2) if titled else 0

    def _joined(self, text: str, before: _Line, line: _Line) -> str:
        if not before.soft and not before.hard:
            return f"{text}\n{line.text}"
        first = _WORD.findall(text[:-1])
        second = _WORD.match(line.text)
        if second is None or not first or not text[:-1].endswith(first[-1]):
            return f"{text[:-1]}-{line.text}" if before.hard else f"{text[:-1]}{line.text}"
        if before.soft or not self._keeps(first[-1], second[0]):
            return text[:-1] + line.text
        return f"{text[:-1]}-{line.text}"

    def _keeps(self, first: str, second: str) -> bool:
        """Whether a hyphen at the end of a line belongs to the word."""
        if self._soft_hyphens:
            return True  # its producer has another hyphen for words that it divides
        joined, kept = (first + second).lower(), f"{first}-{second}".lower()
        if self._words[joined] != self._words[kept]:
            return self._words[kept] > self._words[joined]
        return "-" in first or first.lower() in _COMPOUND or not second[:1].islower()

    def _beside(self, page: Any) -> Iterator[str]:
        """The text of form fields and notes on the page."""
        raw = self._raw
        form = self._document.formenv
        for place in range(raw.FPDFPage_GetAnnotCount(page)):
            note = raw.FPDFPage_GetAnnot(page, place)
            if not note:
                continue
            kind = raw.FPDFAnnot_GetSubtype(note)
            if kind == raw.FPDF_ANNOT_WIDGET and form:
                yield from _field(raw, form, note)
            elif kind in (raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_FREETEXT):
                text = _wide(
                    lambda buffer, size, note=note: raw.FPDFAnnot_GetStringValue(note, b"Contents", buffer, size)
                )
                if text.strip():
                    yield text.strip()
            raw.FPDFPage_CloseAnnot(note)


def _tight(line: str, boxes: Sequence[_Box | None]) -> list[_Box]:
    """The boxes of a line's letters where each is as high as its letter, as of Type 3 fonts; else none.

    Other fonts give every letter of a size the same height, so that one tells the size of a line.
    """
    low = [box[3] - box[1] for letter, box in zip(line, boxes, strict=True) if box and letter in "acemnorsuvwxz"]
    high = [box[3] - box[1] for letter, box in zip(line, boxes, strict=True) if box and letter in "bdfhkl"]
    if not low or not high or _usual(low) > 0.9 * _usual(high):
        return []
    return [box for box in boxes if box]


def _is_open(block: Block) -> bool:
    return block.kind == "paragraph" and len(block.text) > _OPEN_CHARACTERS and not _ENDED.search(block.text)


def _goes_on_with(block: Block, waits: bool) -> bool:
    first = block.text[:1]
    return block.kind == "paragraph" and (first.islower() or (waits and first.isalpha()))


def _field(raw: Any, form: Any, note: Any) -> Iterator[str]:
    kind = raw.FPDFAnnot_GetFormFieldType(form, note)
    if kind in (raw.FPDF_FORMFIELD_PUSHBUTTON, raw.FPDF_FORMFIELD_SIGNATURE):
        return
    name = _wide(lambda buffer, size: raw.FPDFAnnot_GetFormFieldAlternateName(form, note, buffer, size)) or _wide(
        lambda buffer, size: raw.FPDFAnnot_GetFormFieldName(form, note, buffer, size)
    )
    if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
        value = "yes" if raw.FPDFAnnot_IsChecked(form, note) else ""
    else:
        value = _wide(lambda buffer, size: raw.FPDFAnnot_GetFormFieldValue(form, note, buffer, size))
    if value.strip():
        yield f"{name.strip()}: {value.strip()}" if name.strip() else value.strip()


def _wide(get: Any) -> str:
    """A text that a function of pdfium writes into a buffer as UTF-16."""
    size = get(None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    get(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    return _TYPED.sub("\n", buffer.raw[: size - 2].decode("utf-16-le", "replace").replace("\r", "\n"))


def _usual(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


_HYPHENS = {0x2010: "-", 0x2011: "-", 0x00AD: None}
