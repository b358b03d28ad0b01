"""Several models, of which the first that can answers."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import patch_config, var_child_runnable_config
from pydantic import ConfigDict, SkipValidation, model_validator

from chainkit.base import opening
from chainkit.base.hiding import hides_given_keys
from chainkit.chains.moving import lasting, moves_on
from chainkit.prompts.direct.parts import work
from chainkit.prompts.direct.step import once
from chainkit.prompts.unobserved import awithin, context_of, unheard, within

_log = logging.getLogger("chainkit.fallback")

Model = Runnable[Any, Any]


@hides_given_keys
def fallback(*models: Model | str) -> FallbackChat | Fallback:
    """A model that asks the first of several, and the next if that one cannot answer.

    It moves on when a service cannot be reached, is too slow, limits its rate or fails, and when a model cannot be
    used (no key, a wrong key, no such model); never for a bad or too long request, a refusal, or a programming error:
    see `chainkit.chains.moving`. The answer's `response_metadata` says who gave it (`answered_by`) and what the
    others said (`errors`). A stream moves on only as long as nothing of it was given out.

    Args:
        models: Two or more, or their specs. If all are chat models, so is the result, with `bind_tools` and
            `with_structured_output`.

    Raises:
        ValueError: There are fewer than two.
        SpecError: A spec cannot be understood.
        TypeError: One is not a model.

    >>> import chainkit
    >>> both = fallback("fake:first", "fake:second")
    >>> both.invoke("Hello").response_metadata["answered_by"]
    'FakeChat first'
    """
    if len(models) < 2:
        raise ValueError(f"fallback takes two models or more, got {len(models)}")
    opened: list[Any] = [opening.answering(model) for model in models]
    for model in opened:
        if not isinstance(model, Runnable):
            raise TypeError(f"fallback takes models or their names, got {model!r}")
    if all(isinstance(model, BaseChatModel) for model in opened):
        return FallbackChat(models=opened)
    return Fallback(models=opened)


class Fallback(RunnableSerializable[Any, Any]):
    """Tries Runnables in order until one succeeds; each is a child run of this one.

    While nobody listens, they are run without run managers, as the steps of a chain are.

    Attributes:
        models: The first is asked first.
        names: What `answered_by` calls them; by default each says its own.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    models: list[SkipValidation[Model]]
    names: list[str] = []

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.names:
            self.names = [_name(model) for model in self.models]
        return self

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """The answer of the first that gives one.

        Raises:
            Exception: The last error if all failed, with a note for each of the others.
        """

        if not kwargs and (quiet := unheard(config)) is not None:
            ask = partial(_asked_directly, value=input, config=quiet)
            return context_of(quiet).run(first, self.models, self.names, ask)

        def run(value: Any, run_manager: Any, config: RunnableConfig) -> Any:
            inner = patch_config(config, callbacks=run_manager.get_child())
            return first(self.models, self.names, lambda model: model.invoke(value, inner, **kwargs))

        return self._call_with_config(run, input, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """The answer of the first that gives one."""
        if not kwargs and (quiet := unheard(config)) is not None:
            token = var_child_runnable_config.set(quiet)
            try:
                return await afirst(self.models, self.names, partial(_aasked_directly, value=input, config=quiet))
            finally:
                var_child_runnable_config.reset(token)

        async def run(value: Any, run_manager: Any, config: RunnableConfig) -> Any:
            inner = patch_config(config, callbacks=run_manager.get_child())
            return await afirst(self.models, self.names, lambda model: model.ainvoke(value, inner, **kwargs))

        return await self._acall_with_config(run, input, config)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """The chunks of the first that gives one."""
        if not kwargs and (quiet := unheard(config)) is not None:
            ask_directly = partial(_streamed_directly, value=input, config=quiet)
            yield from within(quiet, lambda: first_stream(self.models, self.names, ask_directly))
            return

        def run(values: Iterator[Any], run_manager: Any, config: RunnableConfig) -> Iterator[Any]:
            inner = patch_config(config, callbacks=run_manager.get_child())
            for value in values:
                ask = partial(_streamed, value=value, config=inner, kwargs=kwargs)
                yield from first_stream(self.models, self.names, ask)

        yield from self._transform_stream_with_config(iter([input]), run, config)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """The chunks of the first that gives one."""
        if not kwargs and (quiet := unheard(config)) is not None:
            ask_directly = partial(_astreamed_directly, value=input, config=quiet)
            directly = awithin(quiet, cast("Any", afirst_stream(self.models, self.names, ask_directly)))
            async with aclosing(directly) as chunks:
                async for chunk in chunks:
                    yield chunk
            return

        async def given() -> AsyncIterator[Any]:
            yield input

        async def run(values: AsyncIterator[Any], run_manager: Any, config: RunnableConfig) -> AsyncIterator[Any]:
            inner = patch_config(config, callbacks=run_manager.get_child())
            async for value in values:
                ask = partial(_astreamed, value=value, config=inner, kwargs=kwargs)
                chunks = afirst_stream(self.models, self.names, ask)
                async with aclosing(cast("Any", chunks)):
                    async for chunk in chunks:
                        yield chunk

        async for chunk in self._atransform_stream_with_config(given(), run, config):
            yield chunk


class FallbackChat(BaseChatModel):
    """Tries chat models in order until one succeeds; each is a child run of this one.

    To listeners it is a chain, not a model, so that tokens are counted once.

    Attributes:
        models: The first is asked first.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    models: list[SkipValidation[BaseChatModel]]

    @property
    def _llm_type(self) -> str:
        return "chainkit-fallback"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"models": self._chain.names}

    @property
    def _chain(self) -> Fallback:
        return Fallback(models=list(self.models), name=self.get_name())

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """The answer of the first that gives one; the last error if all fail."""
        return self._chain.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """The answer of the first that gives one; the last error if all fail."""
        return await self._chain.ainvoke(input, config, **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """The chunks of the first that gives one."""
        yield from self._chain.stream(input, config, **kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """The chunks of the first that gives one."""
        async with aclosing(cast("Any", self._chain.astream(input, config, **kwargs))) as chunks:
            async for chunk in chunks:
                yield chunk

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any) -> Any:
        """The same models, each with these tools."""
        return self._each(lambda model: model.bind_tools(tools, tool_choice=tool_choice, **kwargs))

    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **kwargs: Any) -> Any:
        """The same models, each made to answer by this schema in its own way."""
        return self._each(lambda model: model.with_structured_output(schema, include_raw=include_raw, **kwargs))

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Counted as the first model does."""
        return self.models[0].get_num_tokens_from_messages(messages, tools)

    def get_token_ids(self, text: str) -> list[int]:
        """Counted as the first model does."""
        return self.models[0].get_token_ids(text)

    def generate(self, messages: list[list[BaseMessage]], stop: list[str] | None = None, *args: Any, **kw: Any) -> Any:
        """One result for each conversation."""
        return first(self.models, self._chain.names, lambda model: model.generate(messages, stop, *args, **kw))

    async def agenerate(
        self, messages: list[list[BaseMessage]], stop: list[str] | None = None, *args: Any, **kw: Any
    ) -> LLMResult:
        """One result for each conversation."""
        return await afirst(self.models, self._chain.names, lambda model: model.agenerate(messages, stop, *args, **kw))

    def _each(self, change: Callable[[BaseChatModel], Model]) -> Fallback:
        return Fallback(models=[change(model) for model in self.models], names=self._chain.names)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        config = _below(run_manager)
        return _result(self._chain.invoke(messages, config, **_with_stop(stop, kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return _result(await self._chain.ainvoke(messages, _below(run_manager), **_with_stop(stop, kwargs)))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chain.stream(messages, _below(run_manager), **_with_stop(stop, kwargs)):
            yield ChatGenerationChunk(message=chunk)


def first(models: Sequence[Any], names: Sequence[str], ask: Callable[[Any], Any]) -> Any:
    """What the first model gives that does not fail with an error to move on from."""
    tried = _Tried(names)
    for model in models:
        try:
            return tried.answered(ask(model))
        except Exception as error:
            if tried.ends_with(error):
                raise
    raise AssertionError("the last model raises its error")


async def afirst(models: Sequence[Any], names: Sequence[str], ask: Callable[[Any], Awaitable[Any]]) -> Any:
    """What the first model gives that does not fail with an error to move on from."""
    tried = _Tried(names)
    for model in models:
        try:
            return tried.answered(await ask(model))
        except Exception as error:
            if tried.ends_with(error):
                raise
    raise AssertionError("the last model raises its error")


def first_stream(models: Sequence[Any], names: Sequence[str], ask: Callable[[Any], Iterator[Any]]) -> Iterator[Any]:
    """The chunks of the first model that gives one; after it, every error is raised."""
    tried = _Tried(names)
    for model in models:
        begun = False
        try:
            for chunk in ask(model):
                yield chunk if begun else tried.answered(chunk)
                begun = True
        except Exception as error:
            if begun or tried.ends_with(error):
                raise
        else:
            return


async def afirst_stream(
    models: Sequence[Any], names: Sequence[str], ask: Callable[[Any], AsyncIterator[Any]]
) -> AsyncIterator[Any]:
    """The chunks of the first model that gives one; after it, every error is raised."""
    tried = _Tried(names)
    for model in models:
        begun = False
        try:
            async with aclosing(cast("Any", ask(model))) as chunks:
                async for chunk in chunks:
                    yield chunk if begun else tried.answered(chunk)
                    begun = True
        except Exception as error:
            if begun or tried.ends_with(error):
                raise
        else:
            return


class _Tried:
    """The models asked, and their outcomes."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._errors: list[str] = []

    def ends_with(self, error: Exception) -> bool:
        """Whether an error is the last, or none to move on from; if not, it is noted."""
        number = len(self._errors)
        if number + 1 == len(self._names) or not moves_on(error):
            for line in self._errors:
                error.add_note(f"asked before: {line}")
            return True
        line = f"{self._names[number]}: {type(error).__name__}: {error}"
        self._errors.append(line)
        level = logging.WARNING if lasting(error) else logging.INFO
        _log.log(level, "%s; moving on to %s", line, self._names[number + 1])
        return False

    def answered(self, answer: Any) -> Any:
        """The answer with metadata on the fallback, if it is a message or holds one."""
        held = cast("dict[str, Any] | None", answer if isinstance(answer, dict) else None)
        message = cast("Any", held.get("raw") if held else answer)
        if not isinstance(message, BaseMessage):
            return cast("Any", answer)
        said: dict[str, Any] = {"answered_by": self._names[len(self._errors)]}
        if self._errors:
            said["errors"] = list(self._errors)
        metadata = {**message.response_metadata, **said}
        changed = message.model_copy(update={"response_metadata": metadata})
        return changed if not held else {**held, "raw": changed}


def _name(model: Any) -> str:
    """The class, and which model it is: `OpenAIChat gpt-4o-mini`."""
    name = next((getattr(model, field) for field in ("model_name", "model") if getattr(model, field, None)), "")
    title = model.get_name()
    return f"{title} {name}" if isinstance(name, str) and name else title


def _streamed(model: Model, value: Any, config: RunnableConfig, kwargs: Mapping[str, Any]) -> Iterator[Any]:
    return model.stream(value, config, **kwargs)


def _astreamed(model: Model, value: Any, config: RunnableConfig, kwargs: Mapping[str, Any]) -> AsyncIterator[Any]:
    return model.astream(value, config, **kwargs)


def _asked_directly(model: Model, value: Any, config: RunnableConfig) -> Any:
    return work(model, config, "invoke").invoke(value)


async def _aasked_directly(model: Model, value: Any, config: RunnableConfig) -> Any:
    return await work(model, config, "invoke").ainvoke(value)


def _streamed_directly(model: Model, value: Any, config: RunnableConfig) -> Iterator[Any]:
    return work(model, config, "transform").transform(iter([value]))


def _astreamed_directly(model: Model, value: Any, config: RunnableConfig) -> AsyncIterator[Any]:
    return work(model, config, "transform").atransform(once(value))


def _with_stop(stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "stop": stop} if stop else kwargs


def _below(run_manager: Any) -> RunnableConfig | None:
    return {"callbacks": run_manager.get_child()} if run_manager else None


def _result(message: BaseMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=message)])
