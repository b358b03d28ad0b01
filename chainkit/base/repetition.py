"""Text that a model repeats over and over: seen while it is written, so that it can be stopped."""

from __future__ import annotations

import re

KEPT = 1_600
"""Characters at the end of a text that are looked at."""
STEP = 16
LONG_UNIT, LONG_TIMES = 40, 3
RUN, TIMES = 200, 4
SIGN_RUN, SIGN_TIMES = 120, 6
_DIGITS = re.compile(r"\d+")
_LETTERS = 12  # in a unit in which numbers may differ


class Repetition:
    """Watches a text that arrives in pieces for a unit that follows itself again and again at its end.

    A unit of `LONG_UNIT` characters or more may stand twice, a shorter one may fill `RUN` characters, and signs without
    a letter `SIGN_RUN`. Where the unit has words, numbers in it may differ, as in a list that only counts.

    Attributes:
        found: Whether the text repeats itself.

    >>> loop = Repetition()
    >>> [loop.feed(piece) for piece in ("The bee is a bee that keeps the bee in its hive. " * n for n in (1, 1, 3))]
    [False, False, True]
    """

    def __init__(self) -> None:
        self.found = False
        self._tail = ""
        self._unseen = 0

    def feed(self, piece: str) -> bool:
        """Whether the text repeats itself, this piece included."""
        if self.found or not piece:
            return self.found
        self._tail = (self._tail + piece)[-KEPT:]
        self._unseen += len(piece)
        if self._unseen >= STEP:
            self._unseen = 0
            self.found = repeats(self._tail)
        return self.found


def repeats(text: str) -> bool:
    """Whether a text ends with something that is repeated.

    >>> repeats("ab " * 100), repeats("-" * 80), repeats("".join(f"{n}\\n" for n in range(300)))
    (True, False, False)
    """
    if _ends_in_a_loop(text, may_differ=False):
        return True
    return _ends_in_a_loop(_DIGITS.sub("0", text), may_differ=True)


def _ends_in_a_loop(text: str, *, may_differ: bool) -> bool:
    turned = text[::-1]
    borders = [0] * len(turned)  # Knuth, Morris and Pratt's failure function: prefix i+1 has the period i+1-borders[i]
    length = 0
    for at in range(1, len(turned)):
        while length and turned[at] != turned[length]:
            length = borders[length - 1]
        if turned[at] == turned[length]:
            length += 1
        borders[at] = length
        period = at + 1 - length
        if length and _too_often(turned[:period], at + 1, may_differ=may_differ):
            return True
    return False


def _too_often(unit: str, run: int, *, may_differ: bool) -> bool:
    period = len(unit)
    if run < SIGN_RUN or run < LONG_TIMES * period:
        return False
    letters = sum(map(str.isalpha, unit))
    if may_differ:
        return letters >= _LETTERS and run >= RUN and run >= TIMES * period
    if period >= LONG_UNIT and letters:
        return True
    if letters or any(map(str.isdecimal, unit)):
        return run >= RUN and run >= TIMES * period
    return period > 1 and run >= SIGN_TIMES * period
