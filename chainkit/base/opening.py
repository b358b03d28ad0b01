"""Models that a string names, for the parts of chainkit that otherwise know model objects only.

Only the top package, the command line and the server know which string is which model; the top package says it here.
Non-strings are returned unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Opener = Callable[[str, str], Any]
"""Gives what a function of the registry makes of a spec: `opener("embeddings", "minilm")`."""

_openers: list[Opener] = []


def provide(opener: Opener) -> None:
    """Say how strings become models from now on."""
    _openers[:] = [opener]


def answering(model: T | str) -> T:
    """What answers: a chat model where the provider has one, else a model that continues text.

    Raises:
        SpecError: The string cannot be understood.
        MissingLibrary: The backend's library is not installed.
        MissingKey: The provider needs an API key and none was found.
    """
    return _opened("answering", model)


def continuing(model: T | str) -> T:
    """The completion model where there is one, otherwise the chat model; raises as `answering`."""
    return _opened("continuing", model)


def chat_model(model: T | str) -> T:
    """What answers messages; raises as `answering`."""
    return _opened("chat_model", model)


def embeddings(model: T | str) -> T:
    """What turns texts into vectors; raises as `answering`."""
    return _opened("embeddings", model)


def reranker(model: T | str) -> T:
    """What puts passages in order; raises as `answering`."""
    return _opened("reranker", model)


def _opened(kind: str, model: Any) -> Any:
    return _openers[0](kind, model) if isinstance(model, str) else model
