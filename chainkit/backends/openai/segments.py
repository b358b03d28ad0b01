"""One write for a request: httpcore2 writes head and body apart, each a system call and a turn of the event loop.

And a list of what is open, so that it can be closed whatever befalls the closing.
"""

# ruff: noqa: ASYNC109, D102 - the names and meanings are those of httpcore2
from __future__ import annotations

from typing import Any
from weakref import WeakSet

from chainkit.base.errors import MissingLibrary

try:
    import httpcore2
    import httpx2
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error


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
        self.read = stream.read
        self.close = stream.close
        self.get_extra_info = stream.get_extra_info

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if _is_head(buffer):
            self._head = buffer
            return
        if self._head:
            buffer, self._head = self._head + buffer, b""
        self._stream.write(buffer, timeout)

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
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
        self.read = stream.read
        self.aclose = stream.aclose
        self.get_extra_info = stream.get_extra_info

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if _is_head(buffer):
            self._head = buffer
            return
        if self._head:
            buffer, self._head = self._head + buffer, b""
        await self._stream.write(buffer, timeout)

    async def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        try:
            return AsyncJoiningStream(await self._stream.start_tls(*args, **kwargs), self._opened)
        except BaseException:
            await self.aclose()  # httpcore2 does not, if the call is cancelled in the handshake
            raise
