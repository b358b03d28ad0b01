"""Code written once that runs sync and async: generators that ask for what takes time, and two loops that do it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """Something that takes time.

    Attributes:
        now: Does it while the caller waits.
        later: Does it without blocking the event loop.
    """

    now: Callable[[], T]
    later: Callable[[], Awaitable[T]]

    def wanted(self) -> Generator[Work[Any] | str, Any, T]:
        """Ask for it and give its result: `found = yield from work.wanted()`."""
        return cast(T, (yield self))


Steps = Generator[Work[Any] | str, Any, T]
"""Asks for work, gives pieces of text, and returns a result."""


def in_thread(function: Callable[[], T]) -> Work[T]:
    """Work that is only sync, and goes to a worker thread where nothing may block."""

    async def later() -> T:
        from langchain_core.runnables.config import run_in_executor

        return await run_in_executor(None, function)

    return Work(function, later)


class Pieces:
    """What a model writes, chunk by chunk, sync or async.

    Args:
        model: A LangChain model.
        value: Its input.
        settings: Settings of the call.
    """

    def __init__(self, model: Any, value: Any, settings: dict[str, Any]) -> None:
        self._model, self._value, self._settings = model, value, settings
        self._chunks: Any = None

    def following(self) -> Work[Any]:
        """The next chunk; None after the last one."""
        return Work(self._next, self._anext)

    def close(self) -> Work[None]:
        """Stop the model."""
        return Work(self._close, self._aclose)

    def _next(self) -> Any:
        if self._chunks is None:
            self._chunks = iter(self._model.stream(self._value, **self._settings))
        return next(self._chunks, None)

    async def _anext(self) -> Any:
        if self._chunks is None:
            self._chunks = aiter(self._model.astream(self._value, **self._settings))
        return await anext(self._chunks, None)

    def _close(self) -> None:
        if hasattr(self._chunks, "close"):
            self._chunks.close()

    async def _aclose(self) -> None:
        if hasattr(self._chunks, "aclose"):
            await self._chunks.aclose()


def pieces(steps: Steps[Any]) -> Iterator[str]:
    """The pieces of text that a generator gives, its work done in between."""
    done: Any = None
    try:
        while True:
            try:
                step = steps.send(done)
            except StopIteration:
                return
            done = None
            if isinstance(step, str):
                yield step
            else:
                done = step.now()
    finally:
        steps.close()


async def apieces(steps: Steps[Any]) -> AsyncIterator[str]:
    """As `pieces`, without blocking the event loop."""
    done: Any = None
    try:
        while True:
            try:
                step = steps.send(done)
            except StopIteration:
                return
            done = None
            if isinstance(step, str):
                yield step
            else:
                done = await step.later()
    finally:
        steps.close()


def result(steps: Steps[T]) -> T:
    """What a generator returns, its work done and its text passed over."""
    done: Any = None
    try:
        while True:
            step = steps.send(done)
            done = None if isinstance(step, str) else step.now()
    except StopIteration as end:
        return cast(T, end.value)
    finally:
        steps.close()


async def aresult(steps: Steps[T]) -> T:
    """As `result`, without blocking the event loop."""
    done: Any = None
    try:
        while True:
            step = steps.send(done)
            done = None if isinstance(step, str) else await step.later()
    except StopIteration as end:
        return cast(T, end.value)
    finally:
        steps.close()
