"""Chat models without their run manager; cache, rate limiter, ids and metadata stay as they are."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, cast

from langchain_core import globals as settings
from langchain_core.callbacks.manager import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models._utils import _normalize_messages
from langchain_core.language_models.chat_models import _gen_info_and_msg_metadata
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import RunnableConfig
from langchain_core.utils._signature import _signature_parameters
from langchain_core.utils.utils import LC_ID_PREFIX
from langchain_core.utils.uuid import uuid7

from chainkit.prompts.direct.route import NORMAL, Direct, Kwargs, runs
from chainkit.prompts.stock import Stock

_CALLS = Stock(BaseChatModel, "invoke", "ainvoke", "generate", "agenerate", "generate_prompt", "agenerate_prompt")
_BATCHES = Stock(BaseChatModel, "batch", "abatch")
_STREAMS = Stock(BaseChatModel, "stream", "astream", "transform", "atransform")
_INNER = Stock(BaseChatModel, "_generate_with_cache", "_agenerate_with_cache", "_should_stream")


@runs(BaseChatModel)
class ChatRoute(Direct):
    """`_generate` and `_stream` of a chat model, between what langchain-core does before and after them."""

    buffers = True

    def open(self, step: BaseChatModel) -> bool:
        """If the model has no listeners of its own and its class did not change how it is called."""
        return not step.callbacks and not step.verbose and _CALLS.kept_by(step)

    def batch(
        self, step: BaseChatModel, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool
    ) -> list[Any]:
        """An answer for each prompt, in threads."""
        if not _BATCHES.kept_by(step):
            return NORMAL.batch(step, values, config, kwargs, keep)
        return super().batch(step, values, config, kwargs, keep)

    async def abatch(
        self, step: BaseChatModel, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool
    ) -> list[Any]:
        """An answer for each prompt, side by side."""
        if not _BATCHES.kept_by(step):
            return await NORMAL.abatch(step, values, config, kwargs, keep)
        return await super().abatch(step, values, config, kwargs, keep)

    def transform(
        self, step: BaseChatModel, chunks: Iterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> Iterator[Any]:
        """The chunks of the answer to the whole of what came."""
        if not _STREAMS.kept_by(step):
            return NORMAL.transform(step, chunks, config, kwargs)
        return super().transform(step, chunks, config, kwargs)

    def atransform(
        self, step: BaseChatModel, chunks: AsyncIterator[Any], config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncIterator[Any]:
        """The chunks of the answer to the whole of what came."""
        if not _STREAMS.kept_by(step):
            return NORMAL.atransform(step, chunks, config, kwargs)
        return super().atransform(step, chunks, config, kwargs)

    def invoke(self, step: BaseChatModel, value: Any, config: RunnableConfig, kwargs: Kwargs) -> BaseMessage:
        """The answer, with an id and its metadata merged."""
        messages, stop, kwargs = _request(step, value, kwargs)
        run = CallbackManagerForLLMRun(run_id=uuid7(), handlers=[], inheritable_handlers=[])
        if not _bare(step, kwargs):
            result = step._generate_with_cache(messages, stop=stop, run_manager=run, **kwargs)
            return result.generations[0].message
        if takes_run_manager(type(step)._generate):
            result = step._generate(messages, stop=stop, run_manager=run, **kwargs)
        else:
            result = step._generate(messages, stop=stop, **kwargs)
        return _finished(result, run.run_id)

    async def ainvoke(self, step: BaseChatModel, value: Any, config: RunnableConfig, kwargs: Kwargs) -> BaseMessage:
        """The answer, with an id and its metadata merged."""
        messages, stop, kwargs = _request(step, value, kwargs)
        run = AsyncCallbackManagerForLLMRun(run_id=uuid7(), handlers=[], inheritable_handlers=[])
        if not _bare(step, kwargs):
            result = await step._agenerate_with_cache(messages, stop=stop, run_manager=run, **kwargs)
            return result.generations[0].message
        if takes_run_manager(type(step)._agenerate):
            result = await step._agenerate(messages, stop=stop, run_manager=run, **kwargs)
        else:
            result = await step._agenerate(messages, stop=stop, **kwargs)
        return _finished(result, run.run_id)

    def stream(self, step: BaseChatModel, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Iterator[BaseMessage]:
        """The chunks of the answer, the last one marked."""
        if not _streams(step, kwargs, async_api=False):
            yield self.invoke(step, value, config, kwargs)
            return
        if step.output_version == "v1":  # its blocks are numbered across the chunks
            yield from step.stream(value, config, **kwargs)
            return
        messages, stop, kwargs = _request(step, value, kwargs)
        if step.rate_limiter:
            step.rate_limiter.acquire(blocking=True)
        name = f"{LC_ID_PREFIX}-{uuid7()}"
        message = None
        for chunk in step._stream(messages, stop=stop, **kwargs):
            message = _labelled(chunk, name)
            yield message
        yield from _end(message, name)

    async def astream(
        self, step: BaseChatModel, value: Any, config: RunnableConfig, kwargs: Kwargs
    ) -> AsyncGenerator[BaseMessage]:
        """The chunks of the answer, the last one marked."""
        if not _streams(step, kwargs, async_api=True):
            yield await self.ainvoke(step, value, config, kwargs)
            return
        if step.output_version == "v1":
            async for part in step.astream(value, config, **kwargs):
                yield part
            return
        messages, stop, kwargs = _request(step, value, kwargs)
        if step.rate_limiter:
            await step.rate_limiter.aacquire(blocking=True)
        name = f"{LC_ID_PREFIX}-{uuid7()}"
        message = None
        chunks = cast("AsyncGenerator[ChatGenerationChunk]", step._astream(messages, stop=stop, **kwargs))
        async with aclosing(chunks):
            async for chunk in chunks:
                message = _labelled(chunk, name)
                yield message
        for last in _end(message, name):
            yield last


@functools.lru_cache(maxsize=256)
def takes_run_manager(method: Callable[..., Any]) -> bool:
    """Whether a model's method has the argument `run_manager`; older ones lack it."""
    return "run_manager" in _signature_parameters(method)


