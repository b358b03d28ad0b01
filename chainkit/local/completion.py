"""A model that runs token by token, as langchain-core's model that continues text."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Self

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseLLM
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list
from pydantic import ConfigDict

from chainkit.base.generation import GenerationRequest
from chainkit.base.session import Counters, Piece
from chainkit.local.answers import ending, joined, logprobs, usage
from chainkit.local.scheduler import GenerationTask, scheduler_of
from chainkit.local.session import LocalSession
from chainkit.local.settings import CallSettings
from chainkit.local.several import differ, settings_of_each
from chainkit.local.sight import Sight
from chainkit.local.threads import in_thread, stream_from_thread

_OF_LANGCHAIN = frozenset({"tags", "metadata", "run_name", "run_id"})  # what `generate` takes beside settings


@dataclass(frozen=True)
class Completion:
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
    """A local completion model; a backend adds the runtime.

    Attributes:
        special_tokens: Read the names of special tokens in a prompt, like "<|im_start|>", as those tokens. Only for
            prompts that you write yourself: what a user types could then end a turn and begin another.
    """

    model_config = ConfigDict(extra="forbid")  # of several bases, the last one's config counts

    special_tokens: bool = False

    @abstractmethod
    def session(self, text: str = "", *, cancelled: threading.Event | None = None) -> LocalSession:
        """A session on a text, to continue token by token.

        Raises:
            ContextOverflow: The text is longer than the context.
        """

    def _opened(self) -> LocalSession:
        return self.session()

    def _seen(self) -> Any:
        return self._opened().vocabulary

    def _pieces(
        self, prompt: str, call: GenerationRequest, cancelled: threading.Event
    ) -> Iterator[tuple[Piece, UsageMetadata | None]]:
        """The continuation of a prompt, as it comes; the last piece with what all of it has cost."""
        with closing(self._before(prompt, call, cancelled)) as session:
            length = len(session.tokens)
            for piece in scheduler_of(session.runtime).pieces(_task(session, call)):
                yield piece, usage(session.counters, length) if piece.finish else None

    def _written(
        self, prompts: Sequence[str], calls: Sequence[GenerationRequest], cancelled: threading.Event
    ) -> list[Completion]:
        """The continuations of several prompts, which are computed side by side."""
        if not prompts:
            return []
        with ExitStack() as stack:
            # all fit, or none is begun
            sessions = [self._before(prompt, call, cancelled) for prompt, call in zip(prompts, calls, strict=True)]
            for session in sessions:
                stack.callback(session.close)
            lengths = [len(session.tokens) for session in sessions]
            tasks = [_task(session, call) for session, call in zip(sessions, calls, strict=True)]
            found = scheduler_of(sessions[0].runtime).gather(tasks, self._at_once)
            return [
                Completion(pieces, length, session.counters)
                for pieces, length, session in zip(found, lengths, sessions, strict=True)
            ]

    def _before(self, prompt: str, call: GenerationRequest, cancelled: threading.Event) -> LocalSession:
        """A session with a prompt, after the soft prompt of the call."""
        session = self.session(cancelled=cancelled)
        if call.soft_prompt is not None or session.virtual:
            session.begin_with(call.soft_prompt)
        return (session.append(prompt, special=self.special_tokens) if prompt else session).begun()

    @property
    def _at_once(self) -> int | None:
        """Prompts of a batch that are computed at once; None: as many as there is room for."""
        return None

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

    def generate(
        self, prompts: list[str], stop: list[str] | None = None, callbacks: Any = None, **kwargs: Any
    ) -> LLMResult:
        """Continue prompts; see langchain-core. `set_llm_cache` keeps answers apart by all settings of the call."""
        return super(LocalLLM, self._keyed(stop, kwargs)).generate(prompts, stop, callbacks, **kwargs)

    async def agenerate(
        self, prompts: list[str], stop: list[str] | None = None, callbacks: Any = None, **kwargs: Any
    ) -> LLMResult:
        """As `generate`, without blocking the event loop."""
        return await super(LocalLLM, self._keyed(stop, kwargs)).agenerate(prompts, stop, callbacks, **kwargs)

    def _keyed(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> Self:
        """This model with a cache whose keys hold the whole request: langchain-core's leave out a call's settings."""
        cache = get_llm_cache() if self.cache in (None, True) else self.cache
        if not isinstance(cache, BaseCache):
            return self
        settings = {name: value for name, value in kwargs.items() if name not in _OF_LANGCHAIN}
        if isinstance(settings.get("soft_prompt"), list | tuple):  # a prompt alone does not say which is its own
            return self.model_copy(update={"cache": False})
        return self.model_copy(update={"cache": RequestCache(cache, self.call(stop, settings).key)})

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
        return self._chunks(prompt, stop, threading.Event(), run_manager, **kwargs)

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
        calls = self.calls(stop, kwargs, len(prompts))
        written = self._written(prompts, calls, cancelled)
        generations = [[_generation(one, call.logprobs)] for one, call in zip(written, calls, strict=True)]
        read = sum(one.prompt_tokens for one in written)
        sampled = sum(one.counters.sampled + one.counters.forced for one in written)
        spent = {"prompt_tokens": read, "completion_tokens": sampled, "total_tokens": read + sampled}
        name = getattr(self, "model", "")
        return LLMResult(generations=generations, llm_output={"model_name": name, "token_usage": spent})

    def _chunks(
        self,
        prompt: str,
        stop: list[str] | None,
        cancelled: threading.Event,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        (call,) = self.calls(stop, kwargs, 1)
        for piece, spent in self._pieces(prompt, call, cancelled):
            info = ending(piece) | {"usage_metadata": spent} if piece.finish else {}
            if piece.scores:
                info["logprobs"] = logprobs(piece.scores)
            if piece.text or info:
                chunk = GenerationChunk(text=piece.text, generation_info=info or None)
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk


class RequestCache(BaseCache):
    """A cache of langchain-core, for one request."""

    def __init__(self, cache: BaseCache, key: str) -> None:
        self._cache, self._key = cache, key

    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """The answer that is kept."""
        return self._cache.lookup(prompt, llm_string + self._key)

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Keep an answer."""
        self._cache.update(prompt, llm_string + self._key, return_val)

    async def alookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """As `lookup`, without blocking the event loop."""
        return await self._cache.alookup(prompt, llm_string + self._key)

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """As `update`, without blocking the event loop."""
        await self._cache.aupdate(prompt, llm_string + self._key, return_val)

    def clear(self, **kwargs: Any) -> None:
        """Forget everything, answers to other requests too."""
        self._cache.clear(**kwargs)


def _task(session: LocalSession, call: GenerationRequest) -> GenerationTask:
    steps: Any = session.steps(call)
    return GenerationTask(session, steps, call.max_tokens)


def _generation(written: Completion, rivals: int | None) -> Generation:
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
