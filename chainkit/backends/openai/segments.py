"""One write for a request: httpcore2 writes head and body apart, each a system call and a turn of the event loop."""

# ruff: noqa: ASYNC109, D102 - the names and meanings are those of httpcore2
from __future__ import annotations

from typing import Any

from chainkit.base.errors import MissingLibrary

try:
    import httpcore2
    import httpx2
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error


def join_writes(http: httpx2.Client | httpx2.AsyncClient) -> None:
    """Let a client send the head of a POST together with what follows it.

    The way to a client's network goes through private names. Where a later version has others, all works as before,
    only with two writes; a test tells.
    """
    wrap = JoiningBackend if isinstance(http, httpx2.Client) else AsyncJoiningBackend
    for transport in (getattr(http, "_transport", None), *getattr(http, "_mounts", {}).values()):
        pool = getattr(transport, "_pool", None)
        if hasattr(pool, "_network_backend"):
            pool._network_backend = wrap(pool._network_backend)  # pyright: ignore[reportOptionalMemberAccess]


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

    def __init__(self, backend: httpcore2.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        return AsyncJoiningStream(await self._backend.connect_tcp(*args, **kwargs))

    async def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        return AsyncJoiningStream(await self._backend.connect_unix_socket(*args, **kwargs))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class AsyncJoiningStream(httpcore2.AsyncNetworkStream):
    """A connection that holds back the head of a POST until its body is written."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
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
        return AsyncJoiningStream(await self._stream.start_tls(*args, **kwargs))
