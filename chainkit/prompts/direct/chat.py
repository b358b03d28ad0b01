"""Chat models without their run manager; ids, metadata and errors stay as they are."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from operator import attrgetter
from typing import Any, cast

from langchain_core.callbacks.manager import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.utils.utils import LC_ID_PREFIX
from langchain_core.utils.uuid import uuid7

from chainkit.prompts.direct.step import Direct, StepRun, of_core

_CORE = attrgetter(
    *("generate", "agenerate", "generate_prompt", "agenerate_prompt"),
    *("_generate_with_cache", "_agenerate_with_cache", "_should_stream"),
)
_OF_CORE = _CORE(BaseChatModel) if all(map(of_core, _CORE(BaseChatModel))) else None


class ChatStep(Direct):
    """`_generate` and `_stream` of a chat model, between what langchain-core does before and after them."""

    def fits(self) -> bool:
        """If langchain-core would do no more: no listener, cache, rate limiter, numbered blocks or changed method."""
        model = self.step
        return (
            (model.cache is False or (model.cache is None and get_llm_cache() is None))
            and not (model.callbacks or model.verbose or model.rate_limiter or model.disable_streaming)
            and model.output_version != "v1"
            and "streaming" not in model.__pydantic_fields_set__
            and not any(key == "stream" or key.endswith("structured_output_format") for key in self.kwargs)
            and _CORE(type(model)) == _OF_CORE
        )

    def invoke(self, value: Any) -> Any:
        """The answer, with an id and its metadata merged."""
        if (messages := _messages(value)) is None:
            return StepRun.invoke(self, value)
        run = CallbackManagerForLLMRun(run_id=uuid7(), handlers=[], inheritable_handlers=[])
        generate = cast("Any", type(self.step))._generate
        return _finished(generate(self.step, messages, **self._arguments(generate, run)), run.run_id)

    async def ainvoke(self, value: Any) -> Any:
        """The answer, with an id and its metadata merged."""
        if (messages := _messages(value)) is None:
            return await StepRun.ainvoke(self, value)
        run = AsyncCallbackManagerForLLMRun(run_id=uuid7(), handlers=[], inheritable_handlers=[])
        generate = cast("Any", type(self.step))._agenerate
        return _finished(await generate(self.step, messages, **self._arguments(generate, run)), run.run_id)

    def stream(self, value: Any) -> Iterator[Any]:
        """The chunks of the answer, the last one marked."""
        if (messages := _messages(value)) is None:
            yield from self.step.stream(value, self.config, **self.kwargs)
        elif cast("Any", type(self.step))._stream is BaseChatModel._stream:
            yield self.invoke(value)
        else:
            name, message = f"{LC_ID_PREFIX}-{uuid7()}", None
            for chunk in self.step._stream(messages, **{"stop": None, **self.kwargs}):
                message = _labelled(chunk, name)
                yield message
            yield from _end(message, name)

    async def astream(self, value: Any) -> AsyncGenerator[Any]:
        """The chunks of the answer, the last one marked."""
        kind = cast("Any", type(self.step))
        if (messages := _messages(value)) is None:
            async for chunk in self.step.astream(value, self.config, **self.kwargs):
                yield chunk
        elif kind._astream is BaseChatModel._astream and kind._stream is BaseChatModel._stream:
            yield await self.ainvoke(value)
        else:
            name, message = f"{LC_ID_PREFIX}-{uuid7()}", None
            async with aclosing(self.step._astream(messages, **{"stop": None, **self.kwargs})) as chunks:
                async for chunk in chunks:
                    message = _labelled(chunk, name)
                    yield message
            for last in _end(message, name):
                yield last

    def _arguments(self, method: Callable[..., Any], run: object) -> dict[str, Any]:
        arguments = {"stop": None, **self.kwargs}
        return {**arguments, "run_manager": run} if _takes_run_manager(method) else arguments


@functools.lru_cache(maxsize=256)
def _takes_run_manager(method: Callable[..., Any]) -> bool:
    return "run_manager" in inspect.signature(method).parameters


def _messages(value: Any) -> list[BaseMessage] | None:
    """The messages of a prompt; None where langchain-core would convert the input or the content of a message."""
    if type(value) not in (ChatPromptValue, StringPromptValue):
        return None
    messages: list[BaseMessage] = value.to_messages()
    return messages if all(type(message.content) is str for message in messages) else None


def _finished(result: Any, run_id: object) -> BaseMessage:
    message = _labelled(result.generations[0], f"{LC_ID_PREFIX}-{run_id}-0")
    if result.llm_output is not None and len(result.generations) == 1:
        message.response_metadata = {**result.llm_output, **message.response_metadata}
    return message


def _labelled(generation: Any, name: str) -> BaseMessage:
    message = generation.message
    if message.id is None:
        message.id = name
    if generation.generation_info:
        message.response_metadata = {**generation.generation_info, **message.response_metadata}
    return message


def _end(message: BaseMessage | None, name: str) -> Iterator[AIMessageChunk]:
    """The empty last chunk, if the model did not mark its own."""
    if message is None:
        raise ValueError("No generation chunks were returned")
    if isinstance(message, AIMessageChunk) and not message.chunk_position:
        empty: Any = "" if isinstance(message.content, str) else []
        yield AIMessageChunk(content=empty, chunk_position="last", id=name)