def _request(model: BaseChatModel, value: Any, kwargs: Kwargs) -> tuple[list[BaseMessage], Any, dict[str, Any]]:
    given = value if type(value) is ChatPromptValue else model._convert_input(value)
    if not kwargs:
        return _normalize_messages(given.to_messages()), None, {}
    rest = dict(kwargs)
    stop = rest.pop("stop", None)
    # Said for tracing only, and as langchain-core does: the second only if the first is absent.
    if not rest.pop("ls_structured_output_format", None):
        rest.pop("structured_output_format", None)
    return _normalize_messages(given.to_messages()), stop, rest


def _bare(model: BaseChatModel, kwargs: Kwargs) -> bool:
    """Whether `_generate_with_cache` would do nothing but call `_generate` and label its result."""
    return (
        (model.cache is False or (model.cache is None and settings._llm_cache is None))
        and model.rate_limiter is None
        and model.output_version != "v1"
        and "stream" not in kwargs
        and "streaming" not in model.model_fields_set
        and _INNER.kept_by(model)
    )


def _streams(model: BaseChatModel, kwargs: Kwargs, *, async_api: bool) -> bool:
    asked: dict[str, Any] = {name: value for name, value in kwargs.items() if name != "stop"} | {"stream": True}
    return model._should_stream(async_api=async_api, **asked)


def _finished(result: ChatResult, run_id: object) -> BaseMessage:
    generation = result.generations[0]
    message = generation.message
    if message.id is None:
        message.id = f"{LC_ID_PREFIX}-{run_id}-0"
    if generation.generation_info:
        message.response_metadata = _gen_info_and_msg_metadata(generation)
    if result.llm_output is not None and len(result.generations) == 1:
        message.response_metadata = {**result.llm_output, **message.response_metadata}
    return message


def _labelled(chunk: ChatGenerationChunk, name: str) -> BaseMessage:
    message = chunk.message
    if message.id is None:
        message.id = name
    if chunk.generation_info:
        message.response_metadata = _gen_info_and_msg_metadata(chunk)
    return message


def _end(message: BaseMessage | None, name: str) -> Iterator[AIMessageChunk]:
    """The empty last chunk, if the model did not mark its own."""
    if message is None:
        raise ValueError("No generation chunks were returned")
    if isinstance(message, AIMessageChunk) and not message.chunk_position:
        empty: Any = "" if isinstance(message.content, str) else []
        yield AIMessageChunk(content=empty, chunk_position="last", id=name)
