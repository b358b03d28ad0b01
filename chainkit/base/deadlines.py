"""A limit on time that every wait of a call consults, however many waits there are."""

from __future__ import annotations

import time


class Until(float):
    """Seconds that one wait may take, and the moment at which the waits as a whole are over.

    It is a number, so libraries pass it on as their timeout; what waits asks `left()` each time. A server that sends
    one byte a second is never silent for long, and is stopped all the same.

    >>> limit = Until(5, together=True)
    >>> 4.9 < limit.left() <= 5
    True

    Args:
        seconds: The longest single wait.
        deadline: When all is over, by `time.monotonic()`; None for no such moment.
        together: Whether all waits together may take no longer than `seconds`, counted from the first.
    """

    _deadline: float | None
    _together: bool

    def __new__(cls, seconds: float, *, deadline: float | None = None, together: bool = False) -> Until:
        """Make the limit."""
        made = super().__new__(cls, seconds)
        made._deadline, made._together = deadline, together
        return made

    def left(self) -> float:
        """Seconds that the next wait may take; 0 or less if the time is over."""
        now, seconds = time.monotonic(), float(self)
        if self._together:
            end = now + seconds
            self._deadline, self._together = end if self._deadline is None else min(end, self._deadline), False
        return seconds if self._deadline is None else min(seconds, self._deadline - now)
