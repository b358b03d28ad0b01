from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.openai_server import OpenAIServer, serve


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serve() as running:
        yield running
