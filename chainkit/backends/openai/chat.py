"""Chat models over the Chat Completions API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, ClassVar, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

from chainkit.backends.openai import calls, structured
from chainkit.backends.openai.generating import Generating
from chainkit.backends.openai.hosted import JsonObject, Texts
from chainkit.backends.openai.reply import ChatReading, chat_result
from chainkit.backends.openai.request import CHAT_SETTINGS, chat_body
from chainkit.backends.openai.tools import Choice, Tool, chosen_tool, tool_dicts
from chainkit.base.errors import Unsupported

PATH = "/chat/completions"


class OpenAIChat(Generating, BaseChatModel):
    """A chat model of OpenAI, or of any service that speaks its Chat Completions API.

    Settings that are None are left to the service. For the address, the key and the time limits see `Hosted`; the
    errors that a call can end with are the branch of `ProviderError` in `chainkit.base.errors`.

    Attributes:
        temperature: 0 to 2; how far the model strays from the likeliest words.
        top_p: 0 to 1; only the likeliest words with this total probability are candidates.
        max_tokens: The limit on new tokens, thoughts included.
        stop: The model stops before the first of these texts; at most four with OpenAI.
        seed: The same seed gives mostly the same answer while `system_fingerprint` stays the same.
        n: How many answers to one prompt; more than one cannot be streamed.
        logprobs: Whether `response_metadata["logprobs"]` tells the log probability of each token.
        top_logprobs: 0 to 20; how many likely tokens are listed at each position.
        reasoning_effort: How long a reasoning model thinks, as in "low".
        streaming: Whether `invoke` uses a stream too.
        stream_usage: Whether a stream tells its token counts; some services refuse to.
    """

    top_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = None
    n: int | None = Field(default=None, ge=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    logit_bias: JsonObject | None = None
    user: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    parallel_tool_calls: bool | None = None
    modalities: Texts | None = None
    audio: JsonObject | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    streaming: bool = False
    stream_usage: bool = True

    _kind: ClassVar[Literal["chat", "llm"]] = "chat"
    _names: ClassVar[tuple[str, ...]] = CHAT_SETTINGS

    @property
    def _llm_type(self) -> str:
        return "openai-chat"

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The part of a cache's key that stands for the model: its settings as they are now."""
        return str(sorted({**self._identifying_params, **kwargs, "stop": stop or self.stop}.items()))

    def _body(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, options: Mapping[str, Any], *, stream: bool
    ) -> dict[str, Any]:
        settings = {"model": self.model, **self._settings()}
        if stop:
            settings["stop"] = stop
        body = chat_body(messages, settings, options, self._habits)
        if not stream:
            return body
        if (body.get("n") or 1) > 1:
            raise Unsupported("n answers cannot be streamed as one; use generate() or n=1")
        body["stream"] = True
        if self.stream_usage and self._habits.tells_usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        body, connection = self._body(messages, stop, kwargs, stream=False), self._connection()
        reply = calls.post(self._clients, connection, PATH, body)
        return chat_result(reply.data, connection, translator=self._habits.translator, retries=reply.retries)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        body, connection = self._body(messages, stop, kwargs, stream=False), self._connection()
        reply = await calls.apost(self._clients, connection, PATH, body)
        return chat_result(reply.data, connection, translator=self._habits.translator, retries=reply.retries)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        body, connection = self._body(messages, stop, kwargs, stream=True), self._connection()
        reading = ChatReading(connection, translator=self._habits.translator)
        with closing(calls.stream(self._clients, connection, PATH, body, reading)) as chunks:
            for chunk in chunks:
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        body, connection = self._body(messages, stop, kwargs, stream=True), self._connection()
        reading = ChatReading(connection, translator=self._habits.translator)
        async with aclosing(calls.astream(self._clients, connection, PATH, body, reading)) as chunks:
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: Choice = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """This model, told which tools it may call.

        Args:
            tools: Functions, pydantic classes, langchain-core's tools, or descriptions in OpenAI's or Anthropic's form.
            tool_choice: "auto", "none", "any" (or True: it must call one), or the name of the one to call.
            strict: Whether the service guarantees that arguments fit the schema.
            parallel_tool_calls: Whether one answer may hold several calls.
            kwargs: Options of each call.

        Raises:
            ValueError: `tool_choice` names none of the tools.
        """
        described = tool_dicts(tools, strict=strict)
        choice = chosen_tool(tool_choice, described)
        if choice is not None:
            kwargs["tool_choice"] = choice
        if parallel_tool_calls is not None:
            kwargs["parallel_tool_calls"] = parallel_tool_calls
        return self.bind(tools=described, **kwargs)

    def with_structured_output(
        self,
        schema: structured.Schema,
        *,
        include_raw: bool = False,
        method: Literal["json_schema", "function_calling", "json_mode"] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """This model, answering in the form of a schema: an object of a pydantic class, or else a dict.

        Args:
            schema: A pydantic class, a TypedDict or a JSON schema.
            include_raw: Answer with a dict of `raw` (the message), `parsed` and `parsing_error` instead of raising.
            method: "json_schema" lets the service hold the model to the schema, "function_calling" asks for a tool
                call, "json_mode" asks for some JSON and leaves the form to your prompt; None takes what the service
                does best.
            strict: Whether the service guarantees the form; None lets the schema decide.
            kwargs: Options of each call.

        Raises:
            ValueError: The method is unknown, or the schema cannot be held strictly though `strict` is true.
            Refused: The model declined to answer (when called).
            OutputParserException: The answer does not fit the schema (when called).
        """
        method = method or self._habits.method
        if method == "function_calling":
            bound = self.bind_tools(
                [schema],
                tool_choice=structured.tool_name(schema),
                strict=strict,
                parallel_tool_calls=False,
                ls_structured_output_format={"kwargs": {"method": method}, "schema": schema},
                **kwargs,
            )
        elif method in ("json_schema", "json_mode"):
            bound = self.bind(**structured.bound(schema, method, strict), **kwargs)
        else:
            raise ValueError(f"method must be 'json_schema', 'function_calling' or 'json_mode', got {method!r}")
        reader = structured.parser(schema, method)
        return structured.with_raw(bound, reader) if include_raw else bound | reader
