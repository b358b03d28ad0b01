"""Chat models over the Chat Completions API or the Responses API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, ClassVar, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

from chainkit.backends.openai import calls, structured
from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.generating import Generating
from chainkit.backends.openai.given import say_what_is_missing
from chainkit.backends.openai.hosted import JsonObject, Texts
from chainkit.backends.openai.profiles import profile
from chainkit.backends.openai.reply import ChatReading, chat_result
from chainkit.backends.openai.request import CHAT_SETTINGS, chat_body
from chainkit.backends.openai.responses_reply import ResponsesReading, responses_result
from chainkit.backends.openai.responses_request import RESPONSES_ONLY, responses_body
from chainkit.backends.openai.services import Kind
from chainkit.backends.openai.tokens import message_tokens
from chainkit.backends.openai.tools import Choice, Tool, chosen_tool, tool_dicts
from chainkit.base.errors import Unsupported
from chainkit.decoding.answers import with_raw

PATH = "/chat/completions"
RESPONSES_PATH = "/responses"
PROFILED = frozenset({"openai", "openrouter"})
"""Services whose models go by OpenAI's names."""


class OpenAIChat(Generating, BaseChatModel):
    """A chat model of OpenAI, or of any service that speaks its Chat Completions or Responses API.

    Settings that are None are left to the service. For the address, the key and the time limits see `Hosted`; the
    errors that a call can end with are the branch of `ProviderError` in `chainkit.base.errors`.

    Attributes:
        api: "chat" for Chat Completions, which every service has; "responses" for OpenAI's newer API, whose answers are
            lists of blocks: texts, thoughts, calls. It has no seed, n, penalties or logit_bias; `stop` cuts the answer
            here and not there.
        temperature: 0 to 2; how far the model strays from the likeliest words.
        top_p: 0 to 1; only the likeliest words with this total probability are candidates.
        max_tokens: The limit on new tokens, thoughts included.
        stop: The model stops before the first of these texts; at most four with OpenAI.
        seed: The same seed gives mostly the same answer while `system_fingerprint` stays the same.
        n: How many answers to one prompt; more than one cannot be streamed.
        logprobs: Whether `response_metadata["logprobs"]` tells the log probability of each token.
        top_logprobs: 0 to 20; how many likely tokens are listed at each position.
        reasoning_effort: How long a reasoning model thinks, as in "low".
        reasoning_summary: "auto", "concise" or "detailed": tell the thoughts in short (Responses only).
        store: Whether the service keeps the answer. If false, with Responses, thoughts come encrypted and go back so.
        previous_response_id: The `response_metadata["id"]` of an answer that the service kept and is to continue; only
            the messages after that answer are sent then (Responses only, as are those below).
        conversation: The id of a conversation that the service keeps.
        include: What else the service shall tell, by the names of the API.
        truncation: "auto" lets the service leave out what does not fit its context; by default it refuses.
        max_tool_calls: The most uses of the service's own tools.
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
    api: Literal["chat", "responses"] = "chat"
    reasoning_summary: Literal["auto", "concise", "detailed"] | None = None
    previous_response_id: str | None = None
    conversation: str | None = None
    include: Texts | None = None
    truncation: Literal["auto", "disabled"] | None = None
    max_tool_calls: int | None = Field(default=None, ge=1)
    streaming: bool = False
    stream_usage: bool = True

    _kind: ClassVar[Literal["chat", "llm"]] = "chat"
    _names: ClassVar[tuple[str, ...]] = (*CHAT_SETTINGS, *RESPONSES_ONLY)

    @property
    def _llm_type(self) -> str:
        return "openai-chat"

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The model's part of a cache key: its current settings."""
        return str(sorted({**self._identifying_params, **kwargs, "stop": stop or self.stop}.items()))

    def _needed(self) -> Kind:
        return self.api

    def _resolve_model_profile(self) -> ModelProfile | None:
        return profile(self.model) if self.service in PROFILED else None

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """The tokens of a conversation of plain text, by OpenAI's rule for its chat models.

        Raises:
            Unsupported: There are tools, calls or media, whose tokens are not known before the answer, or the
                tokenizer of this model is not known.
            MissingLibrary: tiktoken is not installed.
            ModelFileError: Its vocabulary is not on this machine and cannot be fetched.
        """
        if tools:
            raise Unsupported("the tokens of tools cannot be counted here; usage_metadata of an answer tells them")
        return message_tokens(messages, self.model)

    def _body(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, options: Mapping[str, Any], *, stream: bool
    ) -> dict[str, Any]:
        """The body of a request to Chat Completions."""
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

    def _items_body(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, options: Mapping[str, Any], *, stream: bool
    ) -> tuple[dict[str, Any], list[str]]:
        """The body of a request to Responses, and where its answer ends."""
        settings = {"model": self.model, **self._settings()}
        if stop:
            settings["stop"] = stop
        body, stops = responses_body(messages, settings, options, self._habits)
        return {**body, "stream": stream}, stops  # transformers' server streams where nothing is said

    def _asked(
        self,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        options: Mapping[str, Any],
        connection: Connection,
    ) -> tuple[str, dict[str, Any], Callable[[calls.Reply], ChatResult]]:
        """Path, body and reply parser of a request."""
        if self.api == "responses":
            body, stops = self._items_body(messages, stop, options, stream=False)
            return (
                RESPONSES_PATH,
                body,
                lambda reply: responses_result(reply.data, connection, stop=stops, retries=reply.retries),
            )
        body, translator = self._body(messages, stop, options, stream=False), self._habits.translator
        return (
            PATH,
            body,
            lambda reply: chat_result(reply.data, connection, translator=translator, retries=reply.retries),
        )

    def _asked_stream(
        self,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        options: Mapping[str, Any],
        connection: Connection,
    ) -> tuple[str, dict[str, Any], calls.ReplyReading[ChatGenerationChunk]]:
        if self.api == "responses":
            body, stops = self._items_body(messages, stop, options, stream=True)
            return RESPONSES_PATH, body, ResponsesReading(connection, stop=stops)
        body = self._body(messages, stop, options, stream=True)
        return PATH, body, ChatReading(connection, translator=self._habits.translator)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        connection = self._connection()
        path, body, read = self._asked(messages, stop, kwargs, connection)
        result = calls.post(self._clients, connection, path, body).read(read)
        say_what_is_missing(body, result, connection)
        return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        connection = self._connection()
        path, body, read = self._asked(messages, stop, kwargs, connection)
        result = (await calls.apost(self._clients, connection, path, body)).read(read)
        say_what_is_missing(body, result, connection)
        return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        connection = self._connection()
        path, body, reading = self._asked_stream(messages, stop, kwargs, connection)
        with closing(calls.stream(self._clients, connection, path, body, reading)) as chunks:
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
        connection = self._connection()
        path, body, reading = self._asked_stream(messages, stop, kwargs, connection)
        async with aclosing(calls.astream(self._clients, connection, path, body, reading)) as chunks:
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
        """This model with tools bound to it.

        Args:
            tools: Functions, pydantic classes, langchain-core's tools, or descriptions in OpenAI's or Anthropic's form.
            tool_choice: "auto", "none", "any" (or True: it must call one), or the name of the one to call.
            strict: Whether the service guarantees that arguments fit the schema.
            parallel_tool_calls: Whether one answer may hold several calls.
            kwargs: Options of each call.

        Raises:
            ValueError: `tool_choice` names none of the tools.
            Unsupported: `strict` is true, and the service does not know it.
        """
        if strict and not self._habits.strict_tools:
            raise Unsupported(f"{self.service} has no strict tools; leave strict out")
        described = tool_dicts(tools, strict=strict)
        choice = chosen_tool(tool_choice, described)
        if choice is not None:
            kwargs["tool_choice"] = choice
        if parallel_tool_calls is not None:
            kwargs["parallel_tool_calls"] = parallel_tool_calls
        return self.bind(tools=described, **kwargs)

    @property
    def holds_patterns(self) -> bool:
        """Whether the service holds a model strictly to a schema, the `pattern` of its texts included."""
        return self._habits.patterns

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
            Unsupported: The service does not know the method.
            Refused: The model declined to answer (when called).
            OutputParserException: The answer does not fit the schema (when called).
        """
        known = self._habits.methods
        method = method or known[0]
        if method in structured.METHODS and method not in known:
            raise Unsupported(f"{self.service} has no {method}; leave the method out, or take {' or '.join(known)}")
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
        return with_raw(bound, reader) if include_raw else bound | reader
