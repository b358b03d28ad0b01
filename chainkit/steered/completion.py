"""A model that is steered token by token, as langchain-core's model that continues text."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from pydantic import ConfigDict

from chainkit.base.session import Counters, Piece
from chainkit.steered.answers import ending, joined, logprobs
from chainkit.steered.session import SteeredSession
from chainkit.steered.settings import Call, CallSettings
from chainkit.steered.sight import Sight
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


class SteeredLLM(CallSettings, Sight, BaseLLM):
    """What a backend adds: a session behind a prompt.

    Attributes:
        special_tokens: Read the names of special tokens in a prompt, like "<|im_start|>", as those tokens. Only for
            prompts that you write yourself: what a user types could then end a turn and begin another.
    """

    model_config = ConfigDict(extra="forbid")  # of several bases, the last one's config counts

    special_tokens: bool = False

    @abstractmethod
    def session(self, text: str = "", *, cancelled: threading.Event | None = None) -> SteeredSession:
        """A text to go on with token by token.

        Raises:
            ContextOverflow: The text is longer than the context.
        """

    def _opened(self) -> SteeredSession:
        return self.session()

    def _seen(self) -> Any:
        return self._opened().vocabulary

    def _pieces(self, prompt: str, call: Call, cancelled: threading.Event) -> Iterator[Piece]:
        """The continuation of a prompt, as it comes."""
        with closing(self.session(prompt, cancelled=cancelled)) as session:
            yield from session.generate(call.sampling, call.constraint, logprobs=call.logprobs)

    def _written(self, prompts: Sequence[str], call: Call, cancelled: threading.Event) -> list[Written]:
        """The continuations of several prompts."""
        sessions = [self.session(prompt, cancelled=cancelled) for prompt in prompts]  # all fit, or none is begun
        written: list[Written] = []
        for session in sessions:
            with closing(session):
                length = len(session.begun().tokens)
                pieces = list(session.generate(call.sampling, call.constraint, logprobs=call.logprobs))
                written.append(Written(pieces, length, session.counters))
        return written

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
        call = self.call(stop, kwargs)
        written = self._written(prompts, call, cancelled)
        generations = [[_generation(one.pieces, call.logprobs)] for one in written]
        read = sum(one.prompt_tokens for one in written)
        sampled = sum(one.counters.sampled + one.counters.forced for one in written)
        spent = {"prompt_tokens": read, "completion_tokens": sampled, "total_tokens": read + sampled}
        name = getattr(self, "model", "")
        return LLMResult(generations=generations, llm_output={"model_name": name, "token_usage": spent})

    def _chunks(
        self, prompt: str, stop: list[str] | None, cancelled: threading.Event, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        call = self.call(stop, kwargs)
        for piece in self._pieces(prompt, call, cancelled):
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
