"""The lines from a model to its service: one for threads and one for each event loop, made when first used."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Generic, TypeVar

from chainkit.backends.openai.access import Access
from chainkit.backends.openai.closing import Keeper
from chainkit.backends.openai.segments import join_writes
from chainkit.backends.openai.servers import Servers
from chainkit.base.deadlines import Until
from chainkit.base.errors import ConnectionFailed, MissingLibrary
from chainkit.base.redaction import Redaction

try:
    import httpx2
    import openai
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error

MAX_REPLY_BYTES = 64_000_000
"""Room for 2,000 long vectors written as numbers; an answer of a chat model has a few hundred thousand."""
CHECK_SECONDS = 5.0
"""Longest wait for a server that is asked whether it is well."""
Http = TypeVar("Http", httpx2.Client, httpx2.AsyncClient)


@dataclass(frozen=True)
class Connection:
    """How a service is reached.

    Attributes:
        provider: Its name in messages.
        access: Address and key.
        variables: The environment variables of its key.
        timeout: Longest wait in seconds for the head of an answer, for all of the rest, and between two pieces of a
            stream.
        connect_timeout: Longest wait in seconds for a connection.
        first_token_timeout: Longest wait in seconds for the first piece of a stream, or None.
        total_timeout: Longest time in seconds for a call with all its repeats, or None.
        max_retries: How often a call is repeated after a failure that may pass.
        max_retry_seconds: Longest time in seconds spent on waiting between repeats, in total.
        max_reply_bytes: The longest answer that is read, decompressed.
        headers: Sent with every request.
        others: Further servers that answer the same calls.
    """

    provider: str
    access: Access
    variables: tuple[str, ...] = ()
    timeout: float = 600.0
    connect_timeout: float = 5.0
    first_token_timeout: float | None = None
    total_timeout: float | None = None
    max_retries: int = 2
    max_retry_seconds: float = 60.0
    max_reply_bytes: int = MAX_REPLY_BYTES
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    others: tuple[Access, ...] = ()

    def timeouts(self, deadline: float | None = None) -> dict[str, float | None]:
        """The limits of one request: each wait, the head of the answer as a whole, and `deadline` for everything."""
        longest = float("inf") if deadline is None else max(0.001, deadline - time.monotonic())
        wait = min(self.timeout, longest)
        head = Until(wait, deadline=deadline, together=True)
        return {"connect": min(self.connect_timeout, longest), "read": head, "write": wait, "pool": wait}


class Line(Generic[Http]):
    """An open connection to a service: the HTTP client, and the parts common to all requests.

    Address, key, organisation and headers are those of a client of the openai package, without those that tell about
    this machine. Its `post` is not used: building its options and headers anew takes more CPU than the rest of a call.

    Attributes:
        http: Sends the requests.
    """

    def __init__(self, http: Http, client: openai.OpenAI | openai.AsyncOpenAI, connection: Connection) -> None:
        _trim(client, connection)
        headers = {**client.default_headers, **client.auth_headers}
        self.http = http
        kept = {name: value for name, value in headers.items() if not name.lower().startswith("x-stainless-")}
        self._headers = httpx2.Headers({name: value for name, value in kept.items() if isinstance(value, str)})
        self._base = str(client.base_url).rstrip("/")
        self._urls: dict[str, httpx2.URL] = {}

    def request(self, path: str, content: bytes, timeouts: dict[str, float | None]) -> httpx2.Request:
        """A request that posts JSON; a limit that is changed later counts from then on."""
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx2.URL(self._base + path)
        return httpx2.Request("POST", url, headers=self._headers, content=content, extensions={"timeout": timeouts})

    def other(self, method: str, path: str, timeouts: dict[str, float | None], **content: Any) -> httpx2.Request:
        """A request of another kind; `content` is what `httpx2.Request` takes."""
        headers = self._headers.copy()
        headers.pop("content-type", None)
        extensions = {"timeout": timeouts}
        return httpx2.Request(method, self._base + path, headers=headers, extensions=extensions, **content)


class Spread:
    """A connection to several servers, as one to each of them.

    Attributes:
        each: The connections.
        servers: Which of them are busy, and which are left out; by their places in `each`.
    """

    def __init__(self, clients: Clients, connection: Connection) -> None:
        accesses = (connection.access, *connection.others)
        self.each = [replace(connection, access=access, others=()) for access in accesses]
        owner = weakref.ref(clients)

        def well(place: int) -> bool:
            found = owner()
            return found is not None and found.well(self.each[place])

        self.servers = Servers(range(len(self.each)), well)


class Clients:
    """Lines by connection, shared by the copies of a model; never copied deeply, never pickled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._for_threads: dict[Connection, Line[httpx2.Client]] = {}
        self._for_loops: dict[asyncio.AbstractEventLoop, dict[Connection, Line[httpx2.AsyncClient]]] = {}
        self._spreads: dict[Connection, Spread] = {}

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Clients:
        return Clients()

    def __reduce__(self) -> tuple[type[Clients], tuple[()]]:
        return Clients, ()

    def of_thread(self, connection: Connection) -> Line[httpx2.Client]:
        """The line for synchronous calls; safe to use from several threads."""
        line = self._for_threads.get(connection)
        if line is None:
            with self._lock:
                line = self._for_threads.get(connection)
                if line is None:
                    line = self._for_threads[connection] = _sync_line(connection)
                    # not by __del__: the collector may finalize the sockets of a cycle before their client
                    weakref.finalize(self, line.http.close)
        return line

    def spread(self, connection: Connection) -> Spread | None:
        """The servers of a connection that has several."""
        if not connection.others:
            return None
        found = self._spreads.get(connection)
        if found is None:
            with self._lock:
                found = self._spreads.setdefault(connection, Spread(self, connection))
        return found

    def well(self, connection: Connection) -> bool:
        """Whether a server answers, and is not about to start or to stop; waits some seconds for it."""
        line = self.of_thread(connection)
        limits: dict[str, float | None] = dict.fromkeys(("connect", "read", "write", "pool"), CHECK_SECONDS)
        try:
            return line.http.send(line.other("GET", "/models", limits)).status_code < 500
        except (httpx2.HTTPError, OSError):
            return False

    async def of_loop(self, connection: Connection) -> Line[httpx2.AsyncClient]:
        """The line for the running event loop; it is closed when the loop ends."""
        loop = asyncio.get_running_loop()
        line = self._for_loops.get(loop, {}).get(connection)
        if line is None:
            line = await self._line_of(loop, connection)
        return line

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of the lines of a loop that ends."""
        self._for_loops.pop(loop, None)

    async def _line_of(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> Line[httpx2.AsyncClient]:
        for other in list(self._for_loops):
            if other.is_closed():
                self.forget(other)
        # the package's own HTTP client closes itself when collected, in whatever loop then runs; this one does not
        with _proxies_that_work():
            http = openai.DefaultAsyncHttpxClient(verify=_tls())
        line = Line(http, openai.AsyncOpenAI(**_arguments(connection), http_client=http), connection)
        self._for_loops.setdefault(loop, {})[connection] = line
        owner: weakref.ref[Clients] = weakref.ref(self)
        keeper = Keeper(http, join_writes(http), lambda: _forget(owner, loop))
        weakref.finalize(self, keeper.model_gone).atexit = False
        await keeper.start()  # returns at once
        return line


def _forget(owner: weakref.ref[Clients], loop: asyncio.AbstractEventLoop) -> None:
    if clients := owner():
        clients.forget(loop)


def _sync_line(connection: Connection) -> Line[httpx2.Client]:
    with _proxies_that_work():
        http = openai.DefaultHttpxClient(verify=_tls())
    join_writes(http)
    return Line(http, openai.OpenAI(**_arguments(connection), http_client=http), connection)


@contextmanager
def _proxies_that_work() -> Iterator[None]:
    """Name what a proxy of the environment needs; the HTTP client names a library that is not in use here."""
    try:
        yield
    except ImportError as error:
        if "socks" not in str(error).lower():
            raise
        raise MissingLibrary("socksio", extra="socks", reason="the environment names a SOCKS proxy") from error
    except (ValueError, httpx2.InvalidURL) as error:  # its words hide the password; `from error` would bring its frames
        problem = "the proxy that the environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) cannot be used"
        raise ConnectionFailed(f"{problem}: {Redaction().text(str(error))}") from None


@cache
def _tls() -> ssl.SSLContext:
    """The certificates that are trusted, read once: each reading takes 20 ms."""
    return httpx2.create_ssl_context()


def _arguments(connection: Connection) -> dict[str, Any]:
    return {
        "api_key": connection.access.key,
        "base_url": connection.access.base_url,
        "default_headers": dict(connection.headers),
    }


def _trim(client: openai.OpenAI | openai.AsyncOpenAI, connection: Connection) -> None:
    """Take away what the openai package read from the environment and a foreign host must not see."""
    client.admin_api_key = None
    if not connection.access.own:
        client.organization = None
        client.project = None
