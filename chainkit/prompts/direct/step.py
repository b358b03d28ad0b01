"""One step of a chain in one run: as langchain-core runs it, or directly, without its run manager."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from types import FunctionType
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_executor_for_config
from langchain_core.runnables.utils import gather_with_concurrency

NOTHING: Any = object()
"""Stands for an input that never came."""


class StepRun:
    """A step as langchain-core runs it, with the config of the run and the arguments that were bound to it.

    Attributes:
        buffers: Given chunks, the step adds them up before it begins.
        waits: The step may take long, so that several are better run side by side.
    """

    buffers = False
    waits = True

    def __init__(self, step: Any, config: RunnableConfig, kwargs: Mapping[str, Any]) -> None:
        self.step = step
        self.config = config
        self.kwargs = kwargs

    def fits(self) -> bool:
        """Whether this class can run the step with unchanged behaviour."""
        return True

    def invoke(self, value: Any) -> Any:
        """One input, one output."""
        return self.step.invoke(value, self.config, **self.kwargs)

    async def ainvoke(self, value: Any) -> Any:
        """One input, one output."""
        return await self.step.ainvoke(value, self.config, **self.kwargs)

    def batch(self, values: list[Any], keep: bool) -> list[Any]:
        """One output, or the exception if `keep`, for each input."""
        return self.step.batch(values, [self.config] * len(values), return_exceptions=keep, **self.kwargs)

    async def abatch(self, values: list[Any], keep: bool) -> list[Any]:
        """One output, or the exception if `keep`, for each input."""
        return await self.step.abatch(values, [self.config] * len(values), return_exceptions=keep, **self.kwargs)

    def transform(self, chunks: Iterator[Any]) -> Iterator[Any]:
        """Chunks of output while chunks of input arrive."""
        return self.step.transform(chunks, self.config, **self.kwargs)

    def atransform(self, chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Chunks of output while chunks of input arrive."""
        return self.step.atransform(chunks, self.config, **self.kwargs)


class Direct(StepRun):
    """A step that defines `invoke`, and `ainvoke` if it waits; other methods build on these, as in `Runnable`."""

    buffers = True

    async def ainvoke(self, value: Any) -> Any:
        """One input, one output."""
        return self.invoke(value)

    def batch(self, values: list[Any], keep: bool) -> list[Any]:
        """One output for each input; in threads if the step waits."""

        def run(value: Any) -> Any:
            try:
                return self.invoke(value)
            except Exception as error:
                if not keep:
                    raise
                return error

        if len(values) == 1 or not self.waits:
            return [run(value) for value in values]
        with get_executor_for_config(self.config) as executor:
            return list(executor.map(run, values))

    async def abatch(self, values: list[Any], keep: bool) -> list[Any]:
        """One output for each input; side by side if the step waits."""

        async def run(value: Any) -> Any:
            try:
                return await self.ainvoke(value)
            except Exception as error:
                if not keep:
                    raise
                return error

        if not self.waits:
            return [await run(value) for value in values]
        return await gather_with_concurrency(self.config.get("max_concurrency"), *map(run, values))

    def stream(self, value: Any) -> Iterator[Any]:
        """One input, chunks of output."""
        yield self.invoke(value)

    async def astream(self, value: Any) -> AsyncGenerator[Any]:
        """One input, chunks of output."""
        yield await self.ainvoke(value)

    def transform(self, chunks: Iterator[Any]) -> Iterator[Any]:
        """Gather the input, then stream."""
        value = gathered(chunks)
        if value is not NOTHING:
            yield from self.stream(value)

    async def atransform(self, chunks: AsyncIterator[Any]) -> AsyncGenerator[Any]:
        """Gather the input, then stream."""
        value = await agathered(chunks)
        if value is not NOTHING:
            async with aclosing(self.astream(value)) as outputs:
                async for output in outputs:
                    yield output


def of_core(function: object) -> bool:
    """Whether a function is written in langchain-core: `functools.wraps` changes a name, but not the globals."""
    return type(function) is FunctionType and str(function.__globals__.get("__name__")).startswith("langchain_core.")


async def once(value: Any) -> AsyncGenerator[Any]:
    """A stream of one chunk."""
    yield value


def gathered(chunks: Iterator[Any]) -> Any:
    """The sum of all chunks, the last one where they cannot be added; `NOTHING` if there are none."""
    total = NOTHING
    for chunk in chunks:
        total = _added(total, chunk)
    return total


async def agathered(chunks: AsyncIterator[Any]) -> Any:
    """The sum of all chunks, the last one where they cannot be added; `NOTHING` if there are none."""
    total = NOTHING
    async for chunk in chunks:
        total = _added(total, chunk)
    return total


def _added(total: Any, chunk: Any) -> Any:
    try:
        return chunk if total is NOTHING else total + chunk
    except TypeError:
        return chunk
