"""Items of the Responses API: input items to messages, and an answer to output items."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from chainkit.server.api.parts import calls_of, logprobs_of, new_id, text_of
from chainkit.server.faults import RequestFault
from chainkit.server.fields import Json, ResponseItem, ResponsesBody, ResponseTool, TextForm
from chainkit.server.speakers.messages import content_of


def messages_of_items(items: Sequence[ResponseItem]) -> list[BaseMessage]:
    """The messages of items; calls that follow a text of the assistant, or each other, are one message with it."""
    found: list[BaseMessage] = []
    for place, item in enumerate(items):
        match item.type:
            case "message":
                found.append(_message(item))
            case "function_call":
                _add_call(found, item, place)
            case "function_call_output":
                output: Any = content_of(item.output)
                found.append(ToolMessage(output, tool_call_id=item.call_id or ""))
            case "reasoning":
                pass  # thoughts of a model are its own affair; none here reads them again
    return found


def _message(item: ResponseItem) -> BaseMessage:
    content: Any = _renamed(content_of(item.content))
    match item.role:
        case "assistant":
            return AIMessage(content)
        case "user":
            return HumanMessage(content)
        case _:
            return SystemMessage(content)


def _renamed(content: str | list[Json]) -> Any:
    """Parts by the names that the chat API has for them."""
    if isinstance(content, str):
        return content
    kinds = {"input_text": "text", "output_text": "text", "input_image": "image_url", "input_file": "file"}
    parts = [{**part, "type": kinds.get(part["type"], part["type"])} for part in content]
    for part in parts:
        if part["type"] == "image_url" and isinstance(part.get("image_url"), str):
            part["image_url"] = {"url": part["image_url"], "detail": part.pop("detail", None) or "auto"}
    return parts


def _add_call(found: list[BaseMessage], item: ResponseItem, place: int) -> None:
    try:
        arguments = json.loads(item.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        where = f"input.{place}.arguments"
        raise RequestFault(400, f"'{where}' is not a JSON object", code="invalid_value", param=where)
    call: Any = {"name": item.name, "args": arguments, "id": item.call_id, "type": "tool_call"}
    last = found[-1] if found else None
    if isinstance(last, AIMessage):
        found[-1] = AIMessage(last.content, tool_calls=[*last.tool_calls, call])
    else:
        found.append(AIMessage("", tool_calls=[call]))


def tool_of(tool: ResponseTool) -> Json:
    """A tool in the form of the chat API."""
    return {"type": "function", "function": tool.model_dump(exclude_none=True, exclude={"type"})}


def form_of(body: ResponsesBody) -> Json | None:
    """The wanted form, as the chat API writes it."""
    form = body.text.format if body.text else None
    if form is None or isinstance(form, TextForm):
        return None
    dumped = form.model_dump(exclude_none=True, by_alias=True)
    if dumped["type"] == "json_object":
        return dumped
    if "schema" not in dumped:
        where = "text.format.schema"
        raise RequestFault(400, f"'{where}' is missing", code="missing_required_parameter", param=where)
    return {"type": "json_schema", "json_schema": {name: dumped[name] for name in dumped if name != "type"}}


def items_of(answer: AIMessage, *, with_logprobs: bool) -> Iterator[Json]:
    """The items of an answer: its text, then its calls."""
    calls = calls_of(answer)
    text = text_of(answer)
    if text or not calls:
        yield message_item(
            new_id("msg_"),
            text,
            cited(answer.additional_kwargs.get("annotations", ())),
            (logprobs_of(answer.response_metadata) or {}).get("content", []) if with_logprobs else [],
        )
    for call in calls:
        yield call_item(new_id("fc_"), call["id"], call["function"]["name"], call["function"]["arguments"])


def message_item(number: str, text: str, annotations: list[Json], logprobs: list[Json]) -> Json:
    """A text that is whole."""
    part = {"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs}
    return {"id": number, "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def call_item(number: str, call_id: str, name: str, arguments: str) -> Json:
    """A call that is whole."""
    return {
        "id": number,
        "type": "function_call",
        "status": "completed",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def cited(annotations: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Citations as this API has them: of files, with the place in the text."""
    return [
        {
            **one["url_citation"],
            "type": "file_citation",
            "file_id": one["url_citation"]["path"],
            "filename": PurePath(one["url_citation"]["path"]).name,
            "index": one["url_citation"]["end_index"],
        }
        if "path" in one.get("url_citation", {})
        else dict(one)
        for one in annotations
    ]
