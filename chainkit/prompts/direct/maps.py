"""Dictionaries of steps, `assign`, `pick` and passing through, without their run managers."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig, RunnableParallel, RunnablePassthrough, RunnablePick
from langchain_core.runnables.config import get_executor_for_config
from langchain_core.runnables.passthrough import RunnableAssign
from langchain_core.runnables.utils import AddableDict

from chainkit.prompts.direct.route import NORMAL, NOTHING, Direct, Kwargs, Route, route_for, runs
from chainkit.prompts.stock import Stock

_CALLS = ("invoke", "ainvoke", "batch", "abatch")
_STREAMS = ("stream", "astream", "transform", "atransform", "_transform", "_atransform")
_PARALLEL = Stock(RunnableParallel, *_CALLS, *_STREAMS)
_ASSIGN = Stock(RunnableAssign, *_CALLS, *_STREAMS, "_invoke", "_ainvoke")
_PICK = Stock(RunnablePick, *_CALLS, *_STREAMS, "_pick")
_PASS = Stock(RunnablePassthrough, *_CALLS, "stream", "astream", "transform", "atransform")

Steps: TypeAlias = Mapping[str, Any]


@runs(RunnableParallel)
class ParallelRoute(Direct):
    """Every step on the same input; in threads or tasks if several of them may take long."""

    def open(self, step: Any) -> bool:
        """If the class did not change how it is called."""
        return _PARALLEL.kept_by(step)

    def slow(self, step: Any) -> bool:
        """If one of the steps is."""
        return any(route_for(part).slow(part) for part in step.steps__.values())

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> dict[str, Any]:
        """One value for each key."""
        return _each(dict(step.steps__), lambda route, part: route.invoke(part, value, config, {}), config)

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> dict[str, Any]:
        """One value for each key."""
        return await _aeach(dict(step.steps__), lambda route, part: route.ainvoke(part, value, config, {}))

    def gather(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The sum of the chunks for each key, without the keys that gave none."""
        parts = _each(dict(step.steps__), lambda route, part: route.gather(part, value, config, {}), config)
        return AddableDict({key: part for key, part in parts.items() if part is not NOTHING}) or NOTHING

    async def agather(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The sum of the chunks for each key, without the keys that gave none."""
        parts = await _aeach(dict(step.steps__), lambda route, part: route.agather(part, value, config, {}))
        return AddableDict({key: part for key, part in parts.items() if part is not NOTHING}) or NOTHING

    def transform(self, step: Any, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """As langchain-core does: what arrives first is given first."""
        return NORMAL.transform(step, chunks, config, kwargs)

    def atransform(
        self, step: Any, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncGenerator[Any]:
        """As langchain-core does: what arrives first is given first."""
        return step.atransform(chunks, config, **kwargs)


@runs(RunnableAssign)
class AssignRoute(Direct):
    """The input, and beside it one value for each key."""

    def open(self, step: Any) -> bool:
        """If neither class changed how it is called."""
        return _ASSIGN.kept_by(step) and _PARALLEL.kept_by(step.mapper)

    def slow(self, step: Any) -> bool:
        """If one of the steps is."""
        return any(route_for(part).slow(part) for part in step.mapper.steps__.values())

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> dict[str, Any]:
        """The input and the new values."""
        mapper = step.mapper
        return {**_mapping(value), **route_for(mapper).invoke(mapper, value, config, kwargs)}

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> dict[str, Any]:
        """The input and the new values."""
        mapper = step.mapper
        return {**_mapping(value), **await route_for(mapper).ainvoke(mapper, value, config, kwargs)}

    def transform(self, step: Any, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """As langchain-core does: the input goes on at once."""
        return NORMAL.transform(step, chunks, config, kwargs)

    def atransform(
        self, step: Any, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncGenerator[Any]:
        """As langchain-core does: the input goes on at once."""
        return step.atransform(chunks, config, **kwargs)


@runs(RunnablePick)
class PickRoute(Direct):
    """Some keys of a dictionary."""

    waits = False

    def open(self, step: Any) -> bool:
        """If the class did not change how it is called."""
        return _PICK.kept_by(step)

    def invoke(self, step: RunnablePick, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The value, or a dictionary for several keys."""
        return step._pick(value)

    async def ainvoke(self, step: RunnablePick, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The value, or a dictionary for several keys."""
        return step._pick(value)

    def transform(
        self, step: RunnablePick, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> Iterator[Any]:
        """What each chunk has of the keys."""
        for chunk in chunks:
            if (picked := step._pick(chunk)) is not None:
                yield picked

    async def atransform(
        self, step: RunnablePick, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncGenerator[Any]:
        """What each chunk has of the keys."""
        async for chunk in chunks:
            if (picked := step._pick(chunk)) is not None:
                yield picked


@runs(RunnablePassthrough)
class PassRoute(Direct):
    """The input itself."""

    waits = False

    def open(self, step: Any) -> bool:
        """If nothing is called on the way."""
        return step.func is None and step.afunc is None and _PASS.kept_by(step)

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The input."""
        return value

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The input."""
        return value

    def transform(self, step: Any, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """The chunks."""
        yield from chunks

    async def atransform(
        self, step: Any, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncGenerator[Any]:
        """The chunks."""
        async for chunk in chunks:
            yield chunk


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("The input to RunnablePassthrough.assign() must be a dict.")
    return value  # pyright: ignore[reportUnknownVariableType]


def _each(steps: Steps, run: Callable[[Route, Any], Any], config: RunnableConfig) -> dict[str, Any]:
    routes = {key: route_for(part) for key, part in steps.items()}
    if sum(routes[key].slow(part) for key, part in steps.items()) < 2:
        return {key: run(routes[key], part) for key, part in steps.items()}
    with get_executor_for_config(config) as executor:
        futures = [executor.submit(run, routes[key], part) for key, part in steps.items()]
        return {key: future.result() for key, future in zip(steps, futures, strict=True)}


async def _aeach(steps: Steps, run: Callable[[Route, Any], Awaitable[Any]]) -> dict[str, Any]:
    routes = {key: route_for(part) for key, part in steps.items()}
    slow = [key for key, part in steps.items() if routes[key].slow(part)]
    if len(slow) < 2:
        quick = [key for key in steps if key not in slow]  # first, as its errors come first when all start together
        done = {key: await run(routes[key], steps[key]) for key in [*quick, *slow]}
        return {key: done[key] for key in steps}
    values = await asyncio.gather(*(run(routes[key], part) for key, part in steps.items()))
    return dict(zip(steps, values, strict=True))
