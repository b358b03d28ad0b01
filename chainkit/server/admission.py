"""Admission control: how many requests run, how many wait, and the refusal of the rest."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chainkit.server.faults import RequestFault

_WEIGHT = 0.1  # of the newest request in the mean time that one takes


class Admission:
    """Lets requests in, in order of arrival.

    Args:
        running: How many at once.
        waiting: How many wait for those.

    Attributes:
        active: How many run.
        refused: How many were refused so far.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self.active = 0
        self.refused = 0
        self.closed = False
        self._most, self._most_waiting = running, waiting
        self._queue: deque[asyncio.Future[None]] = deque()
        self._seconds = 1.0  # mean time of a request

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among those that run, from now or later.

        Raises:
            RequestFault: As many wait as may (429, with the time after which there is probably room), or the server
                is about to stop (503).
        """
        await self._enter()
        begin = time.monotonic()
        try:
            yield
        finally:
            self._seconds += _WEIGHT * (time.monotonic() - begin - self._seconds)
            self._leave()

    async def _enter(self) -> None:
        if self.closed:
            raise RequestFault(503, "the server is about to stop", kind="server_error", code="stopping", retry_after=5)
        if self.active < self._most and not self._queue:
            self.active += 1
            return
        if len(self._queue) >= self._most_waiting:
            self.refused += 1
            raise RequestFault(
                429,
                f"{self.active} requests are being answered and {len(self._queue)} wait; try again later",
                kind="rate_limit_error",
                code="queue_full",
                retry_after=self._seconds * (len(self._queue) + 1) / self._most,
            )
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the place was given a moment before
            else:
                self._queue.remove(turn)
            raise

    def _leave(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)  # the place goes over
                return
        self.active -= 1
