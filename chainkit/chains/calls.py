"""Concurrent calls of a model with many prompts; each reply is stored as it arrives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor

from chainkit.chains.kept import KeptResults, key_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM

    Model = BaseChatModel | BaseLLM

Progress = Callable[[str, int, int], None]
_Reply = tuple[str, bool] | None
_CUT_SHORT = ("length", "max_tokens", "MAX_TOKENS")


@dataclass(slots=True)
class Calls:
    """The calls of one run.

    Attributes:
        made: How often the model was called.
        known: How many replies were kept before.
        cut_short: Replies that ended at the model's limit of tokens; they are not kept.
    """

    model: Model
    kept: KeptResults
    config: RunnableConfig
    max_concurrency: int
    progress: Progress
    made: int = 0
    known: int = 0
    cut_short: int = 0

    def all(self, prompts: Sequence[str], stage: str) -> list[str]:
        """The replies in the order of the prompts.

        Where a call fails, those that run are awaited and kept, the others are not begun, and its error is raised.
        """
        keys = [key_of(identity(self.model), prompt) for prompt in prompts]
        results = {at: text for at, key in enumerate(keys) if (text := self.kept.load(key)) is not None}
        self.known += len(results)
        self.progress(stage, len(results), len(prompts))
        missing = [at for at in range(len(prompts)) if at not in results]
        limit = self.config.get("max_concurrency") or self.max_concurrency
        failed = threading.Event()
        with ContextThreadPoolExecutor(max_workers=max(1, min(limit, len(missing)))) as threads:
            futures: dict[Future[_Reply], int] = {
                threads.submit(self._call, prompts[at], keys[at], failed): at for at in missing
            }
            try:
                for future in as_completed(futures):
                    reply = future.result()
                    if reply is None:  # another call has failed, and its error is still to come
                        continue
                    results[futures[future]], cut_short = reply
                    self.made += 1
                    self.cut_short += cut_short
                    self.progress(stage, len(results), len(prompts))
            except BaseException:
                failed.set()
                threads.shutdown(wait=True, cancel_futures=True)
                raise
        return [results[at] for at in range(len(prompts))]

    def _call(self, prompt: str, key: str, failed: threading.Event) -> _Reply:
        """What the model replies, and whether that was cut short; None if another call has failed before."""
        if failed.is_set():
            return None
        try:
            reply: Any = self.model.invoke(prompt, self.config)
        except BaseException:
            failed.set()
            raise
        if isinstance(reply, str):
            text, reason = reply, None
        else:
            about: dict[str, Any] = reply.response_metadata
            text, reason = str(reply.text), about.get("finish_reason") or about.get("stop_reason")
        if reason in _CUT_SHORT:
            return text, True
        self.kept.store(key, text)
        return text, False


def identity(model: Model) -> str:
    """The model and its settings, as part of cache keys: an answer is reused only for the same."""
    parameters: Any = model._identifying_params  # pyright: ignore[reportPrivateUsage]
    settings = sorted((str(name), repr(value)) for name, value in parameters.items())
    return f"{type(model).__module__}.{type(model).__name__} {settings}"
