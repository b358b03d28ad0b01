"""A model that is steered token by token, as langchain-core's model that continues text."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult

from chainkit.base.sampling import Sampling
from chainkit.base.session import Counters, Piece
from chainkit.steered.answers import ending, joined, logprobs
from chainkit.steered.settings import CallSettings
from chainkit.steered.threads import in_thread, stream_from_thread


@dataclass(frozen=True)
class Written:
    """One finished continuation.

    Attributes:
        pieces: Its steps, the last of which says why it ended.
        prompt_tokens: Length of the prompt.
        counters: What it has cost.
    """

    pieces: Sequence[Piece]
    prompt_tokens: int
    counters: Counters


class SteeredLLM(CallSettings, BaseLLM):
    """What a backend adds: how prompts are continued, one as a stream of pieces and several at once."""

    @abstractmethod
    def _pieces(
        self, prompt: str, sampling: Sampling, rivals: int | None, cancelled: threading.Event
    ) -> Iterator[Piece]:
        """The continuation of a prompt, as it comes."""

    @abstractmethod
    def _written(
        self, prompts: Sequence[str], sampling: Sampling, rivals: int | None, cancelled: threading.Event
    ) -> list[Written]:
        """The continuations of several prompts."""

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        return self._complete(prompts, stop, threading.Event(), **kwargs)

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        return await in_thread(lambda cancelled: self._complete(prompts, stop, cancelled, **kwargs))

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        for chunk in self._chunks(prompt, stop, threading.Event(), **kwargs):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        async for chunk in stream_from_thread(lambda cancelled: self._chunks(prompt, stop, cancelled, **kwargs)):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _complete(
        self, prompts: list[str], stop: list[str] | None, cancelled: threading.Event, **kwargs: Any
    ) -> LLMResult:
        sampling, rivals = self.sampling(stop, kwargs)
        written = self._written(prompts, sampling, rivals, cancelled)
        generations = [[_generation(one.pieces, rivals)] for one in written]
        read = sum(one.prompt_tokens for one in written)
        sampled = sum(one.counters.sampled + one.counters.forced for one in written)
        spent = {"prompt_tokens": read, "completion_tokens": sampled, "total_tokens": read + sampled}
        name = getattr(self, "model", "")
        return LLMResult(generations=generations, llm_output={"model_name": name, "token_usage": spent})

    def _chunks(
        self, prompt: str, stop: list[str] | None, cancelled: threading.Event, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        sampling, rivals = self.sampling(stop, kwargs)
        for piece in self._pieces(prompt, sampling, rivals, cancelled):
            info = ending(piece) if piece.finish else {}
            if piece.scores:
                info["logprobs"] = logprobs(piece.scores)
            if piece.text or info:
                yield GenerationChunk(text=piece.text, generation_info=info or None)


def _generation(pieces: Sequence[Piece], rivals: int | None) -> Generation:
    info = ending(pieces[-1])
    if rivals is not None:
        info["logprobs"] = logprobs(score for piece in pieces for score in piece.scores)
    return Generation(text=joined(pieces), generation_info=info)
