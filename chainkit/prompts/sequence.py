"""langchain-core's sequence, which runs its steps directly while nobody listens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables import base as core
from langchain_core.runnables.config import var_child_runnable_config

from chainkit.prompts.direct.parts import ParallelStep, work
from chainkit.prompts.direct.step import StepRun, once
from chainkit.prompts.unobserved import awithin, context_of, unheard, within

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
        return context_of(quiet).run(self._run, input, quiet)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Run all steps on one input."""
        if kwargs or (quiet := unheard(config)) is None:
            return await super().ainvoke(input, config, **kwargs)
        token = var_child_runnable_config.set(quiet)
        try:
            return await self._arun(input, quiet)
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
        return context_of({**quiet, "max_concurrency": None}).run(self._run_batch, inputs, quiet, return_exceptions)

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
        token = var_child_runnable_config.set({**quiet, "max_concurrency": None})
        try:
            return await self._arun_batch(inputs, quiet, return_exceptions)
        finally:
            var_child_runnable_config.reset(token)

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
            yield from within(quiet, lambda: self._run_stream(input, quiet))

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
            chunks = awithin(quiet, self._arun_stream(input, quiet))
        async with aclosing(cast("AsyncGenerator[Any]", chunks)) as outputs:
            async for output in outputs:
                yield output

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Any]:
        """Run all steps on one input and give the output in chunks; a stream that is left closes its steps."""
        async with aclosing(self.atransform(once(input), config, **kwargs)) as outputs:
            async for output in outputs:
                yield output

    def _run(self, value: Any, quiet: RunnableConfig) -> Any:
        for step in self.steps:
            value = work(step, quiet, "invoke").invoke(value)
        return value

    async def _arun(self, value: Any, quiet: RunnableConfig) -> Any:
        for step in self.steps:
            value = await work(step, quiet, "invoke").ainvoke(value)
        return value

    def _run_batch(self, inputs: list[Any], quiet: RunnableConfig, keep: bool) -> list[Any]:
        results = dict(enumerate(inputs))
        alive = list(results)
        for step in self.steps:
            if alive:
                made = work(step, quiet, "batch").batch([results[index] for index in alive], keep)
                alive = _entered(results, alive, made)
        return list(results.values())

    async def _arun_batch(self, inputs: list[Any], quiet: RunnableConfig, keep: bool) -> list[Any]:
        results = dict(enumerate(inputs))
        alive = list(results)
        for step in self.steps:
            if alive:
                made = await work(step, quiet, "batch").abatch([results[index] for index in alive], keep)
                alive = _entered(results, alive, made)
        return list(results.values())

    def _run_stream(self, chunks: Iterator[Any], quiet: RunnableConfig) -> Iterator[Any]:
        for step in self._streaming(quiet):
            chunks = step.transform(chunks)
        return chunks

    async def _arun_stream(self, chunks: AsyncIterator[Any], quiet: RunnableConfig) -> AsyncGenerator[Any]:
        opened: list[Any] = []
        try:
            for step in self._streaming(quiet):
                chunks = step.atransform(chunks)
                opened.append(chunks)
            async for chunk in chunks:
                yield chunk
        finally:  # close open streams, the last step first, unless a task of langchain-core still reads them
            for stream in reversed(opened):
                if hasattr(stream, "aclose") and not getattr(stream, "ag_running", False):
                    await stream.aclose()

    def _streaming(self, quiet: RunnableConfig) -> list[StepRun]:
        """The steps; a dictionary of steps streams as in langchain-core unless the next one waits for all of it."""
        following = StepRun(None, quiet, {})
        steps: list[StepRun] = []
        for step in reversed(self.steps):
            ready = work(step, quiet, "transform")
            if type(ready) is ParallelStep and not following.buffers:
                ready = StepRun(step, quiet, {})
            steps.insert(0, following := ready)
        return steps

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


def _entered(results: dict[int, Any], alive: list[int], made: list[Any]) -> list[int]:
    """Enter what a step made; what failed does not go on."""
    results.update(zip(alive, made, strict=True))
    return [index for index in alive if not isinstance(results[index], Exception)]
