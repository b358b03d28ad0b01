from __future__ import annotations

from collections.abc import Iterator

import pytest

from chainkit.testing.server.openai import OpenAIServer, running


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running() as service:
        yield service
