"""Several streams as one, in the order in which their items come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def merged(streams: Sequence[AsyncIterator[T]]) -> AsyncIterator[tuple[int, T]]:
    """The items of all streams, each with the place of its stream; the error of one ends all."""
    if len(streams) == 1:
        async with aclosing(streams[0]) as only:  # pyright: ignore[reportArgumentType] - generators all
            async for item in only:
                yield 0, item
        return
    queue: asyncio.Queue[tuple[int, T] | BaseException | None] = asyncio.Queue()

    async def feed(place: int, stream: AsyncIterator[T]) -> None:
        try:
            async with aclosing(stream) as items:  # pyright: ignore[reportArgumentType]
                async for item in items:
                    queue.put_nowait((place, item))
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            queue.put_nowait(error)
        finally:
            queue.put_nowait(None)

    tasks = [asyncio.ensure_future(feed(place, stream)) for place, stream in enumerate(streams)]
    left = len(tasks)
    try:
        while left:
            item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
