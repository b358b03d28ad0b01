"""A model that runs token by token, as langchain-core's model that answers messages."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from pydantic import ConfigDict, PrivateAttr

from chainkit.base.errors import TemplateError, Unsupported
from chainkit.base.generation import GenerationRequest, key_text
from chainkit.decoding.answers import FormParser, json_form, with_raw
from chainkit.decoding.loop import Vocabulary
from chainkit.local.answers import ending, joined, logprobs, usage
from chainkit.local.conversation import MessageEncoder, plain_text, with_hint
from chainkit.local.kept import Kept
from chainkit.local.scheduler import GenerationTask, scheduler_of
from chainkit.local.session import LocalSession
from chainkit.local.settings import CallSettings
from chainkit.local.several import PairedModel, differ, pairs
from chainkit.local.sight import Readable, Sight
from chainkit.local.template import ChatTemplate
from chainkit.local.threads import in_thread, stream_from_thread
from chainkit.local.tools import Shown, ToolAnswer, Toolbox, chosen, without_tools

_AT_ONCE = 64  # conversations that threads wait for; how many are computed at once the engine knows


class LocalChat(CallSettings, Sight, BaseChatModel):
    """A local chat model; a backend adds its vocabulary, chat template and runtime.

    Attributes:
        chat_template: A Jinja template to use instead of the model's own.
        streaming: Generate token by token in `invoke` too, for callbacks that want each token.
    """

    model_config = ConfigDict(extra="forbid")  # of several bases, the last one's config counts

    chat_template: str | None = None
    streaming: bool = False

    _first_token: ClassVar[bool] = True  # whether the model's first token is put before a template without one
    _conversation: Kept[MessageEncoder] = PrivateAttr(default_factory=Kept)

    @property
    @abstractmethod
    def _vocabulary(self) -> Vocabulary:
        """The model's tokens."""

    @abstractmethod
    def _template(self) -> ChatTemplate:
        """How the model writes messages.

        Raises:
            TemplateError: The model has no chat template.
        """

    @abstractmethod
    def _session(self, cancelled: threading.Event) -> LocalSession:
        """An empty session."""

    @abstractmethod
    def _metadata(self) -> dict[str, Any]:
        """The name of the model and of its provider."""

    def _opened(self) -> LocalSession:
        return self._session(threading.Event())

    def _seen(self) -> Vocabulary:
        return self._vocabulary

    def _ids(self, text: Readable, vocabulary: Any) -> list[int]:
        return super()._ids(text, vocabulary) if isinstance(text, str) else self.conversation.tokens(text)

    @property
    def conversation(self) -> MessageEncoder:
        """How messages become tokens.

        Raises:
            TemplateError: The model has no chat template.
        """
        vocabulary = self._vocabulary
        return self._conversation.value(
            (self.chat_template, vocabulary),
            lambda: MessageEncoder(self._template(), vocabulary, first_token=self._first_token),
        )

    @property
    def has_template(self) -> bool:
        """Whether the model says how messages are written; a base model does not, and only continues text."""
        try:
            self._template()
        except TemplateError:
            return False
        return True

    def session(
        self, messages: Sequence[BaseMessage] = (), *, cancelled: threading.Event | None = None
    ) -> LocalSession:
        """A session on a conversation, positioned where the answer begins.

        Args:
            messages: The conversation; without messages the session is empty.
            cancelled: Cancels the computation.

        Raises:
            TemplateError: The model has no chat template.
            ContextOverflow: The conversation is longer than the context.
        """
        if not messages:
            return self._session(cancelled or threading.Event())
        return self._asked(messages, None, cancelled or threading.Event(), self.call(None, {}))

    def prompt_text(self, messages: Sequence[BaseMessage]) -> str:
        """The text that the model reads for these messages, as its template writes it."""
        return self.conversation.text(messages)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """How many tokens the model reads for these messages, those of the template included.

        Raises:
            Unsupported: Tools are given.
        """
        if tools:
            raise Unsupported("tools are not counted; bind them and read the usage of an answer")
        return len(self.conversation.tokens(messages))

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """This model with tools. An answer may hold several calls; the arguments of each always fit the tool's schema.

        A call that `max_tokens` or the context cuts off is in `invalid_tool_calls`, with the reason.

        Args:
            tools: Functions, pydantic models, langchain tools, or OpenAI's form.
            tool_choice: None or "auto" leaves it to the model, "any" asks for a call, "none" for none, a name for that
                tool. Left to the model, an answer that begins with "<" or "{" is a call, and no other is.
            strict: Without effect; it is always strict.
            kwargs: Settings of the calls; `parallel_tool_calls=False` allows one call an answer.
        """
        described = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=described, tool_choice=chosen(tool_choice), **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        include_raw: bool = False,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answers as objects of a schema: whole, or an error that says why not.

        The question ends with a short sentence that asks for JSON, unless it speaks of JSON itself.

        Args:
            schema: A pydantic model, a TypedDict, or a JSON schema; None allows any JSON object.
            include_raw: Give {"raw": message, "parsed": object, "parsing_error": error or None} instead.
            method: Accepted for the sake of other models; here the schema is always a constraint.
            strict: Without effect; it is always strict.
            kwargs: Settings of the calls.

        Raises:
            ConstraintError: The schema cannot be followed.
            OutputParserException: A limit cut the answer (when called).
            ConstraintNotMet: The model found no answer that holds what no grammar can say (when called).
        """
        from chainkit.decoding.constraints import answer_form  # llguidance is only needed here

        constraint = answer_form(None if schema is None else json_form(schema))
        form = {"kwargs": {"method": method}, "schema": _traced(schema)}
        bound = self.bind(constraint=constraint, ls_structured_output_format=form, **kwargs)
        parser = FormParser(form=schema)
        return with_raw(bound, parser) if include_raw else bound | parser

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer several conversations side by side: each as it would be answered alone.

        Args:
            inputs: The conversations.
            config: `max_concurrency` is how many are answered at once; without it, as many as there is room for.
            return_exceptions: Give the error of a conversation in its place.
            kwargs: Settings of the calls; `soft_prompt` may be a list with one for each conversation.
        """
        configs: Any = [
            {"max_concurrency": _AT_ONCE, **{key: value for key, value in own.items() if value is not None}}
            for own in get_config_list(config, len(inputs))
        ]
        if differ(kwargs):
            return PairedModel(self).batch(pairs(inputs, kwargs), configs, return_exceptions=return_exceptions)
        return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """As `batch`, without blocking the event loop."""
        if differ(kwargs):
            return await PairedModel(self).abatch(pairs(inputs, kwargs), config, return_exceptions=return_exceptions)
        return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The key of `set_llm_cache`: the model and the whole request, tools and schemas included."""
        call, toolbox = self._call(stop, kwargs)
        tools = toolbox and (toolbox.tools, toolbox.choice, toolbox.several)
        return key_text((type(self).__name__, self._identifying_params, tools, call))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._answer(messages, stop, threading.Event(), **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await in_thread(lambda cancelled: self._answer(messages, stop, cancelled, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        return self._chunks(messages, stop, threading.Event(), run_manager, **kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in stream_from_thread(lambda cancelled: self._chunks(messages, stop, cancelled, **kwargs)):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def astream_plain(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[str | AIMessageChunk]:
        """As `astream`, for who has no callbacks: text alone is a `str`, which costs a tenth of a chunk.

        Args:
            messages: Messages whose contents are texts.
            stop: As for `astream`.
            kwargs: As for `astream`.
        """
        async for piece in stream_from_thread(lambda cancelled: self._shown(messages, stop, cancelled, **kwargs)):
            yield piece

    def _answer(
        self, messages: list[BaseMessage], stop: list[str] | None, cancelled: threading.Event, **kwargs: Any
    ) -> ChatResult:
        call, toolbox = self._call(stop, kwargs)
        with closing(self._asked(messages, toolbox, cancelled, call)) as session:
            prompt_tokens = len(session.tokens)
            (pieces,) = scheduler_of(session.runtime).gather([_task(session, call)])
        metadata = self._metadata() | ending(pieces[-1])
        if call.logprobs is not None:
            metadata["logprobs"] = logprobs(score for piece in pieces for score in piece.scores)
        text = joined(pieces)
        answer = toolbox.read(text, pieces[-1]) if toolbox else ToolAnswer(text)
        message = AIMessage(
            content=answer.text,
            tool_calls=list(answer.calls),
            invalid_tool_calls=list(answer.cut),
            usage_metadata=usage(session.counters, prompt_tokens),
            response_metadata=metadata,
        )
        info = {"finish_reason": metadata["finish_reason"]}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)])

    def _chunks(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        cancelled: threading.Event,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for shown in self._shown(messages, stop, cancelled, **kwargs):
            generated = ChatGenerationChunk(message=AIMessageChunk(content=shown) if isinstance(shown, str) else shown)
            if run_manager:
                run_manager.on_llm_new_token(generated.text, chunk=generated)
            yield generated

    def _shown(
        self, messages: list[BaseMessage], stop: list[str] | None, cancelled: threading.Event, **kwargs: Any
    ) -> Iterator[str | AIMessageChunk]:
        """Parts of an answer to show: text, or a chunk where there is metadata or a tool call."""
        call, toolbox = self._call(stop, kwargs)
        text = Shown(toolbox)
        with closing(self._asked(messages, toolbox, cancelled, call)) as session:
            prompt_tokens = len(session.tokens)
            for piece in scheduler_of(session.runtime).pieces(_task(session, call)):
                metadata: dict[str, Any] = {"logprobs": logprobs(piece.scores)} if piece.scores else {}
                content = text.feed(piece.text)
                if piece.finish:
                    rest, calls = text.end(piece)
                    yield AIMessageChunk(
                        content=content + rest,
                        tool_call_chunks=calls,
                        response_metadata=metadata | self._metadata() | ending(piece),
                        usage_metadata=usage(session.counters, prompt_tokens),
                        chunk_position="last",
                    )
                elif metadata:
                    yield AIMessageChunk(content=content, response_metadata=metadata)
                elif content:
                    yield content

    def _call(self, stop: list[str] | None, changes: dict[str, Any]) -> tuple[GenerationRequest, Toolbox | None]:
        changes = dict(changes)
        tools, choice = changes.pop("tools", None), changes.pop("tool_choice", None)
        rule = ""
        if (form := changes.pop("response_format", None)) is not None:
            from chainkit.decoding.constraints import response_form, rule_of  # llguidance is only needed here

            if changes.get("constraint") is not None:
                raise Unsupported("one answer cannot follow both a constraint and a response_format; give one of them")
            answer = response_form(form)
            rule = rule_of(answer) if tools and answer is not None else ""
            changes["constraint"] = None if tools else answer
        several = changes.pop("parallel_tool_calls", None) is not False
        call = self.call(stop, changes)
        if not tools:
            return call, None
        if call.constraint is not None:
            raise Unsupported("one answer cannot follow both tools and a constraint; give a response_format instead")
        toolbox = Toolbox(tuple(tools), chosen(choice), self.conversation.template.mentions("tools"), several, rule)
        return replace(call, constraint=toolbox.constraint()), toolbox

    def _asked(
        self,
        messages: Sequence[BaseMessage],
        toolbox: Toolbox | None,
        cancelled: threading.Event,
        call: GenerationRequest,
    ) -> LocalSession:
        """A session positioned after the question."""
        messages = without_tools(messages, toolbox, self.conversation.template)
        asked = "\n".join(plain_text(message) for message in messages if isinstance(message, HumanMessage))
        messages = with_hint(messages, getattr(call.constraint, "hint", ""))
        tools = {"tools": list(toolbox.tools)} if toolbox and toolbox.native else {}
        session = self._session(cancelled)
        if call.soft_prompt is not None or session.virtual:
            session.begin_with(call.soft_prompt)
        session.question = asked
        return session.append(self.conversation.tokens(messages, **tools))


def _task(session: LocalSession, call: GenerationRequest) -> GenerationTask:
    steps: Any = session.steps(call)
    return GenerationTask(session, steps, call.max_tokens)


def _traced(schema: dict[str, Any] | type | None) -> dict[str, Any]:
    """The schema as tracers expect it."""
    if isinstance(schema, type):
        return convert_to_json_schema(schema)
    if schema is None:
        return {}
    from chainkit.decoding.schemas import schema_of

    return schema_of(schema)
