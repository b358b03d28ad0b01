"""A rate limiter that counts requests and tokens, and sleeps just as long as it must."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, overload

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.rate_limiters import BaseRateLimiter

from chainkit.base import opening

Chat = TypeVar("Chat", bound=BaseChatModel)


class _Bucket:
    """A token bucket that refills evenly over a minute; taking more than it holds means waiting."""

    def __init__(self, per_minute: float, now: float) -> None:
        self.size = per_minute
        self.per_second = per_minute / 60
        self._content = per_minute
        self._at = now

    def taken(self, amount: float, now: float) -> None:
        self._content = min(self.size, self._content + (now - self._at) * self.per_second) - amount
        self._at = now

    def wait(self, least: float, now: float) -> float:
        """Seconds until it holds at least so much."""
        content = min(self.size, self._content + (now - self._at) * self.per_second)
        return max(0.0, (least - content) / self.per_second)


class RateLimiter(BaseRateLimiter):
    """A limit of requests and tokens a minute, for one model or for several that share it; safe for threads and tasks.

    Requests are counted before a call. How many tokens it takes is known only after, so a call waits until the tokens
    of those before it are paid for: give it to a model with `limit`, which also lets it hear the models' counts.
    A request that waits has its place: it sleeps once, as long as needed, and does not ask again and again.

    Args:
        requests_per_minute: None for no limit.
        tokens_per_minute: Input and output; None for no limit.
        clock: Seconds; for tests.

    Raises:
        ValueError: Neither limit is given, or one is not above 0.

    >>> import chainkit
    >>> limiter = RateLimiter(requests_per_minute=60, tokens_per_minute=10_000)
    >>> limiter.limit("fake:?reply=hello").invoke("Hi").content
    'hello'
    """

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if requests_per_minute is None and tokens_per_minute is None:
            raise ValueError("give requests_per_minute, tokens_per_minute, or both")
        for name, value in (("requests_per_minute", requests_per_minute), ("tokens_per_minute", tokens_per_minute)):
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a number above 0, got {value}")
        self._clock = clock
        self._lock = threading.Lock()
        now = clock()
        self._requests = _Bucket(requests_per_minute, now) if requests_per_minute else None
        self._tokens = _Bucket(tokens_per_minute, now) if tokens_per_minute else None

    def acquire(self, *, blocking: bool = True) -> bool:
        """Wait for leave to send one request.

        Args:
            blocking: False does not wait, and answers False if it would have to; then nothing is counted.
        """
        wait = self._reserve(blocking)
        while wait:
            time.sleep(wait)
            wait = self._tokens_due()
        return wait is not None

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Wait for leave to send one request, without holding up other tasks; a cancelled wait gives its place back."""
        wait = self._reserve(blocking)
        try:
            while wait:
                await asyncio.sleep(wait)
                wait = self._tokens_due()
        except asyncio.CancelledError:
            self._give_back()
            raise
        return wait is not None

    def spend(self, tokens: int) -> None:
        """Count tokens that a call took."""
        if self._tokens and tokens > 0:
            with self._lock:
                self._tokens.taken(tokens, self._clock())

    @overload
    def limit(self, model: str) -> BaseChatModel: ...

    @overload
    def limit(self, model: Chat) -> Chat: ...

    def limit(self, model: Any) -> Any:
        """A copy of the model (or the one that a spec names) that asks this limiter, and tells it its tokens."""
        model = opening.chat_model(model)
        listeners: Any = model.callbacks
        own = _Counter(self)
        callbacks: Any = [*listeners, own] if isinstance(listeners, list) else [own]
        if listeners and not isinstance(listeners, list):
            callbacks = listeners.copy()
            callbacks.add_handler(own, inherit=False)
        return model.model_copy(update={"rate_limiter": self, "callbacks": callbacks})

    def _reserve(self, blocking: bool) -> float | None:
        """Take a place; how long until it is due, or None if there is none at once."""
        with self._lock:
            now = self._clock()
            wait = max(
                self._requests.wait(1, now) if self._requests else 0.0,
                self._tokens.wait(0, now) if self._tokens else 0.0,
            )
            if wait and not blocking:
                return None
            if self._requests:
                self._requests.taken(1, now)
            return wait

    def _tokens_due(self) -> float:
        """Seconds until the tokens are paid for that others spent meanwhile."""
        with self._lock:
            return self._tokens.wait(0, self._clock()) if self._tokens else 0.0

    def _give_back(self) -> None:
        with self._lock:
            if self._requests:
                self._requests.taken(-1, self._clock())


class _Counter(BaseCallbackHandler):
    """Tells a limiter what answers took."""

    run_inline = True

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        for several in response.generations:
            for generation in several[:1]:
                message = generation.message if isinstance(generation, ChatGeneration) else None
                if isinstance(message, AIMessage) and message.usage_metadata:
                    self._limiter.spend(message.usage_metadata["total_tokens"])
