"""One call to a service: repeats, time limits, and the reading of its stream. The seam where errors are translated."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager, suppress
from dataclasses import dataclass, field
from socket import SHUT_RDWR
from typing import Any, Generic, Protocol, TypeVar

from chainkit.backends.openai.answering import ANSWERING
from chainkit.backends.openai.bodies import apieces, awhole, pieces, whole
from chainkit.backends.openai.client import Clients, Connection, Line
from chainkit.backends.openai.errors import (
    NO_ANSWER,
    ODD,
    Failed,
    Failure,
    clean,
    malformed,
    may_pass,
    odd,
    retry_after_seconds,
    translated,
)
from chainkit.backends.openai.sse import EventReader
from chainkit.base.deadlines import Until
from chainkit.base.errors import (
    MissingLibrary,
    ProviderError,
    ReplyTooLarge,
    StreamBroken,
    StreamStalled,
    TimedOut,
    Unsupported,
)
from chainkit.base.hiding import ahides_locals, astream_hides_locals, hides_locals, stream_hides_locals

try:
    import anyio
    import httpx2
    import orjson
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error

Json = dict[str, Any]
Ask = Callable[[Line[httpx2.Client], dict[str, float | None]], httpx2.Request]
Chunk_co = TypeVar("Chunk_co", covariant=True)
Chunk = TypeVar("Chunk")
Result = TypeVar("Result")
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
LONGEST_DRAIN_SECONDS = 0.1
_OUT_OF_ORDER = frozenset({502, 503, 504})
_TOO_MANY = 429


@dataclass(frozen=True)
class Reply:
    """What a service answered: the JSON, and how often the call was repeated before."""

    data: Json = field(repr=False)
    retries: int
    connection: Connection

    @hides_locals
    def read(self, reader: Callable[[Reply], Result]) -> Result:
        """What `reader` makes of it.

        Raises:
            MalformedReply: It holds something else than the API promises, wherever that is.
        """
        try:
            return reader(self)
        except ODD as error:
            raise odd(error, self.connection) from error


class ReplyReading(Protocol[Chunk_co]):
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


@hides_locals
def post(clients: Clients, connection: Connection, path: str, body: Json, *, listed: str = "") -> Reply:
    """Ask and wait for the whole answer; a bare list, where one is expected, is under the name `listed`."""
    if (answering := ANSWERING.get()) is not None:
        return Reply(answering(connection, path, body), 0, connection)
    attempts = Attempts(clients, connection)
    response, content = _open(clients, attempts, path, body, stream=False)
    return Reply(_parsed(response, content, attempts.connection, listed), attempts.repeats, attempts.connection)


@ahides_locals
async def apost(clients: Clients, connection: Connection, path: str, body: Json, *, listed: str = "") -> Reply:
    """As `post`."""
    attempts = Attempts(clients, connection)
    response, content = await _aopen(clients, attempts, path, body, stream=False)
    return Reply(_parsed(response, content, attempts.connection, listed), attempts.repeats, attempts.connection)


@stream_hides_locals
def stream(
    clients: Clients, connection: Connection, path: str, body: Json, reading: ReplyReading[Chunk]
) -> Generator[Chunk]:
    """Ask, and pass the answer on while it comes."""
    attempts = Attempts(clients, connection, stream=True)
    response, _ = _open(clients, attempts, path, body, stream=True)
    connection, reading.retries = attempts.connection, attempts.repeats
    events, announced, first = Events(connection, reading), False, FirstToken(connection)
    with attempts.held(), _breaks(attempts, reading, first), closing(response), first.awaited(response):
        if not _streams(response):
            attempts.limit_body(response, whole=True)
            raise _no_stream(response, whole(response, connection), connection)
        for piece in pieces(response, connection):
            attempts.check_deadline()
            for data in events.feed(piece):
                attempts.check_deadline()  # with each event: a piece may hold thousands
                if announced := data == b"[DONE]":
                    break
                chunk = events.chunk(data)
                if chunk is not None:
                    if first.waiting:
                        first.came()
                    yield chunk
                if announced := reading.complete:
                    break
            if announced:
                break
        last = events.end(announced=announced)
    if last is not None:
        yield last


@astream_hides_locals
async def astream(
    clients: Clients, connection: Connection, path: str, body: Json, reading: ReplyReading[Chunk]
) -> AsyncGenerator[Chunk]:
    """Ask, and pass the answer on while it comes; closing this closes the connection."""
    attempts = Attempts(clients, connection, stream=True)
    response, _ = await _aopen(clients, attempts, path, body, stream=True)
    connection, reading.retries = attempts.connection, attempts.repeats
    events, announced, first = Events(connection, reading), False, FirstToken(connection)
    with attempts.held(), _breaks(attempts, reading, first), first.awaited(response):
        async with aclosing(response), aclosing(apieces(response, connection)) as incoming:
            if not _streams(response):
                attempts.limit_body(response, whole=True)
                raise _no_stream(response, await awhole(response, connection), connection)
            async for piece in incoming:
                attempts.check_deadline()
                for data in events.feed(piece):
                    attempts.check_deadline()
                    if announced := data == b"[DONE]":
                        break
                    chunk = events.chunk(data)
                    if chunk is not None:
                        if first.waiting:
                            first.came()
                        yield chunk
                    if announced := reading.complete:
                        break
                if announced:
                    await _drain(incoming)
                    break
        last = events.end(announced=announced)
    if last is not None:
        yield last


class Events(Generic[Chunk]):
    """The events of one stream and what the reading makes of them; what neither can take is a named error."""

    def __init__(self, connection: Connection, reading: ReplyReading[Chunk]) -> None:
        self._connection = connection
        self._reading = reading
        self._reader = EventReader()

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that these bytes complete."""
        try:
            return self._reader.feed(piece)
        except ValueError as error:
            raise malformed(self._connection, str(error)) from error

    def chunk(self, data: bytes) -> Chunk | None:
        """What to pass on for an event."""
        event = _event(data, self._connection)
        try:
            return self._reading.read(event)
        except ODD as error:
            raise odd(error, self._connection) from error

    def end(self, *, announced: bool) -> Chunk | None:
        """The last chunk."""
        try:
            return self._reading.end(announced=announced)
        except ODD as error:
            raise odd(error, self._connection) from error


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
        connection: Where the present one goes.
        taken: Repeats so far, after a pause each.
        moved: Repeats at once, on another server.
    """

    def __init__(self, clients: Clients, connection: Connection, *, stream: bool = False) -> None:
        if stream and ANSWERING.get() is not None:
            raise Unsupported("a stream cannot go into a batch; leave streaming=True out")
        self.taken = self.moved = 0
        self._spread, self._server, self._tried = clients.spread(connection), 0, set[int]()
        self._first = connection.first_token_timeout if stream else None
        self.connection = connection
        self._waited = 0.0
        total = connection.total_timeout
        self._deadline = None if total is None else time.monotonic() + total

    @property
    def repeats(self) -> int:
        """How often the call was repeated."""
        return self.taken + self.moved

    @contextmanager
    def begun(self) -> Iterator[None]:
        """One try, at the server that is least busy."""
        if self._spread is None:
            yield
            return
        self._server = self._spread.servers.take(self._tried)
        self.connection = self._spread.each[self._server]
        try:
            yield
        finally:
            self._spread.servers.give_back(self._server)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A stream that keeps its server busy."""
        if self._spread is not None:
            self._spread.servers.hold(self._server)
        try:
            yield
        finally:
            if self._spread is not None:
                self._spread.servers.give_back(self._server)

    def worked(self) -> None:
        """The server has answered."""
        if self._spread is not None:
            self._spread.servers.worked(self._server)

    def lost(self, failure: Failure) -> None:
        """The server has failed; it is left out if that is likely to be its own fault."""
        if self._spread is None or self.over:
            return
        asked = retry_after_seconds(failure.headers) if isinstance(failure, Failed) else None
        if not isinstance(failure, Failed) or failure.status_code in _OUT_OF_ORDER:
            self._spread.servers.failed(self._server, asked)
        elif failure.status_code == _TOO_MANY:
            self._spread.servers.failed(self._server, asked, check=False)
        elif failure.status_code >= 500:
            self._spread.servers.failed(self._server, asked, tolerated=2)

    def _moves_on(self) -> bool:
        """Whether another server is tried at once; each gets one try before there is a pause."""
        if self._spread is None or not self.connection.max_retries or self.over:
            return False
        self._tried.add(self._server)
        if self._spread.servers.others_up(self._tried):
            self.moved += 1
            return True
        self._tried.clear()
        return False

    def timeouts(self) -> dict[str, float | None]:
        """The limits of the next try; that of the first token counts until the answer begins."""
        limits = self.connection.timeouts(self._deadline)
        if self._first is not None and self._first < (limits["read"] or self._first):
            limits["read"] = Until(self._first, deadline=self._deadline, together=True)
        return limits

    def limit_body(self, response: httpx2.Response, *, whole: bool) -> None:
        """Set the limit of what follows the head: all of it, or each piece. httpcore2 looks when the body begins."""
        limit = Until(self.connection.timeout, deadline=self._deadline, together=whole)
        response.request.extensions["timeout"]["read"] = limit

    def check_deadline(self) -> None:
        """Raise a timeout if the call takes too long."""
        if self.over:
            raise httpx2.ReadTimeout("")

    @property
    def over(self) -> bool:
        """Whether `total_timeout` is used up."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def words_when_over(self) -> str:
        """What ended the call then."""
        return f"total_timeout of {self.connection.total_timeout:g} s is over"

    def pause_after(self, failure: Failure) -> float | None:
        """Seconds to wait before the next try, or None if there is none."""
        self.lost(failure)
        if not may_pass(failure):
            return None
        if self._moves_on():
            return 0.0
        if self.taken >= self.connection.max_retries:
            return None
        asked = retry_after_seconds(failure.headers) if isinstance(failure, Failed) else None
        pause = _backoff(self.taken) if asked is None else asked
        over = self._deadline is not None and time.monotonic() + pause >= self._deadline
        if over or self._waited + pause > self.connection.max_retry_seconds:
            return None
        self.taken += 1
        self._waited += pause
        return pause

    def error(self, failure: Failure) -> ProviderError:
        """The error that ends the call."""
        error = translated(failure, self.connection)
        if isinstance(error, TimedOut) and self.over:
            error.args = (f"{error.args[0]}; {self.words_when_over}",)
        error.retries = repeats = self.repeats
        if repeats:
            error.args = (f"{error.args[0]} (after {repeats} repeated {'tries' if repeats > 1 else 'try'})",)
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


def fetch(clients: Clients, connection: Connection, method: str, path: str, **content: Any) -> bytes:
    """The whole answer to a request of another kind: a file that is sent or fetched.

    Args:
        clients: The lines.
        connection: Where to.
        method: As in "GET".
        path: Below the address.
        content: `files`, `data`, `json` or `params`, as the HTTP client takes them.
    """
    attempts = Attempts(clients, connection)
    ask: Ask = lambda line, limits: line.other(method, path, limits, **content)  # noqa: E731
    return _sent(clients, attempts, ask, stream=False)[1]


def _open(
    clients: Clients, attempts: Attempts, path: str, body: Json, *, stream: bool
) -> tuple[httpx2.Response, bytes]:
    """The answer, and its body unless it is a stream."""
    content = encoded(body)
    return _sent(clients, attempts, lambda line, limits: line.request(path, content, limits), stream=stream)


def _sent(clients: Clients, attempts: Attempts, ask: Ask, *, stream: bool) -> tuple[httpx2.Response, bytes]:
    while True:
        try:
            with attempts.begun():
                line = clients.of_thread(attempts.connection)
                response = line.http.send(ask(line, attempts.timeouts()), stream=True)
                failed = response.status_code >= 400
                attempts.limit_body(response, whole=failed or not stream)
                reply = b"" if stream and not failed else whole(response, attempts.connection)
            if not failed:
                attempts.worked()
                return response, reply
            failure: Failure = Failed(response.status_code, response.headers, reply)
        except NO_ANSWER as error:
            failure = error
        pause = attempts.pause_after(failure)
        if pause is None:
            raise attempts.error(failure)
        time.sleep(pause)


async def _aopen(
    clients: Clients, attempts: Attempts, path: str, body: Json, *, stream: bool
) -> tuple[httpx2.Response, bytes]:
    """The answer, and its body unless it is a stream."""
    content = encoded(body)
    while True:
        try:
            with attempts.begun():
                line = await clients.of_loop(attempts.connection)
                response = await line.http.send(line.request(path, content, attempts.timeouts()), stream=True)
                failed = response.status_code >= 400
                attempts.limit_body(response, whole=failed or not stream)
                reply = b"" if stream and not failed else await awhole(response, attempts.connection)
            if not failed:
                attempts.worked()
                return response, reply
            failure: Failure = Failed(response.status_code, response.headers, reply)
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


def _parsed(response: httpx2.Response, content: bytes, connection: Connection, listed: str) -> Json:
    try:
        data = _loads(content)
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "no content type").split(";")[0]
        raise _bad(response, content, connection, f"no valid JSON ({kind})") from None
    if listed and isinstance(data, list):
        return {listed: data}
    if not isinstance(data, dict):
        raise _bad(response, content, connection, "JSON that is not an object")
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
    except (ValueError, RecursionError):
        raise malformed(connection, "an event that is not valid JSON", data[:2000].decode(errors="replace")) from None
    if not isinstance(event, dict):
        raise malformed(connection, "an event that is not an object", data[:2000].decode(errors="replace"))
    if error := event.get("error"):
        text = error.get("message", error) if isinstance(error, Mapping) else error
        raise StreamBroken(
            f"{connection.provider} broke off the stream: {clean(str(text), connection)}", provider=connection.provider
        )
    return event


def _streams(response: httpx2.Response) -> bool:
    return not response.headers.get("content-type", "").startswith(("text/html", "application/json"))


def _no_stream(response: httpx2.Response, content: bytes, connection: Connection) -> ProviderError:
    kind = response.headers["content-type"].split(";")[0]
    return _bad(response, content, connection, f"{kind} instead of a stream")


def _bad(response: httpx2.Response, content: bytes, connection: Connection, reason: str) -> ProviderError:
    text = content[:2000].decode(errors="replace")
    return malformed(connection, reason, text, request_id=response.headers.get("x-request-id"))


@contextmanager
def _breaks(attempts: Attempts, reading: ReplyReading[Any], first: FirstToken) -> Iterator[None]:
    """Give every way in which a stream can break its name and the text that had arrived."""
    connection = attempts.connection
    try:
        yield
    except httpx2.TimeoutException as error:
        attempts.lost(error)
        why = attempts.words_when_over if attempts.over else f"silent for {connection.timeout:g} s"
        raise _broken(StreamStalled, why, connection, reading) from error
    except NO_ANSWER as error:
        if first.late:
            why = f"no first token within {first.seconds:g} s (first_token_timeout)"
            raise _broken(StreamStalled, why, connection, reading) from error
        attempts.lost(error)
        why = f"the connection was lost ({clean(str(error), connection) or type(error).__name__})"
        raise _broken(StreamBroken, why, connection, reading) from error
    except ReplyTooLarge as error:
        raise _broken(StreamBroken, str(error), connection, reading) from error
    except StreamBroken as error:
        error.partial = reading.partial
        error.retries = reading.retries
        raise


def _broken(kind: type[StreamBroken], reason: str, connection: Connection, reading: ReplyReading[Any]) -> StreamBroken:
    count = len(reading.partial)
    error = kind(
        f"the stream of {connection.provider} broke after {count} characters: {reason}; .partial has them",
        provider=connection.provider,
        retries=reading.retries,
    )
    error.partial = reading.partial
    return error
