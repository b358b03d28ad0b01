"""Requests that nobody should send: each is refused with a reason, and others are answered meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk

from chainkit.server import ServedModel, ServerLimits, ServerSettings, served_model
from chainkit.server.speakers.call import ChatCall, Speaker

HELLO = {"model": "echo", "messages": [{"role": "user", "content": "one two"}]}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def echo(serve_long):
    limits = ServerLimits(header_seconds=0.4, body_bytes=100_000)
    return serve_long(served_model("fake:", "echo"), settings=ServerSettings(port=0, limits=limits))


def raw(server: Any, data: bytes, *, half_close: bool = False) -> bytes:
    """What the server answers to bytes, until it closes the connection."""
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def post(body: bytes, *headers: str) -> bytes:
    lines = [
        f"POST {CHAT} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        "connection: close",
        *headers,
    ]
    if not any(header.lower().startswith(("content-length", "transfer")) for header in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


BODIES = {
    "no JSON": b"{",
    "a list": b"[]",
    "NaN": b'{"model":"echo","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    "infinite": b'{"model":"echo","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
    "deep": b'{"model":' + b"[" * 40_000 + b"]" * 40_000 + b"}",
    "deep in a field that is taken": b'{"model":"echo","messages":[{"role":"user","content":"x"}],"metadata":'
    + b'{"a":' * 500
    + b"1"
    + b"}" * 501,
    "half a surrogate": b'{"model":"echo","messages":[{"role":"user","content":"\\ud800"}]}',
    "no UTF-8": b'{"model":"echo","messages":[{"role":"user","content":"\xff"}]}',
    "negative": json.dumps({**HELLO, "max_tokens": -5}).encode(),
    "huge n": json.dumps({**HELLO, "n": 10**30}).encode(),
    "huge seed": json.dumps({**HELLO, "seed": 10**400}).encode(),
    "no role": json.dumps({**HELLO, "messages": [{"content": "x"}]}).encode(),
    "tool without an id": json.dumps({**HELLO, "messages": [{"role": "tool", "content": "x"}]}).encode(),
    "empty stop": json.dumps({**HELLO, "stop": ""}).encode(),
    "a boolean for a number": json.dumps({**HELLO, "max_tokens": True}).encode(),
    "too long": json.dumps({**HELLO, "user": "x" * 200_000}).encode(),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_wrong_gets_a_4xx_and_a_reason(echo, name: str) -> None:
    head, _, body = raw(echo, post(BODIES[name])).partition(b"\r\n\r\n")
    assert head.split()[1][:1] == b"4", head
    assert json.loads(body)["error"]["message"]
    assert echo.post(CHAT, HELLO).status_code == 200


RAW = {
    "two lengths": post(b"{}", "content-length: 2", "content-length: 3"),
    "length and encoding": post(b"0\r\n\r\n", "content-length: 5", "transfer-encoding: chunked"),
    "a space before the colon": b"GET /health HTTP/1.1\r\nhost : 127.0.0.1\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example\r\n\r\n",
    "a foreign host": b"GET /v1/models HTTP/1.1\r\nhost: rebound.example\r\n\r\n",
    "a user in the host": b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1@rebound.example\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "a head without end": b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"y" * 100_000,
    "a length that is none": post(b"{}", "content-length: +2"),
    "a negative length": post(b"{}", "content-length: -2"),
}


@pytest.mark.parametrize("name", RAW)
def test_a_head_that_could_be_read_in_two_ways_is_refused(echo, name: str) -> None:
    answer = raw(echo, RAW[name])
    assert answer.split()[1][:1] == b"4", answer[:200]
    assert echo.http.get("/health").status_code == 200


@pytest.mark.parametrize("begun", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nx: "])
def test_a_head_that_does_not_come_is_not_awaited_for_ever(echo, begun: bytes) -> None:
    begin = time.monotonic()
    assert raw(echo, begun) == b""
    assert time.monotonic() - begin < 8


def _is_closed_after_a_byte(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_head_that_comes_byte_by_byte_has_no_more_time(echo) -> None:
    host, _, port = echo.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=0.05) as connection:
        assert any(_is_closed_after_a_byte(connection) for _ in range(200))


def test_a_body_that_does_not_come_is_a_408(echo) -> None:
    assert raw(echo, post(b"{", "content-length: 1000")).split()[1] == b"408"


def wait_for(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_bodies_that_come_slowly_take_no_more_memory_than_is_meant(serve) -> None:
    limits = ServerLimits(header_seconds=20, arriving_bytes=50_000)
    server = serve(served_model("fake:", "echo"), settings=ServerSettings(port=0, limits=limits))
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(post(b"{" * 40_000, "content-length: 90000"))
        wait_for(lambda: server.app.state.services.arriving._bytes == 40_000)
        refused = raw(server, post(b" " * 20_000, "content-length: 90000"))
        assert refused.split()[1] == b"503"
        assert b"overloaded" in refused
        assert server.post(CHAT, HELLO).status_code == 200
    wait_for(lambda: server.app.state.services.arriving._bytes == 0)


def test_a_client_that_stops_in_the_midst_of_a_request_leaves_nothing_behind(echo) -> None:
    assert raw(echo, post(b"{", "content-length: 1000"), half_close=True) == b""
    assert echo.http.get("/health").json()["running"] == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_what_a_page_of_a_stranger_can_send_is_refused(echo, headers: dict[str, str], status: int) -> None:
    sent = {"content-type": "application/json", **headers}
    answer = echo.http.post(CHAT, content=json.dumps(HELLO), headers=sent)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


def test_a_site_that_is_let_in_may_ask_and_read(serve) -> None:
    settings = ServerSettings(port=0, allowed_origins=("https://good.example",), keys=("k",))
    server = serve(served_model("fake:", "echo"), settings=settings)
    origin = {"origin": "https://good.example"}
    before = server.http.options(CHAT, headers=origin)
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (204, "https://good.example")
    answer = server.http.post(CHAT, json=HELLO, headers={**origin, "authorization": "Bearer k"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://good.example")


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic cmlnaHQ=", "Bearer rightt", "Bearer \xff"])
def test_without_the_right_key_nothing_but_health_is_told(serve, given: str) -> None:
    server = serve(served_model("fake:", "echo"), settings=ServerSettings(port=0, keys=("right", "other")))
    answer = server.http.get("/v1/models", headers={"authorization": given.encode("latin-1")} if given else {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert server.http.get("/health").status_code == 200
    assert server.http.get("/v1/models", headers={"authorization": "Bearer other"}).status_code == 200


class Slow(Speaker):
    """Says a word at a time until it is let go, and tells whether it was stopped."""

    def __init__(self) -> None:
        self.begun, self.stopped, self.go = threading.Event(), threading.Event(), threading.Event()

    async def stream(self, call: ChatCall) -> AsyncIterator[AIMessageChunk]:
        import asyncio

        try:
            self.begun.set()
            while not self.go.is_set():
                yield AIMessageChunk(content="word ")
                await asyncio.sleep(0.01)
        finally:
            self.stopped.set()


def slow_model() -> tuple[Slow, ServedModel]:
    slow = Slow()
    return slow, ServedModel("slow", "chain", {"chat": lambda: slow})


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_stops_its_answer(serve, stream: bool) -> None:
    slow, model = slow_model()
    server = serve(model)
    body = json.dumps({**HELLO, "model": "slow", "stream": stream}).encode()
    host, _, port = server.address.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(post(body))
    assert slow.begun.wait(10)
    assert not slow.stopped.wait(0.1)
    connection.close()
    assert slow.stopped.wait(10)
    assert server.http.get("/health").json()["running"] == 0


def test_beyond_the_queue_requests_are_told_when_to_come_again(serve) -> None:
    slow, model = slow_model()
    limits = ServerLimits(running=1, waiting=1)
    server = serve(model, served_model("fake:", "echo"), settings=ServerSettings(port=0, limits=limits))
    answers: list[int] = []

    def ask() -> None:
        answers.append(server.post(CHAT, {**HELLO, "model": "slow"}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread, wanted in zip(threads, ((1, 0), (1, 1)), strict=True):
        thread.start()
        deadline = time.monotonic() + 10
        while (told := server.http.get("/health").json()) and (told["running"], told["waiting"]) != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    refused = server.post(CHAT, HELLO)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1
    slow.go.set()
    for thread in threads:
        thread.join(10)
    assert answers == [200, 200]


def test_an_answer_that_takes_too_long_is_a_504(serve) -> None:
    slow, model = slow_model()
    server = serve(model, settings=ServerSettings(port=0, limits=ServerLimits(seconds=0.3)))
    assert server.post(CHAT, {**HELLO, "model": "slow"}).status_code == 504
    assert slow.stopped.wait(10)
    streamed = server.post(CHAT, {**HELLO, "model": "slow", "stream": True})
    assert '"code":"timeout"' in streamed.text.split("\n\n")[-2]


def test_what_nobody_foresaw_is_a_500_that_tells_nothing_of_the_inside(serve, caplog) -> None:
    class Broken(Speaker):
        async def stream(self, call: ChatCall) -> AsyncIterator[AIMessageChunk]:
            raise RuntimeError("the secret of the house")
            yield

    server = serve(ServedModel("broken", "chain", {"chat": Broken}))
    for stream in (False, True):
        answer = server.post(CHAT, {**HELLO, "model": "broken", "stream": stream})
        assert answer.status_code == 500
        assert "secret" not in answer.text
    assert "the secret of the house" in caplog.text
