"""Models for trying things without any model: `fake:` answers at once, always the same, and costs nothing."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    GenerationChunk,
    LLMResult,
)
from pydantic import BaseModel, ConfigDict, Field

_PIECES = re.compile(r"\s*\S+|\s+")


class FakeSettings(BaseModel):
    """Settings of all `fake:` models.

    Attributes:
        model: Not used; any name will do.
        reply: Reply of the model; None repeats the prompt.
        max_tokens: Words after which it is cut; None for no limit.
        stop: Stop at the first of these texts, as well as at those of a call.
        temperature: Accepted like any model's, and without effect.
        seed: Likewise.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    reply: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    stop: list[str] | None = None
    temperature: float = Field(default=0.0, ge=0)
    seed: int | None = None

    def called_with(self, settings: Mapping[str, Any]) -> FakeSettings:
        """These settings, changed for one call.

        Raises:
            TypeError: A setting is unknown.
        """
        known = FakeSettings.model_fields
        if unknown := settings.keys() - known.keys():
            raise TypeError(f"no setting {', '.join(map(repr, sorted(unknown)))}; settings: {', '.join(sorted(known))}")
        return FakeSettings(**{name: getattr(self, name) for name in known} | dict(settings))

    def spoken(self, heard: str, stop: Sequence[str] | None) -> tuple[str, str]:
        """The answer to a text, and why it ended: `stop` or `length`."""
        text, reason = cut(heard if self.reply is None else self.reply, [*(self.stop or ()), *(stop or ())])
        words = pieces(text)
        if self.max_tokens is not None and len(words) > self.max_tokens:
            return "".join(words[: self.max_tokens]), "length"
        return text, reason


class SpokenLLM(BaseLLM, ABC):
    """A language model whose whole answer is known at once; it is streamed word by word."""

    @abstractmethod
    def said(self, prompt: str, stop: Sequence[str] | None, settings: Mapping[str, Any]) -> tuple[str, str]:
        """The answer to a prompt, and why it ended: `stop` or `length`."""

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        return LLMResult(generations=[[_generation(*self.said(prompt, stop, kwargs))] for prompt in prompts])

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        text, reason = self.said(prompt, stop, kwargs)
        for piece in [*pieces(text), ""]:
            chunk = GenerationChunk(text=piece, generation_info=None if piece else {"finish_reason": reason})
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        return self._generate(prompts, stop, **kwargs)  # nothing to wait for

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        for chunk in self._stream(prompt, stop, **kwargs):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def get_token_ids(self, text: str) -> list[int]:
        """One number for each word."""
        return token_ids(text)


class SpokenChat(BaseChatModel, ABC):
    """A chat model whose whole answer is known at once; it is streamed word by word."""

    told_name: ClassVar[str] = "fake"

    @abstractmethod
    def said(
        self, messages: list[BaseMessage], stop: Sequence[str] | None, settings: Mapping[str, Any]
    ) -> tuple[str, str]:
        """The answer to messages, and why it ended: `stop` or `length`."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text, reason = self.said(messages, stop, kwargs)
        message = AIMessage(
            content=text, usage_metadata=usage(messages, text), response_metadata=self._metadata(reason)
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        text, reason = self.said(messages, stop, kwargs)
        for piece in pieces(text):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
        last = AIMessageChunk(
            content="",
            usage_metadata=usage(messages, text),
            response_metadata=self._metadata(reason),
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, **kwargs)  # nothing to wait for

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, stop, **kwargs):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def get_token_ids(self, text: str) -> list[int]:
        """One number for each word."""
        return token_ids(text)

    def _metadata(self, reason: str) -> dict[str, Any]:
        return {"model_name": self.told_name, "model_provider": "chainkit", "finish_reason": reason}


class FakeLLM(FakeSettings, SpokenLLM):
    """Repeats its prompt, or says `reply`.

    >>> FakeLLM(reply="It is noon. Or not.").invoke("What time is it?", stop=[" Or"])
    'It is noon.'
    """

    @property
    def _llm_type(self) -> str:
        return "chainkit-fake"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "reply": self.reply, "max_tokens": self.max_tokens, "stop": self.stop}

    def said(self, prompt: str, stop: Sequence[str] | None, settings: Mapping[str, Any]) -> tuple[str, str]:
        """`reply`, or the prompt, up to the first stop text and the limit of words."""
        return self.called_with(settings).spoken(prompt, stop)


class FakeChat(FakeSettings, SpokenChat):
    """Repeats the last human message, or says `reply`.

    >>> FakeChat().invoke("Hello there").content
    'Hello there'
    """

    @property
    def _llm_type(self) -> str:
        return "chainkit-fake-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "reply": self.reply, "max_tokens": self.max_tokens, "stop": self.stop}

    def said(
        self, messages: list[BaseMessage], stop: Sequence[str] | None, settings: Mapping[str, Any]
    ) -> tuple[str, str]:
        """`reply`, or the last human message, up to the first stop text and the limit of words."""
        return self.called_with(settings).spoken(last_human(messages), stop)


class FakeEmbeddings(BaseModel, Embeddings):
    """Hashed bags of words: texts that share words are near, and nothing is learnt.

    Attributes:
        dimensions: Length of the vectors, all of unit length.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    dimensions: int = Field(default=256, ge=8)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector of unit length for each text."""
        return self.embed_array(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The same vector that `embed_documents` gives for this text."""
        return self.embed_array([text])[0].tolist()

    def token_counts(self, texts: Sequence[str], *, query: bool = False) -> list[int]:
        """The number of words of each text."""
        return [len(re.findall(r"\w+", text)) for text in texts]

    def embed_array(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 vectors of unit length, shape (N, `dimensions`)."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()) or [""]:
                number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
                row[number % self.dimensions] += 1.0
            row /= np.linalg.norm(row)
        return vectors


def last_human(messages: Sequence[BaseMessage]) -> str:
    """The text of the last human message; empty if there is none."""
    return next((str(message.text) for message in reversed(messages) if isinstance(message, HumanMessage)), "")


def cut(text: str, stop: Sequence[str] | None) -> tuple[str, str]:
    """The text before the first stop, and why it ended.

    >>> cut("one two three", stop=["three", "two"])
    ('one ', 'stop')
    """
    ends = [text.find(word) for word in stop or () if word in text]
    return (text[: min(ends)] if ends else text), "stop"


def pieces(text: str) -> list[str]:
    """The words of a text, each with the white space before it.

    >>> pieces("Hi, you two ")
    ['Hi,', ' you', ' two', ' ']
    """
    return _PIECES.findall(text)


def usage(messages: Sequence[BaseMessage], answer: str) -> UsageMetadata:
    """Words counted as tokens."""
    read = sum(len(pieces(str(message.text))) for message in messages)
    written = len(pieces(answer))
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


def token_ids(text: str) -> list[int]:
    """A stable number for each word."""
    return [int.from_bytes(hashlib.blake2b(p.encode(), digest_size=4).digest(), "little") for p in pieces(text)]


def _generation(text: str, reason: str) -> Generation:
    return Generation(text=text, generation_info={"finish_reason": reason})
