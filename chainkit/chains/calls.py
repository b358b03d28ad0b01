"""Calls of a model with many prompts: several at the same time, each reply kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor

from chainkit.chains.kept import Kept, key_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM

    Model = BaseChatModel | BaseLLM

Progress = Callable[[str, int, int], None]
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
    kept: Kept
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
        with ContextThreadPoolExecutor(max_workers=max(1, min(limit, len(missing)))) as threads:
            futures: dict[Future[str], int] = {threads.submit(self._call, prompts[at], keys[at]): at for at in missing}
            try:
                for future in as_completed(futures):
                    results[futures[future]] = future.result()
                    self.made += 1
                    self.progress(stage, len(results), len(prompts))
            except BaseException:
                threads.shutdown(wait=True, cancel_futures=True)
                raise
        return [results[at] for at in range(len(prompts))]

    def _call(self, prompt: str, key: str) -> str:
        reply: Any = self.model.invoke(prompt, self.config)
        if isinstance(reply, str):
            text, reason = reply, None
        else:
            about: dict[str, Any] = reply.response_metadata
            text, reason = str(reply.text), about.get("finish_reason") or about.get("stop_reason")
        if reason in _CUT_SHORT:
            self.cut_short += 1
        else:
            self.kept.store(key, text)
        return text


def identity(model: Model) -> str:
    """Which model with which settings; what it answers may only be taken for the answer of the same."""
    parameters: Any = model._identifying_params  # pyright: ignore[reportPrivateUsage]
    settings = sorted((str(name), repr(value)) for name, value in parameters.items())
    return f"{type(model).__module__}.{type(model).__name__} {settings}"
