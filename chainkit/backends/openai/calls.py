"""One call to a service: repeats, time limits, and the reading of its stream. The seam where errors are translated."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from chainkit.backends.openai.client import Clients, Connection
from chainkit.backends.openai.errors import clean, malformed, retry_after_seconds, translated
from chainkit.backends.openai.sse import EventReader
from chainkit.base.errors import MissingLibrary, ProviderError, StreamBroken, StreamStalled

try:
    import httpx2
    import openai
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
    """

    retries: int

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


def stream(clients: Clients, connection: Connection, path: str, body: Json, reading: Reading[Chunk]) -> Iterator[Chunk]:
    """Ask, and pass the answer on while it comes."""
    attempts = Attempts(connection)
    response, reading.retries = _open(clients, connection, path, body, stream=True)
    events, announced = EventReader(), False
    with _breaks(connection, reading), closing(response):
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
                    yield chunk
            if announced:
                break
        last = reading.end(announced=announced)
    if last is not None:
        yield last


async def astream(
    clients: Clients, connection: Connection, path: str, body: Json, reading: Reading[Chunk]
) -> AsyncIterator[Chunk]:
    """Ask, and pass the answer on while it comes; closing this closes the connection."""
    attempts = Attempts(connection)
    response, reading.retries = await _aopen(clients, connection, path, body, stream=True)
    events, announced = EventReader(), False
    with _breaks(connection, reading):
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
                        yield chunk
                if announced:
                    await _drain(pieces)
                    break
        last = reading.end(announced=announced)
    if last is not None:
        yield last


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read the few bytes after the last event, so that the connection can be used again; but do not wait for them."""
    with suppress(TimeoutError, httpx2.RequestError):
        async with asyncio.timeout(LONGEST_DRAIN_SECONDS):
            async for _ in pieces:
                pass


class Attempts:
    """The tries of one call.

    Attributes:
        taken: Repeats so far.
    """

    def __init__(self, connection: Connection) -> None:
        self.taken = 0
        self._connection = connection
        self._waited = 0.0
        total = connection.total_timeout
        self._deadline = None if total is None else time.monotonic() + total

    def options(self) -> Any:
        """What the next try is sent with."""
        if self._deadline is None:
            return {}
        return {"timeout": self._connection.timeouts(max(0.001, self._deadline - time.monotonic()))}

    def check_deadline(self) -> None:
        """Raise a timeout if the call takes too long."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise httpx2.ReadTimeout(f"total_timeout of {self._connection.total_timeout:g} s is over")

    def pause_after(self, error: openai.APIError) -> float | None:
        """Seconds to wait before the next try, or None if there is none."""
        if self.taken >= self._connection.max_retries or not may_pass(error):
            return None
        asked = retry_after_seconds(error.response.headers) if isinstance(error, openai.APIStatusError) else None
        pause = _backoff(self.taken) if asked is None else asked
        over = self._deadline is not None and time.monotonic() + pause >= self._deadline
        if over or self._waited + pause > self._connection.max_retry_seconds:
            return None
        self.taken += 1
        self._waited += pause
        return pause

    def failure(self, error: openai.APIError) -> ProviderError:
        """The error that ends the call."""
        failure = translated(error, self._connection)
        failure.retries = self.taken
        if self.taken:
            failure.args = (f"{failure.args[0]} (after {self.taken} repeated {'tries' if self.taken > 1 else 'try'})",)
        # The first error holds the request and what the service said, perhaps with the key: not for a traceback.
        failure.__cause__ = None if failure.status == 401 or _tells_key(error, self._connection) else error
        return failure


def may_pass(error: openai.APIError) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, openai.APIConnectionError):
        return "SSL" not in repr(error.__cause__) and "certificate" not in repr(error.__cause__)
    if not isinstance(error, openai.APIStatusError) or error.code == "insufficient_quota":
        return False
    if (told := error.response.headers.get("x-should-retry")) in {"true", "false"}:
        return told == "true"
    return error.status_code in {408, 409, 429} or error.status_code >= 500


def _backoff(taken: int) -> float:
    longest = min(FIRST_PAUSE_SECONDS * 2**taken, LONGEST_PAUSE_SECONDS)
    return longest * (1 - 0.25 * random.random())  # noqa: S311 - spreads the clients, guards no secret


def _open(clients: Clients, connection: Connection, path: str, body: Json, *, stream: bool) -> tuple[Any, int]:
    client, content, attempts = clients.of_thread(connection), encoded(body), Attempts(connection)
    while True:
        try:
            response = client.post(
                path, cast_to=httpx2.Response, content=content, options=attempts.options(), stream=stream
            )
        except openai.APIError as error:
            pause, failed = attempts.pause_after(error), error
        else:
            return response, attempts.taken
        if pause is None:
            raise attempts.failure(failed)
        time.sleep(pause)


async def _aopen(clients: Clients, connection: Connection, path: str, body: Json, *, stream: bool) -> tuple[Any, int]:
    client, content, attempts = await clients.of_loop(connection), encoded(body), Attempts(connection)
    while True:
        try:
            response = await client.post(
                path, cast_to=httpx2.Response, content=content, options=attempts.options(), stream=stream
            )
        except openai.APIError as error:
            pause, failed = attempts.pause_after(error), error
        else:
            return response, attempts.taken
        if pause is None:
            raise attempts.failure(failed)
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
        data = json.loads(response.content)
    except ValueError:
        kind = response.headers.get("content-type", "no content type").split(";")[0]
        raise _bad(response, connection, f"no valid JSON ({kind})") from None
    if not isinstance(data, dict):
        raise _bad(response, connection, "JSON that is no object")
    return data


def _event(data: bytes, connection: Connection) -> Json:
    try:
        event = json.loads(data.decode())
    except ValueError:
        raise malformed(connection, "an event that is no valid JSON", data.decode(errors="replace")) from None
    if not isinstance(event, Mapping):
        raise malformed(connection, "an event that is no object", data.decode())
    if error := event.get("error"):
        told = error.get("message", error) if isinstance(error, Mapping) else error
        raise StreamBroken(
            f"{connection.provider} broke off the stream: {clean(str(told), connection)}", provider=connection.provider
        )
    return dict(event)


def _streams(response: httpx2.Response) -> bool:
    return not response.headers.get("content-type", "").startswith(("text/html", "application/json"))


def _no_stream(response: httpx2.Response, connection: Connection) -> ProviderError:
    return _bad(response, connection, f"{response.headers['content-type'].split(';')[0]} instead of a stream")


def _bad(response: httpx2.Response, connection: Connection, reason: str) -> ProviderError:
    text = response.content[:2000].decode(errors="replace")
    return malformed(connection, reason, text, request_id=response.headers.get("x-request-id"))


def _tells_key(error: openai.APIError, connection: Connection) -> bool:
    return clean(str(error), connection) != str(error)


@contextmanager
def _breaks(connection: Connection, reading: Reading[Any]) -> Iterator[None]:
    """Give every way in which a stream can break its name and the text that had arrived."""
    try:
        yield
    except httpx2.TimeoutException as error:
        told = str(error) or f"silent for {connection.timeout:g} s"
        raise _broken(StreamStalled, told, connection, reading) from error
    except (httpx2.RequestError, OSError) as error:
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
