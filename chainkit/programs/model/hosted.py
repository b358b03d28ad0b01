"""Jobs on models that take a text or messages and answer: one after the other, in threads, or on an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import queue
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from chainkit.base.session import Piece, TokenScore
from chainkit.decoding.stops import StopScanner
from chainkit.programs.model.protocol import Generate, Job, JobUpdate, Slot, SlotResult, Tally

_ROWS = 16  # default number of concurrent requests
_STOPS = 4  # maximum that services accept; further ones are searched for here


@dataclass(frozen=True)
class HostedRequest:
    """One call of the model.

    Attributes:
        prompt: A text or messages.
        stop: Where the answer ends.
        settings: For this call.
        config: A RunnableConfig.
        streamed: Whether to report its pieces as they come.
        bind: Turns the model into the runnable to call; None calls the model itself.
    """

    prompt: Any
    stop: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    config: Any = None
    streamed: bool = False
    bind: Callable[[Any], Any] | None = None


@dataclass
class HostedReply:
    """A model's answer.

    Attributes:
        text: Up to the first stop text.
        finish: "stop" or "length".
        stop_text: What stopped it, if that is known.
        calls: Tools that it wants called, as langchain-core has them.
        scores: Log-probabilities, if they were asked for.
        message: The whole message of a chat model.
    """

    text: str
    finish: str = "stop"
    stop_text: str = ""
    calls: Sequence[Mapping[str, Any]] = ()
    scores: tuple[TokenScore, ...] = ()
    message: Any = None


Talk: TypeAlias = Generator[HostedRequest, HostedReply, SlotResult]
"""How a slot is filled: calls of the model, and what comes of their answers."""
Numbered: TypeAlias = tuple[int, JobUpdate | BaseException]


class HostedJobRunner(ABC):
    """Jobs of one program or batch on a model of langchain-core.

    One job alone runs in the caller's thread; several run in threads, or as tasks of the event loop.
    """

    def __init__(self, *, streaming: bool, rows: int | None) -> None:
        self._streaming = streaming
        self._limit = rows or _ROWS
        self._new: list[tuple[int, Job]] = []
        self._inline: tuple[int, Iterator[JobUpdate]] | None = None
        self._threaded = 0
        self._pool: ThreadPoolExecutor | None = None
        self._queue: queue.SimpleQueue[Numbered] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._news: asyncio.Queue[Numbered] | None = None
        self._turns: asyncio.Semaphore | None = None
        self._closed = False

    @abstractmethod
    def talk(self, context: Any, slot: Slot) -> Talk:
        """How a slot is filled."""

    @abstractmethod
    def reply(self, request: HostedRequest) -> HostedReply:
        """Call the model."""

    @abstractmethod
    async def areply(self, request: HostedRequest) -> HostedReply:
        """Call the model without blocking the event loop."""

    @abstractmethod
    def chunks(self, request: HostedRequest) -> Generator[tuple[str, HostedReply | None], None, None]:
        """Stream an answer: its text in pieces, and in the end the whole."""

    @abstractmethod
    def achunks(self, request: HostedRequest) -> AsyncGenerator[tuple[str, HostedReply | None], None]:
        """As `chunks`, without blocking the event loop."""

    def submit(self, number: int, job: Job) -> None:
        """Take up a job."""
        self._new.append((number, job))

    def step(self) -> Sequence[Numbered]:
        """Go on with all jobs until one has news."""
        new, self._new = self._new, []
        for number, job in new:
            if len(new) == 1 and self._inline is None and not self._threaded:
                self._inline = number, self._answers(job)
            else:
                self._start(number, job)
        if self._inline is not None:
            return [*self._arrived(), self._next_inline(*self._inline)]
        if not self._threaded:
            return []
        return [self._counted(self._queue.get()), *self._arrived()]

    async def astep(self) -> Sequence[Numbered]:
        """Go on with all jobs until one has news."""
        if self._news is None:
            self._news, self._turns = asyncio.Queue(), asyncio.Semaphore(self._limit)
        new, self._new = self._new, []
        for number, job in new:
            task = asyncio.ensure_future(self._in_task(number, job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if not self._tasks and self._news.empty():
            return []
        news = [await self._news.get()]
        while not self._news.empty():
            news.append(self._news.get_nowait())
        return news

    def close(self) -> None:
        """Drop all jobs."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for task in self._tasks:
            task.cancel()

    def _next_inline(self, number: int, answers: Iterator[JobUpdate]) -> Numbered:
        try:
            news = next(answers)
        except Exception as error:  # noqa: BLE001 - passed to the caller
            self._inline = None
            return number, error
        if not isinstance(news, Piece):
            self._inline = None
        return number, news

    def _start(self, number: int, job: Job) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._limit, thread_name_prefix="chainkit-program")
        self._threaded += 1
        context = contextvars.copy_context()
        self._pool.submit(context.run, self._in_thread, number, job)

    def _in_thread(self, number: int, job: Job) -> None:
        try:
            for news in self._answers(job):
                if self._closed:
                    return
                self._queue.put((number, news))
        except BaseException as error:  # noqa: BLE001 - passed to the caller
            self._queue.put((number, error))

    def _counted(self, news: Numbered) -> Numbered:
        if not isinstance(news[1], Piece):
            self._threaded -= 1
        return news

    def _arrived(self) -> list[Numbered]:
        news: list[Numbered] = []
        while not self._queue.empty():
            news.append(self._counted(self._queue.get()))
        return news

    async def _in_task(self, number: int, job: Job) -> None:
        assert self._news is not None
        assert self._turns is not None
        try:
            async with self._turns:
                async for news in self._aanswers(job):
                    self._news.put_nowait((number, news))
        except Exception as error:  # noqa: BLE001 - passed to the caller
            self._news.put_nowait((number, error))

    def _answers(self, job: Job) -> Iterator[JobUpdate]:
        assert isinstance(job, Generate)  # these models have no scores, and the executor knows it
        talk, reply = self.talk(job.context, job.slot), None
        while True:
            try:
                request = talk.send(reply)  # pyright: ignore[reportArgumentType] - the first answer is None
            except StopIteration as done:
                yield done.value
                return
            if not (self._streaming and request.streamed):
                reply = self.reply(request)
                continue
            scanner, heard = StopScanner(request.stop), ""
            with closing(self.chunks(request)) as chunks:
                for text, whole in chunks:
                    heard += text
                    if shown := scanner.feed(text):
                        yield Piece(shown)
                    reply = whole or HostedReply(heard)
                    if scanner.stopped:  # the service did not see the stop text
                        break
            if last := scanner.flush():
                yield Piece(last)

    async def _aanswers(self, job: Job) -> AsyncIterator[JobUpdate]:
        assert isinstance(job, Generate)
        talk, reply = self.talk(job.context, job.slot), None
        while True:
            try:
                request = talk.send(reply)  # pyright: ignore[reportArgumentType] - the first answer is None
            except StopIteration as done:
                yield done.value
                return
            if not (self._streaming and request.streamed):
                reply = await self.areply(request)
                continue
            scanner, heard = StopScanner(request.stop), ""
            async with aclosing(self.achunks(request)) as chunks:
                async for text, whole in chunks:
                    heard += text
                    if shown := scanner.feed(text):
                        yield Piece(shown)
                    reply = whole or HostedReply(heard)
                    if scanner.stopped:
                        break
            if last := scanner.flush():
                yield Piece(last)


