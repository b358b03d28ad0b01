"""One call to a service: repeats, time limits, and the reading of its stream. The seam where errors are translated."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager, suppress
from dataclasses import dataclass
from socket import SHUT_RDWR
from typing import Any, Protocol, TypeVar

from chainkit.backends.openai.client import Clients, Connection
from chainkit.backends.openai.errors import (
    NO_ANSWER,
    Failure,
    clean,
    malformed,
    may_pass,
    retry_after_seconds,
    translated,
)
from chainkit.backends.openai.sse import EventReader
from chainkit.base.errors import MissingLibrary, ProviderError, StreamBroken, StreamStalled

try:
    import anyio
    import httpx2
    import orjson
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error

Json = dict[str, Any]
Chunk_co = TypeVar("Chunk_co", covariant=True)
Chunk = TypeVar("Chunk")
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
LONGEST_DRAIN_SECONDS = 0.1


@dataclass(frozen=True)
class Reply:
    """What a service answered: the JSON, and how often the call was repeated before."""

    data: Json
    retries: int


class Reading(Protocol[Chunk_co]):
    """Turns the events of one stream into chunks, in order.

    Attributes:
        retries: How often the call was repeated before it began to answer.
        complete: Whether nothing more will come, though the service keeps the stream open.
    """

    retries: int
    complete: bool

    @property
    def partial(self) -> str:
        """The text so far."""
        ...

    def read(self, event: Json) -> Chunk_co | None:
        """What to pass on for this event, if anything."""
        ...

    def end(self, *, announced: bool) -> Chunk_co | None:
        """The last chunk; `announced` tells whether the service said that this is the end.

        Raises:
            StreamBroken: The stream is not complete.
        """
        ...


def post(clients: Clients, connection: Connection, path: str, body: Json) -> Reply:
    """Ask and wait for the whole answer."""
    response, retries = _open(clients, connection, path, body, stream=False)
    return Reply(_parsed(response, connection), retries)


async def apost(clients: Clients, connection: Connection, path: str, body: Json) -> Reply:
    """Ask and wait for the whole answer."""
    response, retries = await _aopen(clients, connection, path, body, stream=False)
    return Reply(_parsed(response, connection), retries)


def stream(
    clients: Clients, connection: Connection, path: str, body: Json, reading: Reading[Chunk]
) -> Generator[Chunk]:
    """Ask, and pass the answer on while it comes."""
    attempts = Attempts(connection)
    response, reading.retries = _open(clients, connection, path, body, stream=True)
    events, announced, first = EventReader(), False, FirstToken(connection)
    with _breaks(connection, reading, first), closing(response), first.awaited(response):
        if not _streams(response):
            response.read()
            raise _no_stream(response, connection)
        for piece in response.iter_bytes():
            attempts.check_deadline()
            for data in events.feed(piece):
                if announced := data == b"[DONE]":
                    break
                chunk = reading.read(_event(data, connection))
                if chunk is not None:
                    if first.waiting:
                        first.came()
                    yield chunk
                if announced := reading.complete:
                    break
            if announced:
                break
        last = reading.end(announced=announced)
    if last is not None:
        yield last


async def astream(
    clients: Clients, connection: Connection, path: str, body: Json, reading: Reading[Chunk]
) -> AsyncGenerator[Chunk]:
    """Ask, and pass the answer on while it comes; closing this closes the connection."""
    attempts = Attempts(connection)
    response, reading.retries = await _aopen(clients, connection, path, body, stream=True)
    events, announced, first = EventReader(), False, FirstToken(connection)
    with _breaks(connection, reading, first), first.awaited(response):
        async with aclosing(response):
            if not _streams(response):
                await response.aread()
                raise _no_stream(response, connection)
            pieces = response.aiter_bytes()
            async for piece in pieces:
                attempts.check_deadline()
                for data in events.feed(piece):
                    if announced := data == b"[DONE]":
                        break
                    chunk = reading.read(_event(data, connection))
                    if chunk is not None:
                        if first.waiting:
                            first.came()
                        yield chunk
                    if announced := reading.complete:
                        break
                if announced:
                    await _drain(pieces)
                    break
        last = reading.end(announced=announced)
    if last is not None:
        yield last


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read the few bytes after the last event, so that the connection can be used again; but do not wait for them.

    Not with asyncio.timeout: its cancellation goes through the scopes of anyio in which httpcore2 closes a socket.
    """
    with suppress(httpx2.RequestError), anyio.move_on_after(LONGEST_DRAIN_SECONDS):
        async for _ in pieces:
            pass


