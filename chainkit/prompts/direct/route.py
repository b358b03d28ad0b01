"""The two ways to run a step: as langchain-core does, or directly."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias, cast
from weakref import WeakKeyDictionary

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_executor_for_config
from langchain_core.runnables.utils import gather_with_concurrency

Step: TypeAlias = Runnable[Any, Any]
Kwargs: TypeAlias = Mapping[str, Any]

NOTHING: Any = object()
"""Stands for an input that never came."""


class Route:
    """The way of langchain-core, and the base of the direct ways.

    A route has no state: the step, its input, the config of the run and the bound arguments are given each time. Of
    the config a direct way needs only `max_concurrency` and `recursion_limit`.

    Attributes:
        waits: Running the step may take long, so that several are better run side by side.
        buffers: Given chunks, the step adds them up before it begins.
    """

    waits = True
    buffers = False

    def open(self, step: Any) -> bool:
        """Whether this step can be run this way now, without changing what it does."""
        return True

    def slow(self, step: Any) -> bool:
        """Whether this very step `waits`."""
        return self.waits

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """One input, one output."""
        return step.invoke(value, config, **kwargs)

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """One input, one output."""
        return await step.ainvoke(value, config, **kwargs)

    def batch(self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool) -> list[Any]:
        """One output, or the exception if `keep`, for each input."""
        return step.batch(values, [config] * len(values), return_exceptions=keep, **kwargs)

    async def abatch(
        self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool
    ) -> list[Any]:
        """One output, or the exception if `keep`, for each input."""
        return await step.abatch(values, [config] * len(values), return_exceptions=keep, **kwargs)

    def gather(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """All chunks that one input gives, added up; `NOTHING` if there are none."""
        return gathered(self.transform(step, iter([value]), config, kwargs))

    async def agather(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """All chunks that one input gives, added up; `NOTHING` if there are none."""
        return await agathered(self.atransform(step, once(value), config, kwargs))

    def transform(self, step: Any, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """Chunks of output while chunks of input arrive."""
        return step.transform(chunks, config, **kwargs)

    def atransform(
        self, step: Any, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncIterator[Any]:
        """Chunks of output while chunks of input arrive."""
        return step.atransform(chunks, config, **kwargs)


class Direct(Route):
    """A way of its own for single inputs; the others are made of it, as in `Runnable`."""

    def batch(self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool) -> list[Any]:
        """One output for each input; in threads if the step waits."""

        def run(value: Any) -> Any:
            try:
                return self.invoke(step, value, config, kwargs)
            except Exception as error:
                if not keep:
                    raise
                return error

        if len(values) == 1 or not self.slow(step):
            return [run(value) for value in values]
        with get_executor_for_config(config) as executor:
            return list(executor.map(run, values))

    async def abatch(
        self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool
    ) -> list[Any]:
        """One output for each input; side by side if the step waits."""

        async def run(value: Any) -> Any:
            try:
                return await self.ainvoke(step, value, config, kwargs)
            except Exception as error:
                if not keep:
                    raise
                return error

        if not self.slow(step):
            return [await run(value) for value in values]
        return await gather_with_concurrency(config.get("max_concurrency"), *map(run, values))

    def stream(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """One input, chunks of output."""
        yield self.invoke(step, value, config, kwargs)

    async def astream(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> AsyncGenerator[Any]:
        """One input, chunks of output."""
        yield await self.ainvoke(step, value, config, kwargs)

    def transform(self, step: Any, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """Gather the input, then stream."""
        value = gathered(chunks)
        if value is not NOTHING:
            yield from self.stream(step, value, config, kwargs)

    def atransform(
        self, step: Any, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncIterator[Any]:
        """Gather the input, then stream."""
        return self._gathered_stream(step, chunks, config, kwargs)

    async def _gathered_stream(
        self, step: Any, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncGenerator[Any]:
        value = await agathered(chunks)
        if value is not NOTHING:
            async with aclosing(self.astream(step, value, config, kwargs)) as outputs:
                async for output in outputs:
                    yield output


NORMAL = Route()

_ROUTES: dict[type, Route] = {}
_BY_KIND: WeakKeyDictionary[type, Route] = WeakKeyDictionary()


def runs(*kinds: type) -> Callable[[type[Route]], type[Route]]:
    """Name the classes of steps that a route is for; subclasses are asked about by `open`."""

    def enter(route: type[Route]) -> type[Route]:
        _ROUTES.update(dict.fromkeys(kinds, route()))
        return route

    return enter


def route_for(step: Any) -> Route:
    """The direct way for a step if there is one and it is open, else the way of langchain-core."""
    kind: type = cast("Any", type(step))
    route = _BY_KIND.get(kind)
    if route is None:
        route = next((_ROUTES[base] for base in kind.__mro__ if base in _ROUTES), NORMAL)
        _BY_KIND[kind] = route
    return route if route.open(step) else NORMAL


async def once(value: Any) -> AsyncGenerator[Any]:
    """A stream of one chunk."""
    yield value


def added(total: Any, chunk: Any) -> Any:
    """The sum of two chunks, or the later one if they cannot be added."""
    if total is NOTHING:
        return chunk
    try:
        return total + chunk
    except TypeError:
        return chunk


def gathered(chunks: Iterator[Any]) -> Any:
    """All chunks as one value; `NOTHING` if there are none."""
    total = NOTHING
    for chunk in chunks:
        total = added(total, chunk)
    return total


async def agathered(chunks: AsyncIterator[Any]) -> Any:
    """All chunks as one value; `NOTHING` if there are none."""
    total = NOTHING
    async for chunk in chunks:
        total = added(total, chunk)
    return total
