"""A server on loopback that serves what a test puts into it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx2
import pytest

from chainkit.server import Catalogue, ServedModel, ServerSettings, create_app
from chainkit.server.running import address_of, bound, server_of


class RunningServer:
    """An address, and a client for it."""

    def __init__(self, address: str, app: Any) -> None:
        self.address, self.app = address, app
        self.http = httpx2.Client(base_url=address, timeout=60)

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    def post(self, path: str, body: Any, **options: Any) -> Any:
        return self.http.post(path, json=body, **options)


@contextmanager
def running(*served: ServedModel, settings: ServerSettings | None = None, **options: Any) -> Iterator[RunningServer]:
    settings = settings or ServerSettings(port=0)
    catalogue = Catalogue()
    for one in served:
        catalogue.add(one)
    app = create_app(catalogue, settings, **options)
    ready = threading.Event()
    with bound(settings) as listener:
        server = server_of(app, settings, on_ready=ready.set)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        assert ready.wait(30)
        running_server = RunningServer(address_of(listener), app)
        try:
            yield running_server
        finally:
            running_server.http.close()
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., RunningServer]]:
    with ExitStack() as stack:
        yield lambda *served, **options: stack.enter_context(running(*served, **options))
