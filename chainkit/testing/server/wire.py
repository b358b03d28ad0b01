"""HTTP/1.1 in a thread, byte for byte under a test's control: an answer can be cut or delayed anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LONGEST_WAIT_SECONDS = 60
"""For the thread to begin and to end, on the busiest machine."""


@dataclass(frozen=True)
class HTTPRequest:
    """What a client sent; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Pause:
    """Wait this long before the next part."""

    seconds: float


class Hangup:
    """Drop the connection here."""


Part = bytes | Pause | Hangup


@dataclass(frozen=True)
class HTTPAnswer:
    """What a server sends: parts in order. One that is `streamed` goes out part by part in chunked encoding."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    streamed: bool = False


class Server:
    """Answers each request on 127.0.0.1 with what `answer(request)` says, from a separate thread.

    Attributes:
        requests: Every request so far.
        port: Where it listens; one set before `start` is used, else any that is free.
        connections: How many connections are open now.
        accepted: How many there have been.
        tls: With which certificate it speaks TLS; None for none.
    """

    def __init__(self, answer: Callable[[HTTPRequest], HTTPAnswer], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[HTTPRequest] = []
        self.connections = 0
        self.accepted = 0
        self.port = 0
        self.tls = tls
        self._answer = answer
        self._loop = asyncio.new_event_loop()
        self._serving: set[asyncio.Task[None]] = set()
        """Keeps them from the collector."""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Listen; returns when clients can connect."""
        started = threading.Event()
        self._loop.call_soon(lambda: self._loop.create_task(self._listen(started)))
        self._thread.start()
        if not started.wait(LONGEST_WAIT_SECONDS):
            raise RuntimeError("the test server did not start")

    def stop(self) -> None:
        """Drop every connection and end the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(LONGEST_WAIT_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LONGEST_WAIT_SECONDS)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self, started: threading.Event) -> None:
        self._listener = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, backlog=1024, ssl=self.tls)
        self.port = self._listener.sockets[0].getsockname()[1]
        started.set()

    async def _close(self) -> None:
        """End all tasks of this loop, including connections accepted a moment ago."""
        while accepting := asyncio.all_tasks() - self._serving - {asyncio.current_task()}:
            await asyncio.sleep(0)  # one that is cancelled before it begins would close nothing
            await _end(accepting)
        self._listener.close()  # not earlier: half-accepted connections would stay open
        await _end(self._serving)
        await asyncio.sleep(0)  # for the last of them to be closed

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, and close it even if that is cancelled before it begins."""
        self.connections += 1
        self.accepted += 1
        serving = self._loop.create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(lambda _: self._served(serving, writer))

    def _served(self, serving: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        self.connections -= 1
        self._serving.discard(serving)
        writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while request := await _read(reader, writer):
                self.requests.append(request)
                if not await self._play(self._answer(request), reader, writer):
                    break

    async def _play(self, answer: HTTPAnswer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send an answer; False if the connection was dropped instead."""
        parts = list(answer.parts)
        while parts and isinstance(first := parts[0], Pause):  # a pause before the first byte delays the headers too
            await _pause(first.seconds, reader)
            del parts[0]
        if not answer.streamed:
            parts = _with_length(answer, parts)
        else:
            writer.write(_head(answer, {"transfer-encoding": "chunked"}))
        for part in parts:
            if isinstance(part, Pause):
                await _pause(part.seconds, reader)
            elif isinstance(part, Hangup):
                await writer.drain()
                await asyncio.sleep(0.01)
                return False
            elif writer.is_closing():
                return False
            else:
                writer.write(b"%x\r\n%b\r\n" % (len(part), part) if answer.streamed else part)
                await writer.drain()
        if answer.streamed:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _pause(seconds: float, reader: asyncio.StreamReader) -> None:
    """Wait, but not longer than the client does."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        if reader.at_eof() or reader.exception():  # closed in good order, or reset with bytes unread
            raise ConnectionResetError
        await asyncio.sleep(min(0.01, seconds))


def _with_length(answer: HTTPAnswer, parts: list[Part]) -> list[Part]:
    length = sum(len(part) for part in parts if isinstance(part, bytes))
    return [_head(answer, {"content-length": str(length)}), *parts]


def _head(answer: HTTPAnswer, extra: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} X", *(f"{k}: {v}" for k, v in {**answer.headers, **extra}.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> HTTPRequest | None:
    head = await reader.readexactly(1)
    if not head.isalpha():  # somebody tries TLS, and gets the error of any web server
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        return None
    head += await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return HTTPRequest(method, path, headers, body)
