"""Output parsers without their run manager."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import (
    BaseGenerationOutputParser,
    BaseOutputParser,
    BaseTransformOutputParser,
    StrOutputParser,
)
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import RunnableConfig

from chainkit.prompts.direct.route import Direct, Kwargs, runs
from chainkit.prompts.stock import Stock, of_core

_CALLS = ("invoke", "ainvoke", "batch", "abatch", "stream", "astream")
_ENTRANCES = Stock(BaseOutputParser, *_CALLS)
_GENERATION_ENTRANCES = Stock(BaseGenerationOutputParser, *_CALLS)
_STREAMING = Stock(BaseTransformOutputParser, "transform", "atransform")
_NOT_STREAMING = Stock(BaseOutputParser, "transform", "atransform")
_TEXT = Stock(StrOutputParser, "parse", "parse_result", "aparse_result", "_transform", "_atransform")


@runs(BaseOutputParser, BaseGenerationOutputParser)
class ParserRoute(Direct):
    """`parse_result` on the message or text that arrives."""

    def open(self, step: Any) -> bool:
        """If the class did not change how a parser is called."""
        called = _ENTRANCES.kept_by(step) or _GENERATION_ENTRANCES.kept_by(step)
        return called and (_STREAMING.kept_by(step) or _NOT_STREAMING.kept_by(step))

    def slow(self, step: Any) -> bool:
        """Parsers of other libraries may ask a model."""
        return not _reads_only(step)

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """What the parser reads from one answer."""
        if _TEXT.kept_by(step):
            if type(value) is str:
                return value
            if BaseMessage in type(value).__mro__ and isinstance(value.content, str):
                return value.text
        return step.parse_result([_generation(value)])

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """What the parser reads from one answer; in a thread if it may take long."""
        if _reads_only(step):
            return self.invoke(step, value, config, kwargs)
        return await step.aparse_result([_generation(value)])

    def transform(self, step: Any, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """What the parser reads while an answer arrives."""
        if _TEXT.kept_by(step):
            for chunk in chunks:
                yield self.invoke(step, chunk, config, kwargs)
        elif not isinstance(step, BaseTransformOutputParser):
            yield from super().transform(step, chunks, config, kwargs)
        else:
            yield from cast("BaseTransformOutputParser[Any]", step)._transform(chunks)

    async def atransform(
        self, step: Any, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncGenerator[Any]:
        """What the parser reads while an answer arrives."""
        if _TEXT.kept_by(step):
            async for chunk in chunks:
                yield self.invoke(step, chunk, config, kwargs)
            return
        if isinstance(step, BaseTransformOutputParser):
            read = cast("BaseTransformOutputParser[Any]", step)._atransform(chunks)
        else:
            read = super().atransform(step, chunks, config, kwargs)
        async with aclosing(cast("AsyncGenerator[Any]", read)) as outputs:
            async for output in outputs:
                yield output


def _reads_only(step: Any) -> bool:
    """Whether all that parsing does is langchain-core's reading of a text."""
    kind = cast("Any", type(step))
    names = ("parse_result", "aparse_result", "parse")
    return _TEXT.kept_by(step) or all(of_core(getattr(kind, name, None)) for name in names)


def _generation(value: Any) -> Generation:
    return ChatGeneration(message=value) if isinstance(value, BaseMessage) else Generation(text=value)
