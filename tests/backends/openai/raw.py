"""A server that sends bytes as it likes: drips, never ends, or breaks the rules of HTTP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

Play = Callable[[], Iterable[bytes | float]]
"""What one connection gets: bytes, and pauses in seconds."""


@contextmanager
def raw_server(play: Play) -> Iterator[str]:
    """The base address of a server that answers each request with what `play()` gives, then closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    over = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(10)
            _read_request(connection)
            for part in play():
                if over.is_set():
                    return
                if isinstance(part, bytes):
                    connection.sendall(part)
                else:
                    over.wait(part)

    def accept() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                thread = threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True)
                thread.start()
                threads.append(thread)

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        over.set()
        accepting.join(10)
        for thread in threads:
            thread.join(15)
        listener.close()


def _read_request(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0)
    while len(body) < length:
        body += connection.recv(65536)


def head(kind: str = "application/json", status: str = "200 OK", **headers: str) -> bytes:
    """The head of an answer that ends when the connection does."""
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{named}connection: close\r\n\r\n".encode()


def dripping(data: bytes, seconds: float = 0.05) -> Iterator[bytes | float]:
    """One byte at a time, for ever again from the beginning."""
    while True:
        for byte in data:
            yield bytes([byte])
            yield seconds


def endless(piece: bytes) -> Iterator[bytes]:
    """As fast as it is read; ends after a time that no test should need."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        yield piece
