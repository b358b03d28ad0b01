"""Messages of one model in a form that another takes, with all that the other has a place for.

A service gives blocks that only it can read again: encrypted or signed thoughts, ids under which it stored an item,
calls of built-in tools. They stay in the conversation and go back to the model that wrote them. Other models get text,
tool calls, results and media.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage

MAKER = "chainkit_maker"
"""In a message's `response_metadata`: who wrote it, so that the same model gets it back as it was."""

Reads = Literal["blocks", "text"]
"""What a model takes: content blocks, or text alone."""

_MEDIA = {"image": "image", "audio": "audio", "video": "video", "file": "file"}
_DIGITS = 9  # the only form of an id that every service takes: nine letters and digits


def marked(message: AIMessage, maker: str) -> AIMessage:
    """The message with its maker written on it."""
    return message.model_copy(update={"response_metadata": {**message.response_metadata, MAKER: maker}})


def carried(messages: Sequence[BaseMessage], maker: str, reads: Reads = "blocks") -> list[BaseMessage]:
    """The messages as they are sent to a model.

    What the model itself wrote goes back unchanged. What others wrote is put into langchain-core's standard blocks. The
    given messages are not changed.

    Args:
        messages: The conversation, in its order.
        maker: Who will read it; compared with the mark of each answer.
        reads: "text" names images and files in place of showing them.
    """
    ids: dict[str, str] = {}
    return [_for(message, maker, reads, ids) for message in messages]


def unshown(messages: Iterable[BaseMessage]) -> int:
    """How many images, recordings and files a model that reads text alone is not shown."""
    return sum(block.get("type") in _MEDIA for message in messages for block in _blocks(message))


def _for(message: BaseMessage, maker: str, reads: Reads, ids: dict[str, str]) -> BaseMessage:
    if isinstance(message, AIMessage):
        if message.response_metadata.get(MAKER) == maker:
            return message
        return _answer(message, reads, ids)
    content = _content(message, reads)
    if isinstance(message, ToolMessage):
        return message.model_copy(
            update={"content": content, "tool_call_id": ids.get(message.tool_call_id, message.tool_call_id)}
        )
    return message.model_copy(update={"content": content})


def _answer(message: AIMessage, reads: Reads, ids: dict[str, str]) -> AIMessage:
    calls = [*map(_call, message.tool_calls), *(_call(call, broken=True) for call in message.invalid_tool_calls)]
    for call in calls:
        ids[call["id"] or ""] = call["id"] = _safe(call["id"] or "")
    content = _content(message, reads)
    if refusal := message.additional_kwargs.get("refusal"):
        content = f"{content}{refusal}" if isinstance(content, str) else [*content, {"type": "text", "text": refusal}]
    thoughts = "".join(_thoughts(message))
    kept = {"reasoning_content": thoughts} if thoughts else {}
    return AIMessage(content=content, tool_calls=calls, name=message.name, additional_kwargs=kept)


def _call(call: Any, *, broken: bool = False) -> ToolCall:
    """A call; one whose arguments are not a JSON object has their text as its only argument."""
    args: Any = {"unreadable_arguments": call["args"] or ""} if broken else call["args"]
    return ToolCall(type="tool_call", name=call["name"] or "unknown", args=args, id=call["id"])


def _safe(id_: str) -> str:
    return hashlib.sha256(id_.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def _content(message: BaseMessage, reads: Reads) -> Any:
    """Text where there is nothing else, blocks otherwise."""
    if isinstance(message.content, str):
        return message.content
    spoken = isinstance(message, AIMessage)
    kept = [one for block in _blocks(message) for one in _kept(block, reads, spoken=spoken)]
    if all(one["type"] == "text" for one in kept) and (len(kept) < 2 or reads == "text" or spoken):
        return "".join(one["text"] for one in kept)
    return kept


def _blocks(message: BaseMessage) -> list[Any]:
    return [] if isinstance(message.content, str) else list(message.content_blocks)


def _kept(block: Any, reads: Reads, *, spoken: bool) -> Iterator[dict[str, Any]]:
    """A block as every service takes it; none if it is stored elsewhere on the message or specific to the provider."""
    match block.get("type"):
        case "text" | "text-plain":
            if block.get("text"):
                yield {"type": "text", "text": block["text"]}
        case "refusal":
            yield {"type": "text", "text": block["refusal"]}
        case "server_tool_result":
            if block.get("output"):
                yield {"type": "text", "text": json.dumps(block["output"], ensure_ascii=False, default=str)}
        case kind if kind in _MEDIA:
            yield {"type": "text", "text": _name_of(block)} if reads == "text" else _medium(block)
        case "non_standard" if block["value"].get("type") == "refusal":  # as langchain-core 1.7 wraps it
            yield {"type": "text", "text": block["value"]["refusal"]}
        case "non_standard" if not spoken:  # the service that cannot take it says so
            yield block["value"]
        case _:
            return


def _medium(block: Any) -> dict[str, Any]:
    """An image, a recording or a file, with its extras beside it and without langchain-core's own id."""
    extras = block.get("extras") or {}
    return {name: value for name, value in block.items() if name not in ("id", "extras", "index")} | extras


def _name_of(block: Any) -> str:
    extras = block.get("extras") or {}
    name = (
        extras.get("filename")
        or extras.get("name")
        or block.get("filename")
        or block.get("url")
        or block.get("mime_type")
    )
    return f"[{_MEDIA[block['type']]}: {name or 'not shown'}]"


def _thoughts(message: AIMessage) -> Iterator[str]:
    if isinstance(reasoning := message.additional_kwargs.get("reasoning_content"), str):
        yield reasoning
        return
    for block in _blocks(message):
        if block.get("type") == "reasoning":
            yield str(block.get("reasoning") or "")
