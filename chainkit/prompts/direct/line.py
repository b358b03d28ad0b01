"""Steps in a line, each on what the one before it gave, without their run managers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, cast

from langchain_core.runnables import RunnableConfig, RunnableParallel, RunnableSequence

from chainkit.prompts.direct.route import NOTHING, Kwargs, Route, Step, once, route_for, runs
from chainkit.prompts.stock import Stock

_ENTRANCES = Stock(
    RunnableSequence,
    *("invoke", "ainvoke", "batch", "abatch", "stream", "astream"),
    *("transform", "atransform", "_transform", "_atransform"),
)


def invoke(steps: Sequence[Step], value: Any, config: RunnableConfig) -> Any:
    """One input through all steps."""
    for step in steps:
        value = route_for(step).invoke(step, value, config, {})
    return value


async def ainvoke(steps: Sequence[Step], value: Any, config: RunnableConfig) -> Any:
    """One input through all steps."""
    for step in steps:
        value = await route_for(step).ainvoke(step, value, config, {})
    return value


def batch(steps: Sequence[Step], values: list[Any], config: RunnableConfig, keep: bool) -> list[Any]:
    """All inputs through one step after the other; what failed stays behind."""
    outcome = _Outcome(values)
    for step in steps:
        if not outcome.alive:
            break
        outcome.went(route_for(step).batch(step, outcome.values, config, {}, keep))
    return outcome.all


async def abatch(steps: Sequence[Step], values: list[Any], config: RunnableConfig, keep: bool) -> list[Any]:
    """All inputs through one step after the other; what failed stays behind."""
    outcome = _Outcome(values)
    for step in steps:
        if not outcome.alive:
            break
        outcome.went(await route_for(step).abatch(step, outcome.values, config, {}, keep))
    return outcome.all


class _Outcome:
    """The results so far: values that go on, and exceptions that stay where they came up."""

    def __init__(self, values: list[Any]) -> None:
        self.all = list(values)
        self.alive = list(range(len(values)))

    @property
    def values(self) -> list[Any]:
        return [self.all[index] for index in self.alive]

    def went(self, results: list[Any]) -> None:
        for index, result in zip(self.alive, results, strict=True):
            self.all[index] = result
        self.alive = [index for index in self.alive if not isinstance(self.all[index], Exception)]


def stream(steps: Sequence[Step], value: Any, config: RunnableConfig) -> Iterator[Any]:
    """One input through all steps, in chunks."""
    if _gathers(steps):
        first, *steps = steps
        value = route_for(first).gather(first, value, config, {})
    return transform(steps, iter([] if value is NOTHING else [value]), config)


async def astream(steps: Sequence[Step], value: Any, config: RunnableConfig) -> AsyncGenerator[Any]:
    """One input through all steps, in chunks."""
    if _gathers(steps):
        first, *steps = steps
        value = await route_for(first).agather(first, value, config, {})
        if value is NOTHING:
            return
    async with aclosing(atransform(steps, once(value), config)) as chunks:
        async for chunk in chunks:
            yield chunk


def _gathers(steps: Sequence[Step]) -> bool:
    """Whether the second step waits for all that a dictionary of steps gives, so that their order does not matter."""
    return len(steps) > 1 and isinstance(steps[0], RunnableParallel) and route_for(steps[1]).buffers


def transform(steps: Sequence[Step], chunks: Iterator[Any], config: RunnableConfig) -> Iterator[Any]:
    """Chunks through all steps."""
    for step in steps:
        chunks = route_for(step).transform(step, chunks, config, {})
    return chunks


async def atransform(steps: Sequence[Step], chunks: AsyncIterator[Any], config: RunnableConfig) -> AsyncGenerator[Any]:
    """Chunks through all steps; what is left open is closed at the end, the last step first."""
    async with AsyncExitStack() as opened:
        for step in steps:
            chunks = route_for(step).atransform(step, chunks, config, {})
            if hasattr(chunks, "aclose"):
                await opened.enter_async_context(aclosing(cast("AsyncGenerator[Any]", chunks)))
        async for chunk in chunks:
            yield chunk


@runs(RunnableSequence)
class LineRoute(Route):
    """A line of steps inside another."""

    def open(self, step: Any) -> bool:
        """If the class did not change how it is called."""
        return _ENTRANCES.kept_by(step)

    def slow(self, step: Any) -> bool:
        """If one of the steps is."""
        return any(route_for(part).slow(part) for part in step.steps)

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """One input through all steps."""
        return step.invoke(value, config, **kwargs) if kwargs else invoke(step.steps, value, config)

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """One input through all steps."""
        return await (step.ainvoke(value, config, **kwargs) if kwargs else ainvoke(step.steps, value, config))

    def batch(self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool) -> list[Any]:
        """All inputs through one step after the other."""
        if kwargs:
            return super().batch(step, values, config, kwargs, keep)
        return batch(step.steps, values, config, keep)

    async def abatch(
        self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool
    ) -> list[Any]:
        """All inputs through one step after the other."""
        if kwargs:
            return await super().abatch(step, values, config, kwargs, keep)
        return await abatch(step.steps, values, config, keep)

    def transform(self, step: Any, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """Chunks through all steps."""
        return step.transform(chunks, config, **kwargs) if kwargs else transform(step.steps, chunks, config)

    def atransform(
        self, step: Any, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncIterator[Any]:
        """Chunks through all steps."""
        return step.atransform(chunks, config, **kwargs) if kwargs else atransform(step.steps, chunks, config)
