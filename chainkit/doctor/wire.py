"""Plain requests to a server, with limits in time, size and number, and a count of what they took."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.errors import Failed, clean, may_pass, retry_after_seconds, translated
from chainkit.backends.openai.sse import EventReader
from chainkit.base.errors import ChainkitError, MissingLibrary, ProviderError

try:
    import httpx2
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error

MOST_BYTES = 4_000_000
MOST_TRIES = 3
LONGEST_WAIT_SECONDS = 20.0


class BudgetSpent(ChainkitError):
    """The examination has used up its time or its requests."""


@dataclass(frozen=True)
class WireReply:
    """An answer of a server, whatever it is.

    Attributes:
        status: Its HTTP status.
        kind: Its content type.
        body: Its JSON; None if it is none.
        events: The JSON of each event of a stream.
        done: Whether the stream ended with `[DONE]`.
        first_seconds: When the first event with something in it came; None if none did.
        words: What an error said, or how the body begins, without any key.
        error: The error that chainkit would raise; None for a good answer.
    """

    status: int
    kind: str = ""
    body: Any = None
    events: tuple[Any, ...] = ()
    done: bool = False
    first_seconds: float | None = None
    words: str = ""
    error: ProviderError | None = None

    @property
    def good(self) -> bool:
        """Whether it is JSON, or a stream of it, with a status of success."""
        return self.error is None and (isinstance(self.body, dict) or bool(self.events))


@dataclass
class Wire:
    """Sends requests to one server.

    Attributes:
        connection: Address, key and time limits.
        deadline: When, by the monotonic clock, no further request is made.
        most_requests: How many may be made.
        requests: How many were made, repeats included.
        input_tokens: What the server counted as read; likewise `output_tokens`.
        uncounted: How many good answers came without such counts.
    """

    connection: Connection
    deadline: float
    most_requests: int
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0
    _http: httpx2.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        key = self.connection.access.key
        limits = httpx2.Timeout(self.connection.timeout, connect=self.connection.connect_timeout)
        # a key never follows a redirect to another host: the client takes the header away
        self._http = httpx2.Client(
            headers={"authorization": f"Bearer {key}", "accept": "application/json, text/event-stream"},
            timeout=limits,
            follow_redirects=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str) -> WireReply:
        """The reply to a GET.

        Raises:
            ConnectionFailed: It does not answer.
            BudgetSpent: See the class.
        """
        return self._patiently("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> WireReply:
        """The reply to a POST of JSON; raises as `get` does."""
        reply = self._patiently("POST", path, json.dumps(body).encode())
        self._count(reply)
        return reply

    def _patiently(self, method: str, path: str, content: bytes | None) -> WireReply:
        """Try again, a little later, what the server says may pass."""
        for last in range(MOST_TRIES):
            self._spend()
            begin = time.monotonic()
            try:
                response = self._sent(method, path, content, begin)
            except (httpx2.HTTPError, OSError) as error:
                raise translated(error, self.connection) from error
            if isinstance(response, WireReply):
                return response
            wait = retry_after_seconds(response.headers)
            wait = 1.0 if wait is None else wait
            pointless = wait > LONGEST_WAIT_SECONDS or time.monotonic() + wait > self.deadline
            if last == MOST_TRIES - 1 or pointless or not may_pass(response):
                error = translated(response, self.connection)
                words = _words(response.content)
                return WireReply(response.status_code, words=clean(words, self.connection), error=error)
            time.sleep(wait)
        raise AssertionError("the last try returns")

    def _spend(self) -> None:
        if time.monotonic() > self.deadline:
            raise BudgetSpent("the time was up")
        if self.requests >= self.most_requests:
            raise BudgetSpent(f"the limit of {self.most_requests} requests was reached")
        self.requests += 1

    def _sent(self, method: str, path: str, content: bytes | None, begin: float) -> WireReply | Failed:
        """A good answer as a `Reply`; any other as it came."""
        headers = {"content-type": "application/json"} if content is not None else None
        url = self.connection.access.base_url.rstrip("/") + path
        request = self._http.build_request(method, url, content=content, headers=headers)
        response = self._http.send(request, stream=True)
        events, reader, seen, first = [], EventReader(), bytearray(), None
        streamed = "event-stream" in response.headers.get("content-type", "")
        try:
            for chunk in response.iter_bytes():
                seen += chunk
                if streamed:
                    events += reader.feed(chunk)
                if first is None and any(_says_something(event) for event in events):
                    first = time.monotonic() - begin
                if b"[DONE]" in events[-1:] or len(seen) > MOST_BYTES:
                    break
                if time.monotonic() - begin > self.connection.timeout:
                    raise httpx2.ReadTimeout("the answer does not end", request=request)
        finally:
            response.close()
        if response.status_code >= 300:
            return Failed(response.status_code, response.headers, bytes(seen))
        return WireReply(
            response.status_code,
            kind=response.headers.get("content-type", ""),
            body=None if streamed else _parsed(bytes(seen)),
            events=tuple(_parsed(event) for event in events if event != b"[DONE]"),
            done=b"[DONE]" in events,
            first_seconds=first,
            words=clean(_words(bytes(seen)), self.connection),
        )

    def _count(self, reply: WireReply) -> None:
        if not reply.good:
            return
        usage = told_usage(reply)
        if usage is None:
            self.uncounted += 1
            return
        self.input_tokens += number(usage.get("prompt_tokens")) or 0
        self.output_tokens += number(usage.get("completion_tokens")) or 0


def told_usage(reply: WireReply) -> Mapping[str, Any] | None:
    """The token counts of an answer, or of the last event of a stream that has some."""
    bodies = [reply.body, *reversed(reply.events)]
    found = (dug(body, "usage") for body in bodies)
    return next((cast("Mapping[str, Any]", usage) for usage in found if isinstance(usage, Mapping)), None)


def dug(value: Any, *path: str | int) -> Any:
    """The value at a path in JSON, or None if the path does not exist.

    >>> dug({"choices": [{"text": "a"}]}, "choices", 0, "text"), dug({"choices": []}, "choices", 0, "text")
    ('a', None)
    """
    for step in path:
        if isinstance(step, int):
            if not isinstance(value, list) or len(cast("list[Any]", value)) <= step:
                return None
            value = cast("list[Any]", value)[step]
        else:
            value = cast("Mapping[str, Any]", value).get(step) if isinstance(value, Mapping) else None
    return value


def number(value: Any) -> int | None:
    """A count, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _says_something(event: bytes) -> bool:
    delta = dug(_parsed(event), "choices", 0, "delta")
    return isinstance(delta, Mapping) and any(
        value for name, value in cast("Mapping[str, Any]", delta).items() if name != "role"
    )


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _words(content: bytes) -> str:
    """The message in an error body."""
    body = _parsed(content)
    for path in (("error", "message"), ("message",), ("detail",), ("error",)):
        said = dug(body, *path)
        if said:
            return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    return " ".join(content[:500].decode(errors="replace").split())
