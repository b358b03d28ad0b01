"""A model that is steered token by token, as langchain-core's model that continues text."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list
from pydantic import ConfigDict

from chainkit.base.session import Counters, Piece
from chainkit.local.answers import ending, joined, logprobs, usage
from chainkit.local.rows import Group, Row, conductor, row_of
from chainkit.local.session import LocalSession
from chainkit.local.settings import Call, CallSettings
from chainkit.local.several import differ, settings_of_each
from chainkit.local.sight import Sight
from chainkit.local.soft_prompt import SoftPrompt
from chainkit.local.threads import in_thread, stream_from_thread


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


class LocalLLM(CallSettings, Sight, BaseLLM):
    """What a backend adds: a session behind a prompt.

    Attributes:
        special_tokens: Read the names of special tokens in a prompt, like "<|im_start|>", as those tokens. Only for
            prompts that you write yourself: what a user types could then end a turn and begin another.
    """

    model_config = ConfigDict(extra="forbid")  # of several bases, the last one's config counts

    special_tokens: bool = False

    @abstractmethod
    def session(self, text: str = "", *, cancelled: threading.Event | None = None) -> LocalSession:
        """A text to go on with token by token.

        Raises:
            ContextOverflow: The text is longer than the context.
        """

    def _opened(self) -> LocalSession:
        return self.session()

    def _seen(self) -> Any:
        return self._opened().vocabulary

    def _pieces(
        self, prompt: str, call: Call, cancelled: threading.Event
    ) -> Iterator[tuple[Piece, UsageMetadata | None]]:
        """The continuation of a prompt, as it comes; the last piece with what all of it has cost."""
        (soft,) = call.soft_prompts_of(1)
        with closing(self._behind(soft, prompt, cancelled)) as session:
            length = len(session.begun().tokens)
            for piece in conductor(session.engine).pieces(self._row(session, call)):
                yield piece, usage(session.counters, length) if piece.finish else None

    def _written(self, prompts: Sequence[str], call: Call, cancelled: threading.Event) -> list[Written]:
        """The continuations of several prompts, which are computed side by side."""
        if not prompts:
            return []
        with ExitStack() as stack:
            # all fit, or none is begun
            pairs = zip(call.soft_prompts_of(len(prompts)), prompts, strict=True)
            sessions = [self._behind(soft, prompt, cancelled).begun() for soft, prompt in pairs]
            for session in sessions:
                stack.callback(session.close)
            lengths, group = [len(session.tokens) for session in sessions], Group(self._at_once)
            found = conductor(sessions[0].engine).gather([self._row(session, call, group) for session in sessions])
            return [
                Written(pieces, length, session.counters)
                for pieces, length, session in zip(found, lengths, sessions, strict=True)
            ]

    def _behind(self, soft: SoftPrompt | None, prompt: str, cancelled: threading.Event) -> LocalSession:
        """A prompt behind a soft prompt."""
        session = self.session(cancelled=cancelled)
        if soft is not None or session.virtual:
            session.begin_with(soft)
        return session.append(prompt, special=self.special_tokens) if prompt else session

    def _row(self, session: LocalSession, call: Call, group: Group | None = None) -> Row:
        steps: Any = session.steps(call.sampling, call.constraint, logprobs=call.logprobs)
        return row_of(session, steps, call.sampling.max_tokens, group)

    @property
    def _at_once(self) -> int:
        """Prompts of a batch that are computed at once, if there is room for so many."""
        return 1 << 16

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Continue several prompts side by side: each as it would be continued alone.

        Args:
            inputs: The prompts.
            config: `max_concurrency` is how many are computed at once.
            return_exceptions: Give the error of a prompt in its place; the others are continued all the same.
            kwargs: Settings of the calls; `soft_prompt` may be a list with one for each prompt.
        """
        each = settings_of_each(kwargs, len(inputs))
        configs = get_config_list(config, len(inputs))
        if groups := _groups(kwargs, configs):
            return [
                result
                for group in groups
                for result in self.batch(
                    inputs[group],
                    [{**own, "max_concurrency": None} for own in configs[group]],
                    return_exceptions=return_exceptions,
                    **{**kwargs, "soft_prompt": kwargs["soft_prompt"][group]},
                )
            ]
        results = super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        if not _all_failed(results):
            return results
        return [  # the fault of one was given to all
            super(LocalLLM, self).batch([one], [own], return_exceptions=True, **settings)[0]
            for one, own, settings in zip(inputs, configs, each, strict=True)
        ]

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """As `batch`, without blocking the event loop."""
        each = settings_of_each(kwargs, len(inputs))
        configs = get_config_list(config, len(inputs))
        if groups := _groups(kwargs, configs):
            found: list[str] = []
            for group in groups:
                own: list[Any] = [{**one, "max_concurrency": None} for one in configs[group]]
                changes = {**kwargs, "soft_prompt": kwargs["soft_prompt"][group]}
                found += await self.abatch(inputs[group], own, return_exceptions=return_exceptions, **changes)
            return found
        results = await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        if not _all_failed(results):
            return results
        return [
            (await super(LocalLLM, self).abatch([one], [own], return_exceptions=True, **settings))[0]
            for one, own, settings in zip(inputs, configs, each, strict=True)
        ]

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
        generations = [[_generation(one, call.logprobs)] for one in written]
        read = sum(one.prompt_tokens for one in written)
        sampled = sum(one.counters.sampled + one.counters.forced for one in written)
        spent = {"prompt_tokens": read, "completion_tokens": sampled, "total_tokens": read + sampled}
        name = getattr(self, "model", "")
        return LLMResult(generations=generations, llm_output={"model_name": name, "token_usage": spent})

    def _chunks(
        self, prompt: str, stop: list[str] | None, cancelled: threading.Event, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        call = self.call(stop, kwargs)
        for piece, spent in self._pieces(prompt, call, cancelled):
            info = ending(piece) | {"usage_metadata": spent} if piece.finish else {}
            if piece.scores:
                info["logprobs"] = logprobs(piece.scores)
            if piece.text or info:
                yield GenerationChunk(text=piece.text, generation_info=info or None)


def _generation(written: Written, rivals: int | None) -> Generation:
    info = ending(written.pieces[-1]) | {"usage_metadata": usage(written.counters, written.prompt_tokens)}
    if rivals is not None:
        info["logprobs"] = logprobs(score for piece in written.pieces for score in piece.scores)
    return Generation(text=joined(written.pieces), generation_info=info)


def _groups(settings: dict[str, Any], configs: list[RunnableConfig]) -> list[slice]:
    """Which prompts of a batch are computed at once, where each has a soft prompt and their number is bounded.

    langchain-core's own groups would each get all the soft prompts.
    """
    most = configs[0].get("max_concurrency") if configs else None
    if not most or not differ(settings):
        return []
    return [slice(start, start + most) for start in range(0, len(configs), most)]


def _all_failed(results: Sequence[Any]) -> bool:
    return len(results) > 1 and all(isinstance(result, Exception) for result in results)
