"""Tokens and dollars that the models of a mapping take, and the bounds on them."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from chainkit.chains.limits import RateLimiter
from chainkit.observe.prices import Price, price


class Spending(BaseCallbackHandler):
    """Counts what models say that their answers took; safe for threads.

    Attributes:
        tokens: Read and written.
        cost: Estimated US dollars, of the calls whose price is known.
        unpriced: The hosted model whose price is not known, or an empty text.
    """

    run_inline = True

    def __init__(self, max_tokens: int | None, max_cost: float | None, limiter: RateLimiter | None) -> None:
        for name, value in (("max_tokens", max_tokens), ("max_cost", max_cost)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        self.tokens, self.cost, self.unpriced = 0, 0.0, ""
        self._max_tokens, self._max_cost, self._limiter = max_tokens, max_cost, limiter
        self._lock = threading.Lock()
        self._open: dict[UUID, Price | None] = {}

    @property
    def limited(self) -> bool:
        """Whether there is a bound."""
        return self._max_tokens is not None or self._max_cost is not None

    def reached(self, finished: int, in_flight: int) -> str | None:
        """Which bound is reached if the calls in flight take what the finished ones took; None if none is."""
        expected = in_flight / finished if finished else 0.0
        if self._max_tokens is not None and self.tokens * (1 + expected) >= self._max_tokens:
            return f"max_tokens of {self._max_tokens:,} is spent ({self.tokens:,})"
        if self._max_cost is None:
            return None
        if self.unpriced:
            return f"the price of {self.unpriced} is not known, so that max_cost cannot be held; take max_tokens"
        if self.cost * (1 + expected) >= self._max_cost:
            return f"max_cost of ${self._max_cost:g} is spent (${self.cost:.4f})"
        return None

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[Any]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """A call begins: remember its price."""
        self._begin(run_id, kwargs.get("metadata") or {})

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        """As `on_chat_model_start`."""
        self._begin(run_id, kwargs.get("metadata") or {})

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A call has failed."""
        self._open.pop(run_id, None)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A call has ended: count its tokens and cost."""
        known = self._open.pop(run_id, None)
        read, written, cached = _usage(response)
        with self._lock:
            self.tokens += read + written
            self.cost += known.of(read, written, cached) if known else 0.0
        if self._limiter is not None:
            self._limiter.spend(read + written)

    def _begin(self, run_id: UUID, metadata: dict[str, Any]) -> None:
        provider, model = str(metadata.get("ls_provider") or ""), str(metadata.get("ls_model_name") or "")
        known = self._open[run_id] = price(provider, model)
        if known is None and provider and model and not _is_local(provider):
            self.unpriced = f"{provider}:{model}"


def _is_local(provider: str) -> bool:
    return provider in ("gguf", "ggml", "smollm2", "huggingface", "ctransformers", "fake", "ollama", "llamacpp", "vllm")


def _usage(response: LLMResult) -> tuple[int, int, int]:
    """Tokens read, written, and read from a cache."""
    read = written = cached = 0
    for several in response.generations:
        for generation in several[:1]:
            message = generation.message if isinstance(generation, ChatGeneration) else None
            usage: Any = message.usage_metadata if isinstance(message, AIMessage) else None
            usage = usage or (generation.generation_info or {}).get("usage_metadata")
            if usage:
                read += usage.get("input_tokens") or 0
                written += usage.get("output_tokens") or 0
                cached += (usage.get("input_token_details") or {}).get("cache_read") or 0
    if not read + written:
        spent: dict[str, Any] = (response.llm_output or {}).get("token_usage") or {}
        read, written = spent.get("prompt_tokens") or 0, spent.get("completion_tokens") or 0
    return read, written, cached
