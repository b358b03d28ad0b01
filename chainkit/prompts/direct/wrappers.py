"""`bind`, `with_config`, `with_retry` and `with_fallbacks` without their run managers."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.runnables import RunnableBinding, RunnableConfig, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.retry import RunnableRetry

from chainkit.prompts.direct.route import NORMAL, Direct, Kwargs, Route, route_for, runs
from chainkit.prompts.stock import Stock

_CALLS = ("invoke", "ainvoke", "batch", "abatch", "stream", "astream", "transform", "atransform")
_BINDING = Stock(RunnableBinding, *_CALLS, "_merge_configs")
_RETRY = Stock(RunnableRetry, *_CALLS, "_invoke", "_ainvoke", "_sync_retrying", "_async_retrying")
_FALLBACKS = Stock(RunnableWithFallbacks, *_CALLS)


@runs(RunnableBindingBase)
class BindingRoute(Route):
    """The bound step with the bound arguments."""

    def open(self, step: Any) -> bool:
        """If the binding brings no config that somebody could notice."""
        return _BINDING.kept_by(step) and _plainly_bound(step)

    def slow(self, step: Any) -> bool:
        """If the bound step is."""
        return route_for(step.bound).slow(step.bound)

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """What the bound step gives."""
        return route_for(step.bound).invoke(step.bound, value, config, {**step.kwargs, **kwargs})

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """What the bound step gives."""
        return await route_for(step.bound).ainvoke(step.bound, value, config, {**step.kwargs, **kwargs})

    def batch(self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool) -> list[Any]:
        """What the bound step gives."""
        return route_for(step.bound).batch(step.bound, values, config, {**step.kwargs, **kwargs}, keep)

    async def abatch(
        self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool
    ) -> list[Any]:
        """What the bound step gives."""
        return await route_for(step.bound).abatch(step.bound, values, config, {**step.kwargs, **kwargs}, keep)

    def transform(self, step: Any, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """What the bound step gives."""
        return route_for(step.bound).transform(step.bound, chunks, config, {**step.kwargs, **kwargs})

    def atransform(
        self, step: Any, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncIterator[Any]:
        """What the bound step gives."""
        return route_for(step.bound).atransform(step.bound, chunks, config, {**step.kwargs, **kwargs})


@runs(RunnableRetry)
class RetryRoute(BindingRoute):
    """The bound step again and again, by the same rules; streams are not repeated, as in langchain-core."""

    def open(self, step: Any) -> bool:
        """If the binding brings no config that somebody could notice."""
        return _RETRY.kept_by(step) and _plainly_bound(step)

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The first result."""
        for attempt in step._sync_retrying(reraise=True):
            with attempt:
                return super().invoke(step, value, config, kwargs)
        raise AssertionError("the last attempt raises what it met")

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The first result."""
        async for attempt in step._async_retrying(reraise=True):
            with attempt:
                return await super().ainvoke(step, value, config, kwargs)
        raise AssertionError("the last attempt raises what it met")

    def batch(self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool) -> list[Any]:
        """As langchain-core does: only what failed is tried again."""
        return NORMAL.batch(step, values, config, kwargs, keep)

    async def abatch(
        self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool
    ) -> list[Any]:
        """As langchain-core does: only what failed is tried again."""
        return await NORMAL.abatch(step, values, config, kwargs, keep)


@runs(RunnableWithFallbacks)
class FallbacksRoute(Direct):
    """One step after the other until one does not fail; batches and streams as langchain-core does them."""

    buffers = True

    def open(self, step: Any) -> bool:
        """If errors are not put into the input, and the class did not change how it is called."""
        return step.exception_key is None and _FALLBACKS.kept_by(step)

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The first result, or the first error."""
        first = None
        for runnable in step.runnables:
            try:
                return route_for(runnable).invoke(runnable, value, config, kwargs)
            except step.exceptions_to_handle as error:
                first = first or error
        assert first is not None
        raise first

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The first result, or the first error."""
        first = None
        for runnable in step.runnables:
            try:
                return await route_for(runnable).ainvoke(runnable, value, config, kwargs)
            except step.exceptions_to_handle as error:
                first = first or error
        assert first is not None
        raise first

    def batch(self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool) -> list[Any]:
        """As langchain-core does: only what failed goes to the next."""
        return NORMAL.batch(step, values, config, kwargs, keep)

    async def abatch(
        self, step: Any, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool
    ) -> list[Any]:
        """As langchain-core does: only what failed goes to the next."""
        return await NORMAL.abatch(step, values, config, kwargs, keep)

    def transform(self, step: Any, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """As langchain-core does: the next is asked as long as no chunk was given."""
        return NORMAL.transform(step, chunks, config, kwargs)

    def atransform(self, step: Any, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs) -> Any:
        """As langchain-core does: the next is asked as long as no chunk was given."""
        return NORMAL.atransform(step, chunks, config, kwargs)


def _plainly_bound(step: Any) -> bool:
    """Whether the step behaves as it would without the binding's config; a name is noticed by listeners only."""
    return not step.config_factories and all(key == "run_name" or not value for key, value in step.config.items())
