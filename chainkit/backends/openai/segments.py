"""Additions to the connections of the HTTP client.

- Head and body of a request go out in one write; httpcore2 makes two, each a system call and a turn of the event loop.
- Each wait consults the time limit of the whole call; httpcore2 starts it again with every piece that arrives.
- Open connections are listed, so that they can be closed even if the closing is interrupted.
"""

# ruff: noqa: ASYNC109, D102 - the names and meanings are those of httpcore2
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from chainkit.base.deadlines import Until
from chainkit.base.errors import MissingLibrary

try:
    import httpcore2
    import httpx2
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error


NO_HANDSHAKE = "the TLS handshake got no answer"


def join_writes(http: httpx2.Client | httpx2.AsyncClient) -> WeakSet[AsyncJoiningStream]:
    """Let a client send the head of a POST together with what follows it; the answer will hold its open connections.

    (Those of an asynchronous client; one for threads closes all of them without a break.)

    The way to a client's network goes through private names. Where a later version has others, all works as before,
    only with two writes; a test tells.
    """
    opened: WeakSet[AsyncJoiningStream] = WeakSet()
    for transport in (getattr(http, "_transport", None), *getattr(http, "_mounts", {}).values()):
        pool = getattr(transport, "_pool", None)
        if hasattr(pool, "_network_backend"):
            backend: Any = pool._network_backend  # pyright: ignore[reportOptionalMemberAccess]
            joining = (
                JoiningBackend(backend) if isinstance(http, httpx2.Client) else AsyncJoiningBackend(backend, opened)
            )
            pool._network_backend = joining  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    return opened


def _left(limit: float | None) -> float | None:
    """Seconds that the next wait for the service may take.

    Raises:
        httpcore2.ReadTimeout: None are left.
    """
    if not isinstance(limit, Until):
        return limit
    seconds = limit.left()
    if seconds <= 0:
        raise httpcore2.ReadTimeout("the answer was not complete in time")
    return seconds


@contextmanager
def _named_handshake() -> Iterator[None]:
    """Tell a handshake that gets no answer from a host that cannot be reached."""
    try:
        yield
    except httpcore2.ConnectTimeout as error:
        raise httpcore2.ConnectTimeout(NO_HANDSHAKE) from error


def _is_head(data: bytes) -> bool:
    return data.startswith(b"POST ") and data.endswith(b"\r\n\r\n")


class JoiningBackend(httpcore2.NetworkBackend):
    """Opens connections that join writes."""

    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return JoiningStream(self._backend.connect_tcp(*args, **kwargs))

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return JoiningStream(self._backend.connect_unix_socket(*args, **kwargs))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class JoiningStream(httpcore2.NetworkStream):
    """A connection that holds back the head of a POST until its body is written."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._head = b""
        self.close = stream.close
        self.get_extra_info = stream.get_extra_info

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if _is_head(buffer):
            self._head = buffer
            return
        if self._head:
            buffer, self._head = self._head + buffer, b""
        self._stream.write(buffer, timeout)

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        with _named_handshake():
            return JoiningStream(self._stream.start_tls(*args, **kwargs))


class AsyncJoiningBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections that join writes."""

    def __init__(self, backend: httpcore2.AsyncNetworkBackend, opened: WeakSet[AsyncJoiningStream]) -> None:
        self._backend = backend
        self._opened = opened

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        return AsyncJoiningStream(await self._backend.connect_tcp(*args, **kwargs), self._opened)

    async def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        return AsyncJoiningStream(await self._backend.connect_unix_socket(*args, **kwargs), self._opened)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class AsyncJoiningStream(httpcore2.AsyncNetworkStream):
    """A connection that holds back the head of a POST until its body is written."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream, opened: WeakSet[AsyncJoiningStream]) -> None:
        self._stream = stream
        self._opened = opened
        opened.add(self)
        self._head = b""
        self.aclose = stream.aclose
        self.get_extra_info = stream.get_extra_info

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, _left(timeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if _is_head(buffer):
            self._head = buffer
            return
        if self._head:
            buffer, self._head = self._head + buffer, b""
        await self._stream.write(buffer, timeout)

    async def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        try:
            with _named_handshake():
                return AsyncJoiningStream(await self._stream.start_tls(*args, **kwargs), self._opened)
        except BaseException:
            await self.aclose()  # httpcore2 does not, if the call is cancelled in the handshake
            raise
