"""Which rows are done: one bit for each, so that a hundred million take 12 MB."""

from __future__ import annotations


class Marks:
    """A set of row numbers from 0 on.

    >>> marks = Marks()
    >>> marks.add(70)
    >>> 70 in marks, 71 in marks, len(marks)
    (True, False, 1)
    """

    def __init__(self) -> None:
        self._bits = bytearray()
        self._count = 0

    def add(self, number: int) -> None:
        """Mark a row; one that is marked stays so."""
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(self._bits):
            self._bits.extend(bytes(max(place + 1 - len(self._bits), len(self._bits) // 8)))
        if not self._bits[place] & bit:
            self._bits[place] |= bit
            self._count += 1

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] & (1 << (number & 7)))

    def __len__(self) -> int:
        return self._count
