"""langchain-core's sequence, which runs its steps directly while nobody listens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables import base as core
from langchain_core.runnables.config import var_child_runnable_config

from chainkit.prompts.direct import line
from chainkit.prompts.direct.route import runs
from chainkit.prompts.unobserved import unheard

if TYPE_CHECKING:
    from chainkit.prompts.explain import Explanation

Input = TypeVar("Input")
Output = TypeVar("Output")


class RunnableSequence(core.RunnableSequence[Input, Output]):
    """Steps one after the other, as made by `|`: a `RunnableSequence` of langchain-core in all that can be seen.

    When no callback, tracer, tag, metadata or configurable value is there to notice, the steps are run without
    their run managers, with the same results and errors. As soon as somebody listens, langchain-core runs the
    sequence, event for event. Its name is the name of its base class, because tracers and serialised chains show it.

    >>> from langchain_core.runnables import RunnableLambda
    >>> RunnableSequence(RunnableLambda(len), RunnableLambda(str)).invoke([1, 2])
    '2'
    """

    def __init__(
        self, *steps: Any, name: str | None = None, first: Any = None, middle: list[Any] | None = None, last: Any = None
    ) -> None:
        super().__init__(*steps, name=name, first=first, middle=middle, last=last)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Run all steps on one input."""
        if kwargs or (quiet := unheard(config)) is None:
            return super().invoke(input, config, **kwargs)
        context = copy_context()
        context.run(var_child_runnable_config.set, quiet)
        return context.run(line.invoke, self.steps, input, quiet)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Run all steps on one input."""
        if kwargs or (quiet := unheard(config)) is None:
            return await super().ainvoke(input, config, **kwargs)
        token = var_child_runnable_config.set(quiet)
        try:
            return await line.ainvoke(self.steps, input, quiet)
        finally:
            var_child_runnable_config.reset(token)

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Run all inputs through one step after the other, each step on all of them at once."""
        if kwargs or not inputs or isinstance(config, list) or (quiet := unheard(config)) is None:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        context = copy_context()
        context.run(var_child_runnable_config.set, _unlimited(quiet))
        return context.run(line.batch, self.steps, inputs, quiet, return_exceptions)

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Run all inputs through one step after the other, each step on all of them at once."""
        if kwargs or not inputs or isinstance(config, list) or (quiet := unheard(config)) is None:
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        token = var_child_runnable_config.set(_unlimited(quiet))
        try:
            return await line.abatch(self.steps, inputs, quiet, return_exceptions)
        finally:
            var_child_runnable_config.reset(token)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """Run all steps on one input and give the output in chunks."""
        if kwargs or (quiet := unheard(config)) is None:
            yield from super().stream(input, config, **kwargs)
        else:
            yield from within(quiet, lambda: line.stream(self.steps, input, quiet))

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Any]:
        """Run all steps on one input and give the output in chunks."""
        if kwargs or (quiet := unheard(config)) is None:
            chunks = super().astream(input, config, **kwargs)
        else:
            chunks = awithin(quiet, line.astream(self.steps, input, quiet))
        async with aclosing(cast("AsyncGenerator[Any]", chunks)) as outputs:
            async for output in outputs:
                yield output

    def transform(
        self,
        input: Iterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Run all steps on chunks as they arrive."""
        if kwargs or (quiet := unheard(config)) is None:
            yield from super().transform(input, config, **kwargs)
        else:
            yield from within(quiet, lambda: line.transform(self.steps, input, quiet))

    async def atransform(
        self,
        input: AsyncIterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Any]:
        """Run all steps on chunks as they arrive."""
        if kwargs or (quiet := unheard(config)) is None:
            chunks = super().atransform(input, config, **kwargs)
        else:
            chunks = awithin(quiet, line.atransform(self.steps, input, quiet))
        async with aclosing(cast("AsyncGenerator[Any]", chunks)) as outputs:
            async for output in outputs:
                yield output

    def __or__(self, other: Any) -> RunnableSequence[Any, Any]:
        """This sequence, then another step."""
        name = self.name or (other.name if isinstance(other, core.RunnableSequence) else None)
        return RunnableSequence(*self.steps, other, name=name)

    def __ror__(self, other: Any) -> RunnableSequence[Any, Any]:
        """Another step, then this sequence."""
        name = (cast("Any", other).name if isinstance(other, core.RunnableSequence) else None) or self.name
        return RunnableSequence(other, *self.steps, name=name)

    def pipe(self, *others: Any, name: str | None = None) -> RunnableSequence[Any, Any]:
        """This sequence, then other steps."""
        return RunnableSequence(self, *others, name=name)

    def explain(self, inputs: Any) -> Explanation:
        """What each step would be given, with the exact prompts, without calling a model.

        Functions and retrievers that come before the first model are run, because the prompt depends on them.
        """
        from chainkit.prompts.explain import explain

        return explain(self, inputs)


@runs(RunnableSequence)
class _OwnRoute(line.LineRoute):
    def open(self, step: Any) -> bool:
        return type(step) is RunnableSequence


def _unlimited(quiet: RunnableConfig) -> RunnableConfig:
    """The config for what is nested in a batch: `max_concurrency` is for the batch itself."""
    if "max_concurrency" not in quiet:
        return quiet
    nested = quiet.copy()
    del nested["max_concurrency"]
    return nested


def within(quiet: RunnableConfig, start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Chunks that are made in a context of their own, where nested runs find the config."""
    context = copy_context()
    context.run(var_child_runnable_config.set, quiet)
    chunks = context.run(start)
    try:
        while True:
            try:
                chunk = context.run(next, chunks)
            except StopIteration:
                return
            yield chunk
    finally:
        if hasattr(chunks, "close"):
            cast("Any", chunks).close()


async def awithin(quiet: RunnableConfig, chunks: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    """Chunks that are made while nested runs find the config; the consumer does not see it."""
    async with aclosing(chunks):
        while True:
            token = var_child_runnable_config.set(quiet)
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            finally:
                var_child_runnable_config.reset(token)
            yield chunk
