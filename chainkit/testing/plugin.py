"""What pytest finds where chainkit is installed: the fixture `openai_server`. Nothing else is imported at its start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chainkit.testing.server.openai import OpenAIServer


@pytest.fixture
def openai_server() -> Iterator[OpenAIServer]:
    """A service on loopback that speaks OpenAI's API and fails on request; see `OpenAIServer`."""
    from chainkit.testing.server.openai import running

    with running() as server:
        yield server
