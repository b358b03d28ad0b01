"""Find the objects of a served name that hold weights in memory, and unload them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainkit.decisions.model import DecisionModel
from chainkit.server.speakers.call import Speaker


def holders(opened: Any) -> list[Any]:
    """The models in an opened object that can be unloaded: it itself, or those that it answers with."""
    if isinstance(opened, Speaker):
        models: Sequence[Any] = opened.models
    elif isinstance(opened, DecisionModel):
        models = [opened.answering]
    else:
        models = [opened]
    return [model for model in models if hasattr(model, "unload")]


def load(opened: Any) -> None:
    """Load now what the first request would load, so that a lack of memory is known before it.

    Raises:
        NotEnoughMemory: There is no room for it now.
    """
    for model in holders(opened):
        if hasattr(model, "load"):
            model.load()


def unload(opened: Any) -> None:
    """Give back the memory of its weights; they are loaded again when they are used."""
    for model in holders(opened):
        model.unload()
