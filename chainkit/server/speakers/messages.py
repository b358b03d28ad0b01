"""Messages as clients send them, and as langchain-core has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage

from chainkit.server.faults import RequestFault
from chainkit.server.fields import ChatMessage, ContentPart


def messages_of(given: Sequence[ChatMessage]) -> list[BaseMessage]:
    """The messages of a chat.

    Raises:
        RequestFault: The arguments of a call are not a JSON object.
    """
    return [_message(message, place) for place, message in enumerate(given)]


def _message(message: ChatMessage, place: int) -> BaseMessage:
    content: Any = content_of(message.content)
    named = {"name": message.name} if message.name else {}
    match message.role:
        case "system" | "developer":
            return SystemMessage(content, **named)
        case "user":
            return HumanMessage(content, **named)
        case "tool" | "function":
            return ToolMessage(content, tool_call_id=message.tool_call_id or message.name or "", **named)
        case "assistant":
            calls = [
                ToolCall(name=call.function.name, args=_arguments(call.function.arguments, place), id=call.id)
                for call in message.tool_calls or ()
            ]
            return AIMessage(content or message.refusal or "", tool_calls=calls, **named)


def content_of(content: str | Sequence[ContentPart] | None) -> str | list[dict[str, Any]]:
    """A content: text where all parts are text."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = [part.model_dump(exclude_none=True) for part in content]
    if all(part["type"] in ("text", "input_text", "output_text", "refusal") for part in parts):
        return "".join(_texts(parts))
    return parts


def _texts(parts: Iterable[dict[str, Any]]) -> Iterable[str]:
    for part in parts:
        yield part.get("text") or part.get("refusal") or ""


def _arguments(text: str, place: int) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        where = f"messages.{place}.tool_calls"
        raise RequestFault(
            400, f"'{where}': the arguments of a call are a JSON object", code="invalid_value", param=where
        )
    return found
