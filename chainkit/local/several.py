"""Batches whose calls have settings of their own: a soft prompt for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig


def differ(settings: Mapping[str, Any]) -> bool:
    """Whether the settings of a batch hold something for each of its calls."""
    return isinstance(settings.get("soft_prompt"), list | tuple)


def settings_of_each(settings: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The settings of each of `count` calls.

    Raises:
        ValueError: There are soft prompts for another number of calls.
    """
    if not differ(settings):
        return [dict(settings)] * count
    given = settings["soft_prompt"]
    if len(given) != count:
        raise ValueError(f"soft_prompt names {len(given)} for {count} prompts; give one, or one for each")
    return [{**settings, "soft_prompt": one} for one in given]


class PairedModel(Runnable[tuple[Any, dict[str, Any]], Any]):
    """A model that is called with pairs of an input and its settings."""

    def __init__(self, model: Runnable[Any, Any]) -> None:
        self.model = model

    def invoke(self, input: tuple[Any, dict[str, Any]], config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """The answer to one input."""
        return self.model.invoke(input[0], config, **input[1])

    async def ainvoke(
        self,
        input: tuple[Any, dict[str, Any]],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `invoke`, without blocking the event loop."""
        return await self.model.ainvoke(input[0], config, **input[1])


def pairs(inputs: Sequence[Any], settings: Mapping[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    """What `PairedModel` is called with."""
    return list(zip(inputs, settings_of_each(settings, len(inputs)), strict=True))
