"""Generations in a worker thread, so that an event loop is never blocked; ending the task ends the generation."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from chainkit.base.errors import ChainkitError, Unsupported

T = TypeVar("T")

_PAUSE_SECONDS = 0.01  # between two items for which an event loop is woken

# they mostly wait: one of them computes for all, so there must be as many as concurrent generations
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="chainkit-generation")


class OwnProcess:
    """Remembers in which process it was made.

    A fork copies memory and no threads, so a model of the parent would wait in the child for threads that are gone.
    """

    def __init__(self) -> None:
        self._id = os.getpid()

    def check(self) -> None:
        """Refuse to run in a forked child.

        Raises:
            Unsupported: This process was forked from the one that loaded the model.
        """
        if os.getpid() != self._id:
            raise Unsupported(
                "this model was loaded before the process was forked and cannot compute in the child; load it after "
                'the fork, or start children by multiprocessing.get_context("spawn")'
            )


class Cancelled(ChainkitError):
    """A generation was cancelled."""


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """Run `work` in a thread; the event it is given is set when the task is cancelled."""
    stop = threading.Event()

    def run() -> T | None:
        try:
            return work(stop)
        except Cancelled:
            return None  # nobody waits for it any more

    future = asyncio.get_running_loop().run_in_executor(_THREADS, run)
    try:
        result = await asyncio.shield(future)
    finally:
        stop.set()
    assert result is not None  # only a cancelled run has none, and then `await` has raised
    return result


class _Mailbox(Generic[T]):
    """Items from a thread for a coroutine.

    However many have come, the event loop is woken once for all. What comes within ten milliseconds waits for their
    end: a model that writes more than 100 tokens a second would do little else than wake.

    Args:
        loop: That of the coroutine.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[T] = deque()
        self._called = False
        self._waiting: asyncio.Future[None] | None = None
        self._woken = -_PAUSE_SECONDS
        self._later: asyncio.TimerHandle | None = None

    def put(self, item: T, *, last: bool = False) -> None:
        """Leave an item; from the thread. The last one does not wait."""
        self._items.append(item)
        if (last or not self._called) and not self._loop.is_closed():
            self._called = True
            self._loop.call_soon_threadsafe(self._wake if last else self._wake_soon)

    async def get(self) -> T:
        """The next item; from the event loop."""
        while not self._items:
            self._waiting = self._loop.create_future()
            await self._waiting
        return self._items.popleft()

    def _wake_soon(self) -> None:
        due = self._woken + _PAUSE_SECONDS
        if self._loop.time() >= due:
            self._wake()
        else:
            self._later = self._loop.call_at(due, self._wake)

    def _wake(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._called = False  # before the items are looked at, so that none is missed
        self._woken = self._loop.time()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


async def stream_from_thread(make: Callable[[threading.Event], Iterator[T]]) -> AsyncIterator[T]:
    """The items of an iterator that runs in a thread; it stops when the consumer goes away."""
    loop, stop = asyncio.get_running_loop(), threading.Event()
    items: _Mailbox[T | BaseException | None] = _Mailbox(loop)
    put = items.put

    def run() -> None:
        try:
            for item in make(stop):
                if stop.is_set():
                    return
                put(item)
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            put(error)
        finally:
            put(None, last=True)

    future = loop.run_in_executor(_THREADS, run)
    try:
        while (item := await items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
        await future
    finally:
        stop.set()
