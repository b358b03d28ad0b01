"""Nothing stays open: whoever lets go of a model, and whenever, its connections are closed without a warning."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trustme

from chainkit.backends.openai import OpenAIChat, client, closing
from chainkit.base.errors import StreamBroken
from chainkit.testing.server import faults
from chainkit.testing.server.openai import OpenAIServer, running


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What Python says about things that were left open, so far."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.ERROR, "asyncio"):
        warnings.simplefilter("always")

        def told() -> list[str]:
            for _ in range(2):
                gc.collect()
            logged = [text for text in caplog.messages if "Keeper" in text or "destroyed" in text]
            return [str(warning.message) for warning in caught] + logged

        yield told


def chat(server: OpenAIServer, **options: Any) -> OpenAIChat:
    return OpenAIChat(model="gpt-4o-mini", base_url=server.base_url, api_key=server.key, max_retries=0, **options)


def test_a_model_that_the_collector_finds_closes_its_connections_whatever_it_finds_first(
    server: OpenAIServer, warned: Callable[[], list[str]]
) -> None:
    for _ in range(5):
        made = chat(server)
        made.invoke("Hello")
        pool: Any = next(iter(made._clients._for_threads.values())).http._transport
        line = pool._pool.connections[0]._connection._network_stream._stream._sock
        cycle: list[Any] = [line, made]
        cycle.append(cycle)
        gc.collect()  # what survives is put in order of what was reached first: the socket before its client
        del made, pool, line, cycle
    assert warned() == []


async def _idle(made: OpenAIChat, server: OpenAIServer) -> None:
    await _several(made)


async def _left(made: OpenAIChat, server: OpenAIServer) -> None:
    await _several(made)
    server.fail(faults.stall(3))
    async for _ in made.astream("count to 9"):
        break


async def _still_waiting(made: OpenAIChat, server: OpenAIServer) -> None:
    await _several(made)
    server.fail(faults.slow(60), times=3)
    tasks = [asyncio.ensure_future(made.ainvoke("Hello")) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in tasks)


async def _cancelled(made: OpenAIChat, server: OpenAIServer) -> None:
    await _several(made)
    server.fail(faults.stall(3))
    this = asyncio.current_task()
    assert this is not None
    with contextlib.suppress(asyncio.CancelledError):
        async for _ in made.astream("count to 9"):
            this.cancel()


async def _broken(made: OpenAIChat, server: OpenAIServer) -> None:
    await _several(made)
    server.fail(faults.cut(4))
    async for _ in made.astream("count to 9"):
        pass


async def _several(made: OpenAIChat) -> None:
    """Over as many connections."""
    await asyncio.gather(*(made.ainvoke("Hello") for _ in range(4)))


WAYS = [_idle, _left, _still_waiting, _cancelled, _broken]


@pytest.mark.parametrize("way", WAYS)
def test_an_event_loop_that_ends_closes_all_connections_of_its_models(
    server: OpenAIServer, warned: Callable[[], list[str]], way: Callable[..., Awaitable[None]]
) -> None:
    model = chat(server)

    async def ask(*, kept: bool) -> None:
        await way(model if kept else chat(server), server)  # the other is gone with its loop

    for kept in (True, False, True):
        with contextlib.suppress(StreamBroken):
            asyncio.run(ask(kept=kept))
        server._faults.clear()
    assert warned() == []
    assert not closing.OPEN


def test_a_call_that_is_cancelled_at_any_point_of_a_tls_connection_leaves_nothing_open(
    warned: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tls: tuple[ssl.SSLContext, str]
) -> None:
    async def leave(made: OpenAIChat, steps: int) -> None:
        task = asyncio.ensure_future(made.ainvoke("Hello"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    monkeypatch.setenv("SSL_CERT_FILE", tls[1])
    client._tls.cache_clear()
    try:
        with running(tls=tls[0]) as server:
            for steps in range(60):
                asyncio.run(leave(chat(server), steps))
    finally:
        client._tls.cache_clear()
    assert warned() == []


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """What a server needs, and the file of who signed it."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return context, str(path)


@pytest.mark.parametrize("secured", [True, False])
def test_the_scripted_server_leaves_nothing_open_that_came_while_it_stopped(
    warned: Callable[[], list[str]], tls: tuple[ssl.SSLContext, str], secured: bool
) -> None:
    for clients in [1, 2, 5] * 5:
        with running(tls=tls[0] if secured else None) as server:
            open_ = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(clients)]
        for one in open_:
            one.close()
    assert warned() == []
