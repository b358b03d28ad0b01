"""Generations in a worker thread, so that an event loop is never blocked; ending the task ends the generation."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from chainkit.base.errors import ChainkitError, Unsupported

T = TypeVar("T")

# they mostly wait: one of them computes for all, so there must be as many as generations that go on side by side
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="chainkit-generation")


class OwnProcess:
    """Remembers in which process it was made.

    A fork copies memory and no threads, so a model of the parent would wait in the child for threads that are gone.
    """

    def __init__(self) -> None:
        self._id = os.getpid()

    def check(self) -> None:
        """Refuse to go on in a child.

        Raises:
            Unsupported: This process was forked from the one that loaded the model.
        """
        if os.getpid() != self._id:
            raise Unsupported(
                "this model was loaded before the process was forked and cannot compute in the child; load it after "
                'the fork, or start children by multiprocessing.get_context("spawn")'
            )


class Cancelled(ChainkitError):
    """A generation was told to stop."""


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


async def stream_from_thread(make: Callable[[threading.Event], Iterator[T]]) -> AsyncIterator[T]:
    """The items of an iterator that runs in a thread; it stops when the consumer goes away."""
    loop, stop = asyncio.get_running_loop(), threading.Event()
    items: asyncio.Queue[T | BaseException | None] = asyncio.Queue()

    def put(item: T | BaseException | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(items.put_nowait, item)

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
            put(None)

    future = loop.run_in_executor(_THREADS, run)
    try:
        while (item := await items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
        await future
    finally:
        stop.set()
