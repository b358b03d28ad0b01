"""`gguf:` as a model that answers messages, by the chat template of its file."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, PrivateAttr

from chainkit.backends.llama_cpp.answers import ending, joined, logprobs, usage
from chainkit.backends.llama_cpp.conversation import Conversation
from chainkit.backends.llama_cpp.kept import Kept
from chainkit.backends.llama_cpp.session import LlamaSession
from chainkit.backends.llama_cpp.settings import Settings
from chainkit.backends.llama_cpp.template import ChatTemplate
from chainkit.backends.llama_cpp.threads import in_thread, stream_from_thread
from chainkit.base.errors import TemplateError, Unsupported

_TEMPLATE_KEY = "tokenizer.chat_template"


class GGUFChat(Settings, BaseChatModel):
    """A GGUF file that answers messages.

    Attributes:
        chat_template: A Jinja template to use instead of the file's own.
        streaming: Generate token by token in `invoke` too, for callbacks that want each token.
    """

    model_config = ConfigDict(extra="forbid")

    chat_template: str | None = None
    streaming: bool = False

    _conversation: Kept[Conversation] = PrivateAttr(default_factory=Kept)

    @property
    def _llm_type(self) -> str:
        return "chainkit-gguf-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.model_dump(include=set(Settings.model_fields) | {"chat_template"})

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"], params["ls_model_name"] = "gguf", kwargs.get("model", self.model)
        return params

    @property
    def conversation(self) -> Conversation:
        """How messages become tokens.

        Raises:
            TemplateError: The model has no chat template.
        """
        vocabulary = self.engine.vocabulary
        return self._conversation.value(
            (self.chat_template, vocabulary), lambda: Conversation(self._template(), vocabulary)
        )

    def prompt_text(self, messages: Sequence[BaseMessage]) -> str:
        """The text that the model reads for these messages, as its template writes it."""
        return self.conversation.text(messages)

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text."""
        return self.engine.vocabulary.tokenize(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """How many tokens the model reads for these messages, those of the template included.

        Raises:
            Unsupported: Tools are given.
        """
        if tools:
            raise Unsupported("tools are not counted; bind them and read the usage of an answer")
        return len(self.conversation.tokens(messages))

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any) -> Any:
        """Not there yet.

        Raises:
            Unsupported: Always.
        """
        raise Unsupported("GGUF models cannot call tools yet")

    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **kwargs: Any) -> Any:
        """Not there yet.

        Raises:
            Unsupported: Always.
        """
        raise Unsupported("GGUF models cannot write structured output yet")

    def unload(self) -> None:
        """Let go of the engine: its memory is freed when no other model uses it. The next call loads it again."""
        self._conversation.clear()
        super().unload()

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
        for chunk in self._chunks(messages, stop, threading.Event(), **kwargs):
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
        async for chunk in stream_from_thread(lambda cancelled: self._chunks(messages, stop, cancelled, **kwargs)):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _answer(
        self, messages: list[BaseMessage], stop: list[str] | None, cancelled: threading.Event, **kwargs: Any
    ) -> ChatResult:
        sampling, rivals = self.sampling(stop, kwargs)
        session = self._session(messages, cancelled)
        prompt_tokens = len(session.tokens)
        pieces = list(session.generate(sampling, logprobs=rivals))
        session.close()
        metadata = self._metadata() | ending(pieces[-1])
        if rivals is not None:
            metadata["logprobs"] = logprobs(score for piece in pieces for score in piece.scores)
        message = AIMessage(
            content=joined(pieces), usage_metadata=usage(session, prompt_tokens), response_metadata=metadata
        )
        info = {"finish_reason": metadata["finish_reason"]}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)])

    def _chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, cancelled: threading.Event, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        sampling, rivals = self.sampling(stop, kwargs)
        session = self._session(messages, cancelled)
        prompt_tokens = len(session.tokens)
        try:
            for piece in session.generate(sampling, logprobs=rivals):
                metadata: dict[str, Any] = {"logprobs": logprobs(piece.scores)} if piece.scores else {}
                chunk = AIMessageChunk(content=piece.text, response_metadata=metadata)
                if piece.finish:
                    chunk.response_metadata |= self._metadata() | ending(piece)
                    chunk.usage_metadata = usage(session, prompt_tokens)
                    chunk.chunk_position = "last"
                if piece.text or metadata or piece.finish:
                    yield ChatGenerationChunk(message=chunk)
        finally:
            session.close()

    def _session(self, messages: Sequence[BaseMessage], cancelled: threading.Event) -> LlamaSession:
        tokens = self.conversation.tokens(messages)
        return LlamaSession(self.engine, cancelled=cancelled).append(tokens)

    def _metadata(self) -> dict[str, Any]:
        return {"model_name": self.model, "model_provider": "gguf"}

    def _template(self) -> ChatTemplate:
        source = self.chat_template or self.header.get(_TEMPLATE_KEY)
        if not isinstance(source, str) or not source.strip():
            raise TemplateError(
                f"{self.model} has no chat template; pass chat_template=..., a Jinja template, or use it as "
                f"llm('gguf:{self.model}') and write the whole prompt yourself"
            )
        return ChatTemplate(source)
