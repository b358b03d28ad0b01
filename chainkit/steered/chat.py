"""A model that is steered token by token, as langchain-core's model that answers messages."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from chainkit.base.errors import Unsupported
from chainkit.base.sampling import Sampling
from chainkit.base.session import Counters, Piece
from chainkit.steered.answers import ending, joined, logprobs, usage
from chainkit.steered.conversation import Conversation
from chainkit.steered.settings import CallSettings
from chainkit.steered.threads import in_thread, stream_from_thread


class ChatSession(Protocol):
    """What a chat needs of a session."""

    tokens: list[int]
    counters: Counters

    def append(self, text: Sequence[int]) -> Self:
        """Put tokens at the end."""
        ...

    def generate(self, sampling: Sampling, constraint: Any = None, *, logprobs: int | None = None) -> Iterator[Piece]:
        """Continue the text."""
        ...

    def close(self) -> None:
        """Give the memory to others."""
        ...


class SteeredChat(CallSettings, BaseChatModel):
    """What a backend adds: how messages become tokens, and a session to continue them."""

    @property
    @abstractmethod
    def conversation(self) -> Conversation:
        """How messages become tokens.

        Raises:
            TemplateError: The model has no chat template.
        """

    @abstractmethod
    def _session(self, cancelled: threading.Event) -> ChatSession:
        """An empty session."""

    @abstractmethod
    def _metadata(self) -> dict[str, Any]:
        """The name of the model and of its provider."""

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
        with closing(self._session(cancelled)) as session:
            prompt_tokens = len(session.append(self.conversation.tokens(messages)).tokens)
            pieces = list(session.generate(sampling, logprobs=rivals))
        metadata = self._metadata() | ending(pieces[-1])
        if rivals is not None:
            metadata["logprobs"] = logprobs(score for piece in pieces for score in piece.scores)
        spent = usage(session.counters, prompt_tokens)
        message = AIMessage(content=joined(pieces), usage_metadata=spent, response_metadata=metadata)
        info = {"finish_reason": metadata["finish_reason"]}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)])

    def _chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, cancelled: threading.Event, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        sampling, rivals = self.sampling(stop, kwargs)
        with closing(self._session(cancelled)) as session:
            prompt_tokens = len(session.append(self.conversation.tokens(messages)).tokens)
            for piece in session.generate(sampling, logprobs=rivals):
                metadata: dict[str, Any] = {"logprobs": logprobs(piece.scores)} if piece.scores else {}
                chunk = AIMessageChunk(content=piece.text, response_metadata=metadata)
                if piece.finish:
                    chunk.response_metadata |= self._metadata() | ending(piece)
                    chunk.usage_metadata = usage(session.counters, prompt_tokens)
                    chunk.chunk_position = "last"
                if piece.text or metadata or piece.finish:
                    yield ChatGenerationChunk(message=chunk)