class Attempts:
    """The tries of one call.

    Attributes:
        taken: Repeats so far.
    """

    def __init__(self, connection: Connection, *, stream: bool = False) -> None:
        self.taken = 0
        self._first = connection.first_token_timeout if stream else None
        self._connection = connection
        self._waited = 0.0
        total = connection.total_timeout
        self._deadline = None if total is None else time.monotonic() + total

    def timeouts(self) -> dict[str, float | None]:
        """The limits of the next try; that of the first token counts until the answer begins."""
        limits = self._connection.timeouts(self._left())
        return limits if self._first is None else {**limits, "read": min(self._first, limits["read"] or self._first)}

    def silence(self) -> float | None:
        """The longest silence once an answer has begun; httpcore2 reads it from the request when the body begins."""
        return self._connection.timeouts(self._left())["read"]

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.001, self._deadline - time.monotonic())

    def check_deadline(self) -> None:
        """Raise a timeout if the call takes too long."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise httpx2.ReadTimeout(f"total_timeout of {self._connection.total_timeout:g} s is over")

    def pause_after(self, failure: Failure) -> float | None:
        """Seconds to wait before the next try, or None if there is none."""
        if self.taken >= self._connection.max_retries or not may_pass(failure):
            return None
        asked = retry_after_seconds(failure.headers) if isinstance(failure, httpx2.Response) else None
        pause = _backoff(self.taken) if asked is None else asked
        over = self._deadline is not None and time.monotonic() + pause >= self._deadline
        if over or self._waited + pause > self._connection.max_retry_seconds:
            return None
        self.taken += 1
        self._waited += pause
        return pause

    def error(self, failure: Failure) -> ProviderError:
        """The error that ends the call."""
        error = translated(failure, self._connection)
        error.retries = self.taken
        if self.taken:
            error.args = (f"{error.args[0]} (after {self.taken} repeated {'tries' if self.taken > 1 else 'try'})",)
        error.__cause__ = failure if isinstance(failure, Exception) else None
        return error


class FirstToken:
    """Watches that a stream begins in time, whatever signs of life it gives; see `Hosted.first_token_timeout`.

    Attributes:
        waiting: Whether the first piece is still awaited.
        late: Whether it did not come in time; the connection was shut then.
        seconds: The limit.
    """

    def __init__(self, connection: Connection) -> None:
        self.seconds = connection.first_token_timeout
        self.waiting = self.seconds is not None
        self.late = False
        self._timer: threading.Timer | None = None

    @contextmanager
    def awaited(self, response: httpx2.Response) -> Iterator[None]:
        """Shut the connection of this answer when the time is over."""
        if self.seconds is not None:
            socket = response.extensions["network_stream"].get_extra_info("socket")
            self._timer = threading.Timer(self.seconds, self._end, [socket])
            self._timer.daemon = True
            self._timer.start()
        try:
            yield
        finally:
            self.came()

    def came(self) -> None:
        """The first piece is there."""
        self.waiting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, socket: Any) -> None:
        if self.waiting:
            self.late = True
            with suppress(OSError):  # the service was quicker in closing it
                socket.shutdown(SHUT_RDWR)


def _backoff(taken: int) -> float:
    longest = min(FIRST_PAUSE_SECONDS * 2**taken, LONGEST_PAUSE_SECONDS)
    return longest * (1 - 0.25 * random.random())  # noqa: S311 - spreads the clients, guards no secret


def _open(
    clients: Clients, connection: Connection, path: str, body: Json, *, stream: bool
) -> tuple[httpx2.Response, int]:
    line, content, attempts = clients.of_thread(connection), encoded(body), Attempts(connection, stream=stream)
    while True:
        try:
            limits = attempts.timeouts()
            failure: Failure = line.http.send(line.request(path, content, limits), stream=stream)
            if failure.status_code < 400:
                limits["read"] = attempts.silence()
                return failure, attempts.taken
            failure.read()
        except NO_ANSWER as error:
            failure = error
        pause = attempts.pause_after(failure)
        if pause is None:
            raise attempts.error(failure)
        time.sleep(pause)


async def _aopen(
    clients: Clients, connection: Connection, path: str, body: Json, *, stream: bool
) -> tuple[httpx2.Response, int]:
    line, content, attempts = await clients.of_loop(connection), encoded(body), Attempts(connection, stream=stream)
    while True:
        try:
            limits = attempts.timeouts()
            failure: Failure = await line.http.send(line.request(path, content, limits), stream=stream)
            if failure.status_code < 400:
                limits["read"] = attempts.silence()
                return failure, attempts.taken
            await failure.aread()
        except NO_ANSWER as error:
            failure = error
        pause = attempts.pause_after(failure)
        if pause is None:
            raise attempts.error(failure)
        await asyncio.sleep(pause)


def encoded(body: Json) -> bytes:
    """The body as UTF-8 JSON.

    Raises:
        ValueError: It holds what JSON cannot: an unknown type, a number that is not finite, half a surrogate pair.
    """
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the request holds half a surrogate pair (U+{ord(error.object[error.start]):X})") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"the request cannot be written as JSON: {error}") from None


def _parsed(response: httpx2.Response, connection: Connection) -> Json:
    try:
        data = _loads(response.content)
    except ValueError:
        kind = response.headers.get("content-type", "no content type").split(";")[0]
        raise _bad(response, connection, f"no valid JSON ({kind})") from None
    if not isinstance(data, dict):
        raise _bad(response, connection, "JSON that is no object")
    return data


def _loads(data: bytes) -> Any:
    """JSON, read fast; what orjson refuses and Python's own module takes (NaN, half a surrogate pair) is taken."""
    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data.decode())


