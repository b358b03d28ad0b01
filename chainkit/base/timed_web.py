"""urllib calls with a deadline for the whole call, however slowly the server sends."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from email.message import Message
from functools import partial
from typing import IO, Any, Self
from urllib.parse import urlsplit

PIECE_BYTES = 1 << 16


class TimedWeb:
    """Connections that are cut when the time is over; a context manager, which closes them.

    A timeout of a socket is for each of its bytes, so that a server may drip for hours.

    Attributes:
        over: Whether the time is over.
        seconds: The whole time, from now on.

    Args:
        seconds: The same.
        silence: The longest wait for the next bytes; by default the whole time.
    """

    def __init__(self, seconds: float, silence: float | None = None) -> None:
        self.over = False
        self.seconds = seconds
        self._silence = seconds if silence is None else silence
        self._ends = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._timer.cancel()
        for one in self._sockets:
            one.close()

    def opener(self, *handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
        """What opens addresses within the time; redirects keep a login for the same host unless `handlers` say else."""
        return urllib.request.build_opener(*(handlers or (_SameHost(),)), _Web(self), _SecureWeb(self))

    def connect(self, address: tuple[str, int], timeout: Any = None, source_address: Any = None) -> socket.socket:
        """A connection that ends with the time."""
        wait = max(0.1, min(self._silence, self._ends - time.monotonic()))
        opened = socket.create_connection(address, wait, source_address)
        self._sockets.append(opened.dup())  # TLS takes the socket itself away
        if self.over:
            self._cut()
        return opened

    def read(self, reply: Any, most_bytes: int) -> bytes:
        """The body of a reply, or its first bytes.

        Raises:
            TimeoutError: It does not come in time.
        """
        data = bytearray()
        while len(data) < most_bytes and (piece := reply.read1(min(PIECE_BYTES, most_bytes - len(data)))):
            data += piece
        if self.over:
            raise TimeoutError(f"the answer was not complete in {self.seconds:g} s")
        return bytes(data)

    def _cut(self) -> None:
        self.over = True
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class _Web(urllib.request.HTTPHandler):
    def __init__(self, timed: TimedWeb) -> None:
        super().__init__()
        self._timed = timed

    def http_open(self, req: urllib.request.Request) -> Any:
        """Over a connection that is cut in time."""
        return self.do_open(partial(_connection, http.client.HTTPConnection, self._timed.connect), req)  # pyright: ignore


class _SecureWeb(urllib.request.HTTPSHandler):
    def __init__(self, timed: TimedWeb) -> None:
        self._own_context = ssl.create_default_context()
        super().__init__(context=self._own_context)
        self._timed = timed

    def https_open(self, req: urllib.request.Request) -> Any:
        """Over a connection that is cut in time."""
        made = partial(_connection, http.client.HTTPSConnection, self._timed.connect)
        return self.do_open(made, req, context=self._own_context)  # pyright: ignore


def _connection(kind: Callable[..., Any], connect: Callable[..., socket.socket], host: str, **settings: Any) -> Any:
    made = kind(host, **settings)
    made._create_connection = connect  # the one place that http.client takes its sockets from
    return made


class _SameHost(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """To the same scheme and host with the login, to others without."""
        made = super().redirect_request(req, fp, code, msg, headers, newurl)  # pyright: ignore
        if made is not None and urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]:
            made.unredirected_hdrs.update(req.unredirected_hdrs)
            made.unredirected_hdrs.pop("Host", None)
        return made
