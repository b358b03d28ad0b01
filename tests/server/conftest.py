"""A server on loopback that serves what a test puts into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx2
import pytest

from chainkit.server import Catalogue, ServedModel, ServerSettings, create_app, in_background


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
    with in_background(app, settings) as address:
        server = RunningServer(address, app)
        with server.http:
            yield server


@pytest.fixture(scope="module")
def serve_long() -> Iterator[Callable[..., RunningServer]]:
    with ExitStack() as stack:
        yield lambda *served, **options: stack.enter_context(running(*served, **options))


@pytest.fixture
def serve() -> Iterator[Callable[..., RunningServer]]:
    with ExitStack() as stack:
        yield lambda *served, **options: stack.enter_context(running(*served, **options))
