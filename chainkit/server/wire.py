"""Between bytes and values: JSON in, JSON and server-sent events out, and clients that go away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json, to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from chainkit.server.faults import INVALID, RequestFault, body_of, fault_of, headers_of

T = TypeVar("T")
Body = TypeVar("Body", bound=BaseModel)

log = logging.getLogger("chainkit.server")
DONE = b"data: [DONE]\n\n"
_SENT_AT_ONCE_BYTES = 64 << 10  # of events that come one upon the other
_READ_ON_BYTES = 64 << 20  # of a request that is too long: who still sends does not read the answer
GONE = 499
"""The status in the metrics for a client that disconnected."""


def encoded(value: Any) -> bytes:
    """A value as JSON; numbers that JSON has no word for are null."""
    return to_json(value, inf_nan_mode="null")


class JSONReply(Response):
    """A value as a JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes."""
        return encoded(content)


def fault_reply(error: BaseException) -> Response:
    """The answer to a request that failed; what nobody foresaw is written to the log."""
    fault = fault_of(error)
    if fault.status >= 500 and not isinstance(error, RequestFault):
        log.error("%s: %s", type(error).__name__, error, exc_info=error if fault.status == 500 else None)
    return JSONReply(body_of(fault), fault.status, headers_of(fault))


class Arriving:
    """Counts the bodies that are on their way, so that many clients that send slowly take no more memory than is meant.

    Args:
        most: Bytes of all together.
    """

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0

    def add(self, count: int) -> None:
        """Count bytes that came.

        Raises:
            RequestFault: There are too many (503); they are counted all the same.
        """
        self._bytes += count
        if self._bytes > self._most:
            message = "too many requests are being sent at once; try again"
            raise RequestFault(503, message, kind="server_error", code="overloaded", retry_after=1)

    def done(self, count: int) -> None:
        """Count bytes no more."""
        self._bytes -= count


async def read_body(request: Request, most: int, seconds: float, arriving: Arriving) -> bytes:
    """The whole body of a request.

    Args:
        request: Where from.
        most: Bytes that it may have.
        seconds: In which it must have come.
        arriving: What others send.

    Raises:
        RequestFault: It is longer (413), comes too slowly (408), or too much comes at once (503).
    """
    declared = request.headers.get("content-length", "0")
    length = int(declared[:20]) if declared.isdecimal() else 0
    parts, come, held = list[bytes](), 0, 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                come += len(part)
                if max(come, length) <= most:
                    parts.append(part)
                    held += len(part)
                    arriving.add(len(part))
                elif come > most + _READ_ON_BYTES:
                    break
    except TimeoutError:
        raise RequestFault(408, f"the body did not come within {seconds:g} seconds", code="timeout") from None
    finally:
        arriving.done(held)
    if max(come, length) > most:
        raise _too_long(most)
    return b"".join(parts)


async def read_json(request: Request, most: int, seconds: float, arriving: Arriving) -> Any:
    """The JSON body of a request; raises as `read_body`, and where it is not a JSON object."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":  # a form of another web site cannot send this one
        raise RequestFault(415, f"the body must be application/json, not {kind!r}", code="unsupported_media_type")
    data = await read_body(request, most, seconds, arriving)
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise RequestFault(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise RequestFault(400, "the body must be a JSON object", code="invalid_json")
    return value


def parsed(kind: type[Body], value: Mapping[str, Any]) -> Body:
    """The body as what an endpoint takes.

    Raises:
        RequestFault: It is something else; the message names the field.
    """
    return kind.model_validate(value)


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """What comes of `work`, which is cancelled when the client goes away.

    Raises:
        ClientDisconnect: It did.
    """
    async with _Watch(request.receive):
        return await work


class _Watch:
    """Cancels its block when the client disconnects, and raises `ClientDisconnect`."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._listening = asyncio.ensure_future(self._listen())

    async def __aexit__(self, kind: object, error: BaseException | None, _traceback: object) -> None:
        self._listening.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError) and self._task.uncancel() == 0:
            raise ClientDisconnect from None

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()


class EventReply(Response):
    """Server-sent events as they are made.

    The first event is awaited before the head is sent, so that an error at the beginning has its own status. One that
    comes later is an event itself. When the client goes away, the events are closed.

    Args:
        events: The bytes of events.
        ended: Called once, with the status that the request ended with.
        error_event: The event for an error in the middle of a stream.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        *,
        error_event: Callable[[RequestFault], bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})})
        del self.headers["content-length"]
        self._events = events
        self._error_event = error_event or _error_event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        with contextlib.suppress(ClientDisconnect):
            async with _Watch(receive):
                await self._pump(scope, receive, send)

    async def _pump(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what has come each time that the next event is waited for: each send passes through six layers."""
        begun, size, parts = False, 0, list[bytes]()

        async def flush(*, last: bool = False) -> None:
            nonlocal begun, size
            if not begun:
                if not parts and not last:
                    return
                begun = True
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            data, size = b"".join(parts), 0
            parts.clear()
            if data or last:
                await send({"type": "http.response.body", "body": data, "more_body": not last})

        async with aclosing(self._events) as events:  # pyright: ignore[reportArgumentType] - generators all
            try:
                while (event := await _FlushedFirst(anext(events, None), flush)) is not None:
                    parts.append(event)
                    size += len(event)
                    if size > _SENT_AT_ONCE_BYTES:
                        await flush()
            except Exception as error:
                await flush()
                if not begun:
                    await fault_reply(error)(scope, receive, send)
                    return
                fault = fault_of(error)
                if fault.status == 500:
                    log.error("%s: %s", type(error).__name__, error, exc_info=error)
                parts.append(self._error_event(fault))
        await flush(last=True)


class _FlushedFirst(Generic[T]):
    """Awaits `work`; if that has to wait, `flush` is awaited before.

    Args:
        work: The awaitable; its result is returned.
        flush: Called when it begins to wait, and not if its result is there already.
    """

    def __init__(self, work: Awaitable[T], flush: Callable[[], Awaitable[None]]) -> None:
        self._work, self._flush = work, flush

    def __await__(self) -> Generator[Any, Any, T]:
        work = self._work.__await__()
        go_on, flushed = partial(next, work), False
        while True:
            try:
                waits_for = go_on()  # a future, which the event loop gets when all is sent; it may be done by then
            except StopIteration as end:
                return end.value
            try:
                if not flushed:
                    flushed = True
                    yield from self._flush().__await__()
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - an end from outside, which is for `work` to see
                go_on = partial(work.throw, error)  # pyright: ignore[reportAttributeAccessIssue]
            else:
                go_on = partial(next, work)


def event(value: Any, name: str | None = None) -> bytes:
    """One server-sent event.

    >>> event({"a": 1}), event([2], "delta")
    (b'data: {"a":1}\\n\\n', b'event: delta\\ndata: [2]\\n\\n')
    """
    head = b"" if name is None else b"event: %s\n" % name.encode()
    return b"%sdata: %s\n\n" % (head, encoded(value))


def _error_event(fault: RequestFault) -> bytes:
    return event(body_of(fault))


def _too_long(most: int) -> RequestFault:
    return RequestFault(413, f"the request is longer than {most} bytes", kind=INVALID, code="request_too_large")
