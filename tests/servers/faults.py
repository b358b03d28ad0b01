"""Sixty ways in which a server can fail, as bytes on the wire; numbers are pauses in seconds."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from tests.backends.openai.raw import dripping, endless, head

Play = Callable[[], Iterable[bytes | float]]
OK = b"HTTP/1.1 200 OK\r\n"
GOOD = {
    "id": "1",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "data": [{"index": 0, "embedding": [0.5, 0.5]}],
    "siblings": [],
}
WHOLE = json.dumps(GOOD).encode()
BOMB = gzip.compress(b"[" + b"0," * 60_000_000)
DEEP = b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
SILENT = 60.0


def then(*parts: bytes | float | Iterable[bytes | float]) -> Play:
    """These parts, one after the other."""

    def play() -> Iterator[bytes | float]:
        for part in parts:
            yield from [part] if isinstance(part, bytes | float) else part

    return play


def lazily(begin: bytes, make: Callable[[], Iterable[bytes | float]]) -> Play:
    def play() -> Iterator[bytes | float]:
        yield begin
        yield from make()

    return play


def says(body: Any, kind: str = "application/json", status: str = "200 OK", **headers: str) -> Play:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return then(head(kind, status, **headers), data)


def changed(**fields: Any) -> Play:
    return says({**GOOD, **fields})


def message(**fields: Any) -> Play:
    whole = {"role": "assistant", "content": "yes", **fields}
    return changed(choices=[{"index": 0, "message": whole, "finish_reason": "stop"}])


STREAM = head("text/event-stream")
FAULTS: dict[str, Play] = {
    "silent from the beginning": then(SILENT),
    "silent after the status": then(OK, SILENT),
    "silent after the head": then(head(), SILENT),
    "silent in the body": then(head(), WHOLE[:9], SILENT),
    "silent in an error": then(head(status="500 X"), b"{", SILENT),
    "drips the status": lazily(b"", lambda: dripping(b"HTTP/1.1 200 OK and more ")),
    "drips header lines": lazily(OK, lambda: dripping(b"x-a: b\r\n")),
    "drips 100 Continue": lazily(b"", lambda: dripping(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "drips the body": lazily(head(), lambda: dripping(b"[0, ")),
    "drips blanks": lazily(head(), lambda: dripping(b" ")),
    "drips in chunks": lazily(OK + b"transfer-encoding: chunked\r\n\r\n", lambda: dripping(b"1\r\n \r\n")),
    "drips an error": lazily(head(status="400 X"), lambda: dripping(b"no ")),
    "drips comments of events": lazily(STREAM, lambda: dripping(b": wait\n\n")),
    "drips empty events": lazily(STREAM, lambda: dripping(b"data: {}\n\n")),
    "drips a page": lazily(head("text/html"), lambda: dripping(b"<p>wait")),
    "drips gzip": lazily(head(content_encoding="gzip"), lambda: dripping(BOMB[:2000])),
    "endless body": lazily(head(), lambda: endless(b" " * 100_000)),
    "endless text": lazily(head(), lambda: chain([b'{"a": "'], endless(b"a" * 100_000))),
    "endless chunks": lazily(
        OK + b"transfer-encoding: chunked\r\n\r\n", lambda: endless(b"10000\r\n" + b" " * 65536 + b"\r\n")
    ),
    "endless error": lazily(head(status="500 X"), lambda: endless(b"no " * 30_000)),
    "endless page": lazily(head("text/html"), lambda: endless(b"<p>" * 30_000)),
    "endless header line": lazily(OK + b"x: ", lambda: endless(b"a" * 100_000)),
    "endless headers": lazily(OK, lambda: endless(b"x-a: b\r\n" * 10_000)),
    "endless event line": lazily(STREAM, lambda: chain([b"data: "], endless(b"a" * 100_000))),
    "endless empty events": lazily(STREAM, lambda: endless(b"data: {}\n\n" * 5_000)),
    "endless events": lazily(STREAM, lambda: endless(EVENT * 2_000)),
    "endless comments": lazily(STREAM, lambda: endless(b": hi\n\n" * 9_000)),
    "a bomb of gzip": says(BOMB, content_encoding="gzip"),
    "a bomb of deflate": says(zlib.compress(b" " * 120_000_000), content_encoding="deflate"),
    "a bomb in an error": says(BOMB, status="500 X", content_encoding="gzip"),
    "a bomb in events": says(BOMB, "text/event-stream", content_encoding="gzip"),
    "an encoding that was not asked for": says(WHOLE, content_encoding="br"),
    "broken gzip": says(b"\x1f\x8b" + WHOLE, content_encoding="gzip"),
    "closes at once": then(),
    "closes after the head": then(head()),
    "closes in the body": then(OK + b"content-length: 500\r\n\r\n" + WHOLE[:20]),
    "closes in a chunk": then(OK + b"transfer-encoding: chunked\r\n\r\nff\r\n{"),
    "a chunk of no size": then(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "no HTTP": then(b"SSH-2.0-OpenSSH\r\n"),
    "a status of no number": then(b"HTTP/1.1 abc OK\r\n\r\n"),
    "two lengths": then(OK + b"content-length: 2\r\ncontent-length: 9\r\n\r\n{}"),
    "a negative length": then(OK + b"content-length: -5\r\n\r\n{}"),
    "204": says(b"", status="204 No Content"),
    "304": says(b"", status="304 Not Modified"),
    "a redirect in a circle": says(b"", status="302 Found", location="/v1/chat/completions"),
    "a redirect to a file": says(b"", status="302 Found", location="file:///etc/passwd"),
    "401": says({"error": {"message": "no"}}, status="401 X"),
    "429 for an hour": says({"error": "slow"}, status="429 X", retry_after="3600"),
    "503": says(b"<html>later</html>", "text/html", "503 X"),
    "a page": says(b"<html>Welcome</html>", "text/html"),
    "nothing": says(b""),
    "null": says(b"null"),
    "a list": says(b"[1]"),
    "half of JSON": says(WHOLE[:30]),
    "deep JSON": says(DEEP),
    "a huge number": says(b'{"choices": ' + b"9" * 5_000 + b"}"),
    "UTF-16": says(WHOLE.decode().encode("utf-16")),
    "no UTF-8": says(b'{"choices": "\xff\xfe"}'),
    "null in tool calls": message(tool_calls=[None]),
    "tool calls of text": message(tool_calls="none"),
    "content of a number": message(content=5),
    "choices of null": changed(choices=[None], data=[None]),
    "vectors of text": changed(choices="a", data=[{"index": 0, "embedding": ["a"]}]),
    "an event of no JSON": then(STREAM, b"data: {\n\n"),
    "an event of a list": then(STREAM, b"data: [1]\n\n"),
    "an event of an error": then(STREAM, EVENT, b'data: {"error": "no"}\n\n'),
    "a stream without its end": then(STREAM, EVENT),
    "only the end of a stream": then(STREAM, b"data: [DONE]\n\n"),
    "events of odd choices": then(STREAM, b'data: {"choices": [null]}\n\n', b'data: {"choices": 3}\n\n'),
}
