"""Conversations as text: to read, to carry to another machine, or for programs that take OpenAI's form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import SystemMessage, convert_to_openai_messages, message_to_dict, messages_from_dict

from chainkit.base.errors import ConversationFileError
from chainkit.conversations.file import ConversationFile, SavedConversation, SavedMessage

FORMATS = ("json", "markdown", "openai")
"""json holds everything and can be read again; openai is a line {"messages": [...]}, as for fine-tuning."""

_NAMES = {"human": "Question", "ai": "Answer", "tool": "Result of a tool", "system": "System"}


def exported(one: SavedConversation, messages: Sequence[SavedMessage], form: str) -> str:
    """A conversation in one of `FORMATS`, without the last line break."""
    match form:
        case "json":
            return json.dumps(_whole(one, messages), ensure_ascii=False, default=str)
        case "openai":
            said = [one_.message for one_ in messages]
            start = [SystemMessage(one.system)] if one.system else []
            return json.dumps({"messages": convert_to_openai_messages([*start, *said])}, ensure_ascii=False)
        case _:
            return "\n\n".join(_markdown(one, messages))


def take_in(file: ConversationFile, lines: Iterator[tuple[int, str]]) -> int:
    """Add conversations that were exported as json, each as a new one; returns how many.

    Raises:
        ConversationFileError: A line is something else; those before it are added.
    """
    count = 0
    for number, line in lines:
        try:
            whole: Any = json.loads(line)
            said = messages_from_dict([each["message"] for each in whole["messages"]])
            models = [str(each["model"]) for each in whole["messages"]]
            title, system = str(whole["title"]), str(whole["system"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConversationFileError(
                file.path, f"line {number} is not an exported conversation ({error!r:.80})"
            ) from error
        id_ = file.begin(title, system)
        for message, model in zip(said, models, strict=True):
            file.add(id_, [message], model)
        count += 1
    return count


def _whole(one: SavedConversation, messages: Sequence[SavedMessage]) -> dict[str, Any]:
    said = [
        {"at": each.at.isoformat(), "model": each.model, "message": message_to_dict(each.message)} for each in messages
    ]
    head = {"id": one.id, "title": one.title, "system": one.system}
    return {**head, "started": one.started.isoformat(), "changed": one.changed.isoformat(), "messages": said}


def _markdown(one: SavedConversation, messages: Sequence[SavedMessage]) -> Iterator[str]:
    yield f"# {one.title}"
    yield f"{one.started.astimezone():%Y-%m-%d %H:%M}, conversation {one.id}"
    if one.system:
        yield f"**System:** {one.system}"
    for each in messages:
        name = _NAMES.get(each.message.type, each.message.type)
        by = f" ({each.model})" if each.message.type == "ai" else ""
        yield f"## {name}{by}\n\n{shown(each)}"


def shown(each: SavedMessage) -> str:
    """A message as text, with its tool calls and placeholders for non-text parts."""
    message: Any = each.message
    blocks = [] if isinstance(message.content, str) else message.content_blocks
    named = [f"[{block['type']}]" for block in blocks if block["type"] in ("image", "audio", "video", "file")]
    calls = [
        f"[calls {call['name']}: {json.dumps(call['args'], ensure_ascii=False)}]"
        for call in getattr(message, "tool_calls", [])
    ]
    return "\n".join(filter(None, [str(message.text), *named, *calls]))
