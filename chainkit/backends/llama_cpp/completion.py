"""`gguf:` as a model that continues text."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from pydantic import ConfigDict

from chainkit.backends.llama_cpp.answers import ending, joined, logprobs
from chainkit.backends.llama_cpp.session import LlamaSession
from chainkit.backends.llama_cpp.settings import Settings
from chainkit.backends.llama_cpp.threads import in_thread, stream_from_thread


class GGUFModel(Settings, BaseLLM):
    """A GGUF file that continues text.

    Attributes:
        special_tokens: Read the names of special tokens in a prompt, like "<|im_start|>", as those tokens. Only for
            prompts that you write yourself: what a user types could then end a turn and begin another.
    """

    model_config = ConfigDict(extra="forbid")

    special_tokens: bool = False

    @property
    def _llm_type(self) -> str:
        return "chainkit-gguf"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.model_dump(include=set(Settings.model_fields) | {"special_tokens"})

    def session(self, text: str = "", *, cancelled: threading.Event | None = None) -> LlamaSession:
        """A text to go on with token by token.

        Raises:
            ContextOverflow: The text is longer than the context.
        """
        session = LlamaSession(self.engine, cancelled=cancelled)
        return session.append(text, special=self.special_tokens) if text else session

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text."""
        return self.engine.vocabulary.tokenize(text, special=self.special_tokens)

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
        sessions = [self.session(prompt, cancelled=cancelled) for prompt in prompts]  # all fit, or none is begun
        read = sum(len(session.tokens) for session in sessions)
        generations: list[list[Generation]] = []
        written = 0
        for session in sessions:
            pieces = list(session.generate(call.sampling, call.constraint, logprobs=call.logprobs))
            session.close()
            info = ending(pieces[-1])
            if call.logprobs is not None:
                info["logprobs"] = logprobs(score for piece in pieces for score in piece.scores)
            generations.append([Generation(text=joined(pieces), generation_info=info)])
            written += session.counters.sampled + session.counters.forced
        spent = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        return LLMResult(generations=generations, llm_output={"model_name": self.model, "token_usage": spent})

    def _chunks(
        self, prompt: str, stop: list[str] | None, cancelled: threading.Event, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        call = self.call(stop, kwargs)
        session = self.session(prompt, cancelled=cancelled)
        try:
            for piece in session.generate(call.sampling, call.constraint, logprobs=call.logprobs):
                info = ending(piece) if piece.finish else {}
                if piece.scores:
                    info["logprobs"] = logprobs(piece.scores)
                if piece.text or info:
                    yield GenerationChunk(text=piece.text, generation_info=info or None)
        finally:
            session.close()
