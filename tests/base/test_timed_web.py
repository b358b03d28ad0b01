"""Calls of urllib that end in time, and where a login goes."""

from __future__ import annotations

import time
import urllib.request

import pytest

from chainkit.base.errors import ConnectionFailed
from chainkit.base.timed_web import TimedWeb
from chainkit.hub.names import HubName
from chainkit.hub.repository import look_up
from chainkit.sizing import remote_gguf
from chainkit.testing.server.wire import HTTPAnswer, HTTPRequest, Server
from tests.backends.openai.raw import dripping, head, raw_server


def test_a_hub_that_drips_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainkit.hub.repository._LIMIT_SECONDS", 0.4)
    monkeypatch.setattr("chainkit.sizing.remote._LIMIT_SECONDS", 0.4)
    with raw_server(lambda: dripping(head() + b" " * 1000)) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        begin = time.monotonic()
        with pytest.raises(ConnectionFailed, match=r"it took longer than 0\.4 s"):
            look_up(HubName("org/model"))
        with pytest.raises(ConnectionFailed, match=r"it took longer than 0\.4 s"):
            remote_gguf([f"{address}/model.gguf"])
        assert time.monotonic() - begin < 5


def test_a_body_is_read_to_its_end_or_to_the_limit() -> None:
    with raw_server(lambda: [head(), b"x" * 300_000]) as address:
        for most, length in ((10, 10), (1_000_000, 300_000)):
            with TimedWeb(20) as web, web.opener().open(address) as reply:
                assert web.read(reply, most) == b"x" * length


@pytest.mark.parametrize(("elsewhere", "login"), [(False, "Bearer key"), (True, None)])
def test_a_login_goes_on_to_the_same_host_alone(elsewhere: bool, login: str | None, other_host: str) -> None:
    host = other_host if elsewhere else "127.0.0.1"

    def answer(request: HTTPRequest) -> HTTPAnswer:
        if request.path == "/first":
            return HTTPAnswer(307, {"location": f"http://{host}:{server.port}/second"})
        return HTTPAnswer(200, {}, (b"here",))

    server = Server(answer)
    server.start()
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/first")
        request.add_unredirected_header("Authorization", "Bearer key")
        with TimedWeb(20) as web, web.opener().open(request) as reply:
            assert web.read(reply, 100) == b"here"
    finally:
        server.stop()
    assert server.requests[-1].path == "/second"
    assert server.requests[-1].headers.get("authorization") == login
