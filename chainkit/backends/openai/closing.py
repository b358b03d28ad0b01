"""When the connections of an asynchronous client are closed: when its model is gone, or with its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from weakref import WeakSet

from chainkit.backends.openai.segments import AsyncJoiningStream
from chainkit.base.errors import MissingLibrary

try:
    import httpx2
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error

OPEN: set[Keeper] = set()
"""Holds what closes a client, and so the client, until that is done; the collector would drop connections unclosed."""


class Keeper:
    """Closes a client in its event loop.

    `asyncio.run`, and whatever else shuts a loop down in good order, closes every asynchronous generator that was
    started in it, after it has cancelled all tasks. A keeper starts one, so no connection outlives its loop.
    """

    def __init__(
        self, http: httpx2.AsyncClient, opened: WeakSet[AsyncJoiningStream], at_end: Callable[[], None]
    ) -> None:
        self._http = http
        self._opened = opened
        self._at_end = at_end
        self._loop = asyncio.get_running_loop()
        self._guard = self._guarded()
        self._leaving: asyncio.Task[None] | None = None
        self._ending = False
        self._closed = False

    @property
    def too_late(self) -> bool:
        """Whether the loop ended in bad order, and nothing can be closed any more."""
        return self._loop.is_closed()

    async def start(self) -> None:
        """Let the loop know; from now on it closes the client when it ends."""
        OPEN.difference_update([other for other in list(OPEN) if other.too_late])
        OPEN.add(self)
        await anext(self._guard)

    def model_gone(self) -> None:
        """Close the client soon; may be called in any thread, and while the loop ends."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._leave)

    async def _guarded(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._ending = True
            self._at_end()
            if self._leaving is not None and not self._closed:
                await asyncio.wait([self._leaving])
            if not self._closed:
                await self._close()
            OPEN.discard(self)

    def _leave(self) -> None:
        if not self._ending:
            self._leaving = self._loop.create_task(self._let_go())

    async def _let_go(self) -> None:
        await self._close()
        if not self._ending:
            await self._guard.aclose()

    async def _close(self) -> None:
        """Close every connection, also those that are left when this is cancelled on the way."""
        cancelled: asyncio.CancelledError | None = None
        try:
            for stream in list(self._opened):
                try:
                    await stream.aclose()  # closes at once, and then lets the loop take note of it
                except asyncio.CancelledError as error:
                    cancelled = error
            await self._http.aclose()
        finally:
            self._closed = True
        if cancelled is not None:
            raise cancelled
