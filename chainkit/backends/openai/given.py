"""Warn once per service about requested features missing from a reply: many services ignore them silently."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatResult

from chainkit.backends.openai.client import Connection

_said: set[tuple[str, str]] = set()


class AskedNotGiven(UserWarning):
    """A service ignored a requested feature; the answer itself is usable."""


def say_what_is_missing(body: Mapping[str, Any], result: ChatResult, connection: Connection) -> None:
    """Warn of each thing that is missing, the first time that this address leaves it out."""
    for missing in _missing(body, result):
        place = (connection.access.base_url, missing.partition(":")[0])
        if place not in _said:
            _said.add(place)
            warnings.warn(AskedNotGiven(f"{connection.provider} at {place[0]} {missing}"), stacklevel=4)


def _missing(body: Mapping[str, Any], result: ChatResult) -> Iterator[str]:
    found = result.generations
    if (body.get("n") or 1) > len(found):
        yield f"ignores n: {len(found)} answers for n={body['n']}"
    if body.get("logprobs") and not any((one.generation_info or {}).get("logprobs") for one in found):
        yield "ignores logprobs: the answer has none"
    if _demands_call(body.get("tool_choice")) and not any(map(_calls, (one.message for one in found))):
        yield "ignores tool_choice: a call was demanded, and the model made none"


def _demands_call(choice: Any) -> bool:
    return isinstance(choice, Mapping) or choice in ("any", "required")


def _calls(message: Any) -> bool:
    """Whether there is a call, or a refusal, which is a separate error."""
    refused = message.additional_kwargs.get("refusal")
    return isinstance(message, AIMessage) and bool(message.tool_calls or message.invalid_tool_calls or refused)