def sent_stops(stop: tuple[str, ...]) -> list[str] | None:
    """The stop texts that are sent."""
    return list(stop[:_STOPS]) or None


def cut(reply: HostedReply, stop: tuple[str, ...]) -> HostedReply:
    """The answer up to the first stop text, in case the service wrote past it."""
    places = sorted((place, text) for text in stop if (place := reply.text.find(text)) >= 0)
    if places:
        place, text = places[0]
        return HostedReply(reply.text[:place], "stop", text, reply.calls, reply.scores, reply.message)
    if reply.finish == "stop" and len(stop) == 1:
        reply.stop_text = stop[0]
    return reply


def settings_of(model: Any, slot: Slot, *, length: bool) -> dict[str, Any]:
    """The settings of a call: those of the template, and temperature 0 where the model sets none.

    Args:
        model: The model.
        slot: What the template says.
        length: Whether the language's bound on tokens is sent where the template has none.
    """
    known = getattr(type(model), "model_fields", {})
    settings: dict[str, Any] = {}
    by_default = {"max_tokens"} if length else set[str]()
    if (getattr(model, "profile", None) or {}).get("temperature") is not False:  # models that think take none
        by_default.add("temperature")
    for name in ("temperature", "top_p", "max_tokens"):
        unset = name in known and getattr(model, name, None) in (None, known[name].default)
        if name in slot.given or (unset and name in by_default):
            settings[name] = getattr(slot, name)
    if slot.seed is not None and "seed" in known:
        settings["seed"] = slot.seed
    if slot.logprobs is not None:
        settings |= {"logprobs": True, "top_logprobs": slot.logprobs}
    return settings | dict(slot.settings)


def spend(tally: Tally, usage: Mapping[str, Any] | None, text: str) -> None:
    """Count a call; where the service tells nothing, four characters count as a token."""
    tally.calls += 1
    if not usage:
        tally.sampled += len(text) // 4 + bool(text)
        return
    cached = (usage.get("input_token_details") or {}).get("cache_read") or 0
    tally.cached += cached
    tally.read += usage.get("input_tokens", 0) - cached
    tally.sampled += usage.get("output_tokens", 0)
