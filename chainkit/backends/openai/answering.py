"""A stand-in for a service during a context: records calls, or replays their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from chainkit.backends.openai.client import Connection

Answering = Callable[[Connection, str, dict[str, Any]], dict[str, Any]]
"""The connection, the path and the body of a call, to the answer."""
ANSWERING: ContextVar[Answering | None] = ContextVar("chainkit_answering", default=None)


@contextmanager
def answered_by(answering: Answering) -> Iterator[None]:
    """Let something answer the calls of this context in place of their services."""
    token = ANSWERING.set(answering)
    try:
        yield
    finally:
        ANSWERING.reset(token)