def _event(data: bytes, connection: Connection) -> Json:
    try:
        event = _loads(data)
    except ValueError:
        raise malformed(connection, "an event that is no valid JSON", data.decode(errors="replace")) from None
    if not isinstance(event, dict):
        raise malformed(connection, "an event that is no object", data.decode())
    if error := event.get("error"):
        told = error.get("message", error) if isinstance(error, Mapping) else error
        raise StreamBroken(
            f"{connection.provider} broke off the stream: {clean(str(told), connection)}", provider=connection.provider
        )
    return event


def _streams(response: httpx2.Response) -> bool:
    return not response.headers.get("content-type", "").startswith(("text/html", "application/json"))


def _no_stream(response: httpx2.Response, connection: Connection) -> ProviderError:
    return _bad(response, connection, f"{response.headers['content-type'].split(';')[0]} instead of a stream")


def _bad(response: httpx2.Response, connection: Connection, reason: str) -> ProviderError:
    text = response.content[:2000].decode(errors="replace")
    return malformed(connection, reason, text, request_id=response.headers.get("x-request-id"))


@contextmanager
def _breaks(connection: Connection, reading: Reading[Any], first: FirstToken) -> Iterator[None]:
    """Give every way in which a stream can break its name and the text that had arrived."""
    try:
        yield
    except httpx2.TimeoutException as error:
        told = str(error) or f"silent for {connection.timeout:g} s"
        raise _broken(StreamStalled, told, connection, reading) from error
    except NO_ANSWER as error:
        if first.late:
            told = f"no first token within {first.seconds:g} s (first_token_timeout)"
            raise _broken(StreamStalled, told, connection, reading) from error
        told = f"the connection was lost ({clean(str(error), connection) or type(error).__name__})"
        raise _broken(StreamBroken, told, connection, reading) from error
    except StreamBroken as error:
        error.partial = reading.partial
        error.retries = reading.retries
        raise


def _broken(kind: type[StreamBroken], reason: str, connection: Connection, reading: Reading[Any]) -> StreamBroken:
    count = len(reading.partial)
    error = kind(
        f"the stream of {connection.provider} broke after {count} characters: {reason}; .partial has them",
        provider=connection.provider,
        retries=reading.retries,
    )
    error.partial = reading.partial
    return error
