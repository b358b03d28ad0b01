"""CSV as programs and people write it: one reader for documents, the command line and examples to tune on."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

DELIMITERS = ",;\t|"
SAMPLE_CHARACTERS = 1_000_000
RECORD_LINES = 100_000
_LINES_AFTER_FAULTS = 50
_FAULTS = 10
RECORD_CHARACTERS = 5_000_000
_SAMPLE_ROWS = 500
_NO_DELIMITER = "\x1f"
_QUOTED = re.compile(r'"([^"\n]{1,200})"')
_SEP = re.compile(r"\"?sep=(.)\"?\s*$", re.IGNORECASE)
_NUMBER = re.compile(r"[-+(]?\s?[$€£¥]?\s?\d[\d.,' \u00a0\u202f]*\)?\s?(?:%|[^\W\d]{1,3}|[$€£¥])?$")
_TIME = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}(?:[T ]\d{1,2}:\d\d.{0,15})?$")
_YEAR = re.compile(r"(?:1[5-9]|2[01])\d\d$")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the rows of a file are written.

    Attributes:
        delimiter: Between two cells.
        escape: The backslash where quotes inside a cell are written `\\"`, else None.
        columns: How many cells most rows have.
        skipped_lines: At the beginning, which say only what the delimiter is.
    """

    delimiter: str = ","
    escape: str | None = None
    columns: int = 1
    skipped_lines: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One row.

    Attributes:
        cells: As they stand in the file, without quotes.
        first_line: From 1.
        last_line: Included.
        broken: Whether its quotes are unbalanced, so that it was read literally.
    """

    cells: list[str]
    first_line: int
    last_line: int
    broken: bool = False


def dialect(sample: str, delimiter: str | None = None) -> Dialect:
    """The CSV dialect that most rows of a text share; an odd first line does not matter.

    >>> dialect("Item;Price (EUR, net)\\nLamp;12,50\\nDesk;99,00\\n").delimiter
    ';'

    Args:
        sample: The beginning of a file, or all of it.
        delimiter: If it is known.
    """
    text = sample[:SAMPLE_CHARACTERS]
    first, _, rest = text.lstrip("\ufeff").partition("\n")
    said = _SEP.match(first)
    if said and delimiter is None:
        delimiter = said[1]
    escape = "\\" if '\\"' in text else None
    ranked = max(
        (_agreement(rest if said else text, one, escape) for one in (delimiter or DELIMITERS)),
        key=lambda one: (one[0], one[1] == _NO_DELIMITER),
    )
    return Dialect(ranked[1], escape, ranked[2], 1 if said else 0)


def records(lines: Iterable[str], like: Dialect, *, strict: bool = False) -> Iterator[Record]:
    """The rows that are not blank.

    Args:
        lines: With their ends, as a file opened with `newline=""` gives them.
        strict: Raise for a row whose quotes are broken; otherwise read its first line literally.

    Raises:
        csv.Error: Only if `strict`; the message names the line.
    """
    csv.field_size_limit(RECORD_CHARACTERS)
    source, line, faults = _Lines(lines), 0, 0
    for _ in range(like.skipped_lines):
        line += len(source.take(1))
    while True:
        taken: list[str] = []
        try:
            most = RECORD_LINES if faults < _FAULTS else _LINES_AFTER_FAULTS  # each fault reads that many in vain
            cells = next(_reader(source.recorded(taken, most), like), None)
            broken = False
        except csv.Error as error:
            if strict:
                raise csv.Error(f"line {line + 1} is not CSV: {error}") from error
            faults += 1
            source.put_back(taken[1:])
            del taken[1:]
            cells, broken = _as_it_stands(taken[0], like.delimiter), True
        if cells is None:
            return
        first, line = line + 1, line + len(taken)
        if any(cell.strip() for cell in cells):
            yield Record(cells, first, line, broken)


def names_columns(cells: Sequence[str]) -> bool:
    """Whether a first row holds names rather than values: no amounts, dates or addresses, though years may be.

    >>> names_columns(["City", "2024"]), names_columns(["Ulm", "126,329"])
    (True, False)
    """
    return not any(
        (_NUMBER.match(cell) and not _YEAR.match(cell)) or _TIME.match(cell) or "@" in cell
        for cell in map(str.strip, cells)
    )


class _Lines:
    """Lines that can be put back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._back: deque[str] = deque()

    def take(self, count: int) -> list[str]:
        return [line for line in (self._next() for _ in range(count)) if line is not None]

    def put_back(self, lines: Sequence[str]) -> None:
        self._back.extendleft(reversed(lines))

    def recorded(self, taken: list[str], most: int) -> Iterator[str]:
        """The lines of one record, `most` of them at most, each also put into `taken`."""
        size = 0
        while (line := self._next()) is not None:
            taken.append(line)
            size += len(line)
            if len(taken) > most or size > RECORD_CHARACTERS:
                raise csv.Error(f"a quoted cell of more than {most:,} lines")
            yield line.replace("\0", "")

    def _next(self) -> str | None:
        return self._back.popleft() if self._back else next(self._lines, None)


def _reader(lines: Iterator[str], like: Dialect) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=like.delimiter, escapechar=like.escape, strict=True)


def _agreement(text: str, delimiter: str, escape: str | None) -> tuple[float, str, int]:
    """How well a delimiter fits, the delimiter, and the number of cells that most rows have with it."""
    rows = [one.cells for one in islice(records(text.splitlines(True), Dialect(delimiter, escape)), _SAMPLE_ROWS)]
    counts = Counter(map(len, rows))
    counts.pop(1, None)
    if not counts:
        return 0.0, delimiter, 1
    columns, agreeing = counts.most_common(1)[0]
    if len(rows[0]) == 1 and agreeing < len(rows) / 2:  # a column of texts, some of which hold this sign
        return 0.0, _NO_DELIMITER, 1
    quoted = set(_QUOTED.findall(text))
    cells = [cell.strip() for row in rows for cell in row]
    plain = sum(cell in quoted or _is_plain(cell, delimiter) for cell in cells) / len(cells)
    return agreeing / len(rows) * plain + 0.001 * min(columns, 9), delimiter, columns


def _is_plain(cell: str, delimiter: str) -> bool:
    """Whether a cell is a value, rather than several that another delimiter holds apart."""
    if _NUMBER.match(cell):
        return True
    if cell.count('"') % 2:
        return False
    return not any(other != delimiter and re.search(re.escape(other) + r"(?!\s|$)", cell) for other in DELIMITERS)


def _as_it_stands(line: str, delimiter: str) -> list[str]:
    """The cells of a line whose quotes are not CSV: one ends a cell only before a delimiter or the line's end."""
    cells: list[str] = []
    line = line.rstrip("\r\n")
    place = 0
    while place <= len(line):
        found = _cell(delimiter).match(line, place)
        assert found is not None
        quoted = found["quoted"]
        cells.append(found["bare"] if quoted is None else quoted.replace('""', '"'))
        place = found.end() + 1
    return cells


@cache
def _cell(delimiter: str) -> re.Pattern[str]:
    ends = rf"\s*(?:{re.escape(delimiter)}|$)"
    return re.compile(
        rf'[ ]*"(?P<quoted>(?>[^"]|""(?!{ends})|"(?!{ends}))*+)"[ ]*(?={re.escape(delimiter)}|$)'
        rf"|(?P<bare>[^{re.escape(delimiter)}]*)"
    )
