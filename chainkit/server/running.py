"""Running an application: uvicorn on one address, with limits on slow clients and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from chainkit.base.errors import ChainkitError, of_system
from chainkit.server.services import Services
from chainkit.server.settings import ServerSettings

_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 512  # connections that the system keeps until they are taken
_TAKEN_AT_ONCE = 8  # connections accepted per event-loop round; a whole crowd at once would block other requests


class GatheringTransport:
    """A transport that batches all writes of one event-loop round into one send.

    uvicorn writes the head of an answer, its body and each event of a stream on their own, and each write is a call of
    the system that wakes the client.

    Args:
        transport: The real one.
        loop: Its event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it soon."""
        if not data:
            return
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Send pending data and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data, self._parts = b"".join(self._parts), []
            self._transport.write(data)


class PatientProtocol(H11Protocol):
    """HTTP/1.1 in which the head of a request must come in time, and not byte by byte for ever.

    Attributes:
        header_seconds: How long a client has.
    """

    header_seconds: float = 15.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin to wait for the head of the first request."""
        super().connection_made(GatheringTransport(transport, self.loop))  # pyright: ignore[reportArgumentType]
        self._late = self.loop.call_later(self.header_seconds, self._too_late)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, if one has begun and not ended."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._on_time()
        elif self._late is None and (self.cycle is None or self.cycle.response_complete):
            self._late = self.loop.call_later(self.header_seconds, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._on_time()
        super().connection_lost(exc)

    def _on_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()


class OrderlyServer(uvicorn.Server):
    """Once stopping, accepts no new requests and reports that in /health.

    Args:
        config: As uvicorn has it.
        services: Those of the application.
        on_ready: Called when it listens.
    """

    def __init__(self, config: uvicorn.Config, services: Services, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._services, self._on_ready = services, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)
        gc.freeze()  # long-lived objects need not be scanned by the garbage collector
        if self.started and self._on_ready is not None:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal to stop."""
        self._services.admission.closed = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what runs."""
        self._services.admission.closed = True
        await super().shutdown(sockets)


def bound(settings: ServerSettings) -> socket.socket:
    """The socket to listen on.

    Raises:
        ChainkitError: The address is taken, or none of this machine.
    """
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((settings.host, settings.port))
        except BaseException:
            listener.close()
            raise
        return listener
    except OSError as error:
        raise ChainkitError(
            f"cannot listen on {settings.host}:{settings.port}: {of_system(error)}; choose another --port"
        ) from error


def server_of(
    app: Starlette, settings: ServerSettings, *, on_ready: Callable[[], None] | None = None, **options: Any
) -> OrderlyServer:
    """A uvicorn server that is still to be run.

    Args:
        app: What `create_app` made.
        settings: Its limits count.
        on_ready: Called when it listens.
        options: Of `uvicorn.Config`.
    """
    protocol = type("Protocol", (PatientProtocol,), {"header_seconds": settings.limits.header_seconds})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.limits.drain_seconds),
        backlog=_TAKEN_AT_ONCE,
        **options,
    )
    return OrderlyServer(config, app.state.services, on_ready)


def run(app: Starlette, settings: ServerSettings, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; what runs is finished then.

    Args:
        app: What `create_app` made.
        settings: Where to listen.
        on_ready: Called with the address when it listens.

    Raises:
        ChainkitError: The address cannot be listened on.
    """
    with bound(settings) as listener:
        address = address_of(listener)
        server = server_of(app, settings, on_ready=lambda: on_ready(address) if on_ready else None)
        server.run(sockets=[listener])


@contextmanager
def in_background(app: Starlette, settings: ServerSettings) -> Iterator[str]:
    """Serve in a thread while the block runs, which gets the address; for tests and notebooks.

    Raises:
        ChainkitError: The address cannot be listened on.
    """
    ready = threading.Event()
    with bound(settings) as listener:
        server = server_of(app, settings, on_ready=ready.set)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        try:
            while not ready.wait(0.1) and thread.is_alive():
                pass
            yield address_of(listener)
        finally:
            server.should_exit = True
            thread.join()


def address_of(listener: socket.socket) -> str:
    """The URL of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
