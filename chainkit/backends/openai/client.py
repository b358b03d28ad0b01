"""The HTTP clients of a model: one for threads and one for each event loop, made when first used."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from chainkit.backends.openai.access import Access
from chainkit.base.errors import MissingLibrary

try:
    import httpx2
    import openai
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error


@dataclass(frozen=True)
class Connection:
    """How a service is reached.

    Attributes:
        provider: Its name in messages.
        access: Address and key.
        timeout: Longest silence in seconds, before the first byte of an answer and between any two.
        connect_timeout: Longest wait in seconds for a connection.
        total_timeout: Longest time in seconds for a call with all its repeats, or None.
        max_retries: How often a call is repeated after a failure that may pass.
        max_retry_seconds: Longest time in seconds spent on waiting between repeats, in total.
        headers: Sent with every request.
    """

    provider: str
    access: Access
    timeout: float = 600.0
    connect_timeout: float = 5.0
    total_timeout: float | None = None
    max_retries: int = 2
    max_retry_seconds: float = 60.0
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def timeouts(self, longest: float | None = None) -> httpx2.Timeout:
        """The limits of one request, none above `longest` seconds."""
        silence = self.timeout if longest is None else min(self.timeout, longest)
        connect = self.connect_timeout if longest is None else min(self.connect_timeout, longest)
        return httpx2.Timeout(silence, connect=connect)


class Clients:
    """Clients by connection, shared by the copies of a model; never copied deeply, never pickled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._for_threads: dict[Connection, openai.OpenAI] = {}
        self._for_loops: dict[asyncio.AbstractEventLoop, dict[Connection, _Kept]] = {}

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Clients:
        return Clients()

    def __reduce__(self) -> tuple[type[Clients], tuple[()]]:
        return Clients, ()

    def of_thread(self, connection: Connection) -> openai.OpenAI:
        """The client for synchronous calls; safe to use from several threads."""
        client = self._for_threads.get(connection)
        if client is None:
            with self._lock:
                client = self._for_threads.get(connection) or _made(connection)
                self._for_threads[connection] = client
        return client

    async def of_loop(self, connection: Connection) -> openai.AsyncOpenAI:
        """The client for the running event loop; it is closed when the loop ends."""
        loop = asyncio.get_running_loop()
        kept = self._for_loops.get(loop, {}).get(connection)
        if kept is None:
            kept = self._keep(loop, connection)
            await anext(kept.guard)
        return kept.client

    def _keep(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> _Kept:
        for other in [other for other in self._for_loops if other.is_closed()]:
            self._for_loops.pop(other, None)
        # the package's own HTTP client closes itself when collected, in whatever loop then runs; this one does not
        http = openai.DefaultAsyncHttpxClient(timeout=connection.timeouts(), verify=_tls())
        client = openai.AsyncOpenAI(**_arguments(connection), http_client=http)
        _trim(client, connection)
        guard = _guard(client, lambda: self._for_loops.pop(loop, None))
        kept = self._for_loops.setdefault(loop, {})[connection] = _Kept(client, guard)
        return kept


class _Kept(NamedTuple):
    client: openai.AsyncOpenAI
    guard: AsyncGenerator[None]


async def _guard(client: openai.AsyncOpenAI, forget: Callable[[], object]) -> AsyncGenerator[None]:
    """Close a client when its loop ends.

    `asyncio.run`, and whatever else shuts a loop down in good order, closes every asynchronous generator that was
    started in it. This is one, so no connection outlives its loop.
    """
    try:
        yield
    finally:
        forget()
        await client.close()


class _HttpClient(openai.DefaultHttpxClient):
    """Closes its connections when its model is gone."""

    def __del__(self) -> None:
        self.close()


@cache
def _tls() -> ssl.SSLContext:
    """The certificates that are trusted, read once: each reading takes 20 ms."""
    return httpx2.create_ssl_context()


def _made(connection: Connection) -> openai.OpenAI:
    http = _HttpClient(timeout=connection.timeouts(), verify=_tls())
    client = openai.OpenAI(**_arguments(connection), http_client=http)
    _trim(client, connection)
    return client


def _arguments(connection: Connection) -> dict[str, Any]:
    return {
        "api_key": connection.access.key,
        "base_url": connection.access.base_url,
        "timeout": connection.timeouts(),
        "max_retries": 0,  # repeated by chainkit.backends.openai.calls, which counts and caps
        "default_headers": dict(connection.headers),
    }


def _trim(client: openai.OpenAI | openai.AsyncOpenAI, connection: Connection) -> None:
    """Take away what the openai package read from the environment and a foreign host must not see."""
    client.admin_api_key = None
    if not connection.access.own:
        client.organization = None
        client.project = None
