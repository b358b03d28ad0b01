"""Building requests of the Responses API: langchain-core's messages in, dicts out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, FunctionMessage, ToolMessage

from chainkit.backends.openai.content import DROPPED, part
from chainkit.backends.openai.profiles import thinks
from chainkit.backends.openai.request import OURS, refuse_unknown
from chainkit.backends.openai.services import Service
from chainkit.base.errors import Unsupported

Json = dict[str, Any]

RESPONSES_ONLY = (
    "reasoning_summary", "include", "truncation", "max_tool_calls", "previous_response_id", "conversation",
)  # fmt: skip
"""Settings that only the Responses API has."""

SHARED = (
    "temperature", "top_p", "max_tokens", "stop", "logprobs", "top_logprobs", "user", "reasoning_effort", "verbosity",
    "service_tier", "store", "parallel_tool_calls", "prompt_cache_key", "safety_identifier",
)  # fmt: skip
"""Settings of a chat model that both of OpenAI's ways to speak have."""

CALL_OPTIONS = frozenset(
    {*SHARED, *RESPONSES_ONLY, "model", "tools", "tool_choice", "response_format", "metadata", "extra_body"}
)
"""What may be given for one call."""

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
MESSAGE_ROLES = {"human": "user", "HumanMessageChunk": "user", "system": "system", "SystemMessageChunk": "system"}


def responses_body(
    messages: Sequence[BaseMessage], settings: Mapping[str, Any], options: Mapping[str, Any], habits: Service
) -> tuple[Json, list[str]]:
    """The body of a request, and the texts at which the answer is to be cut, since the API does not know `stop`.

    Raises:
        Unsupported: An option or a content block is unknown, or the service or its Responses API lacks it.
    """
    refuse_unknown(options, CALL_OPTIONS)
    chosen = {**settings, **{name: value for name, value in options.items() if name not in OURS}}
    extra = chosen.pop("extra_body", None) or {}
    body = {name: value for name, value in chosen.items() if value is not None and value != []}
    if foreign := sorted(name for name in body if name not in CALL_OPTIONS):
        raise Unsupported(f"the Responses API has no {', '.join(foreign)}; leave it out, or use api='chat'")
    if lacking := sorted(habits.lacks & body.keys() - {"stop"}):
        raise Unsupported(f"{habits.name} has no {', '.join(lacking)}; leave it out")
    stop = body.pop("stop", [])
    _rename(body)
    if include := _included(body):
        body["include"] = include
    stateless = body.get("store") is False
    unsent = _after(messages, body.get("previous_response_id"))
    body["input"] = [item for message in unsent for item in _items(message, stateless=stateless)]
    return {**body, **extra}, [stop] if isinstance(stop, str) else stop


def _rename(body: Json) -> None:
    """Put the settings of a chat request where this API has them."""
    if "max_tokens" in body:
        body["max_output_tokens"] = body.pop("max_tokens")
    effort, summary = body.pop("reasoning_effort", None), body.pop("reasoning_summary", None)
    if reasoning := {name: value for name, value in (("effort", effort), ("summary", summary)) if value}:
        body["reasoning"] = reasoning
    text: Json = {}
    if form := body.pop("response_format", None):
        text["format"] = {"type": form["type"], **form.get("json_schema", {})}
    if verbosity := body.pop("verbosity", None):
        text["verbosity"] = verbosity
    if text:
        body["text"] = text
    if "tools" in body:
        body["tools"] = [_tool(tool) for tool in body["tools"]]
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping) and "function" in choice:
        body["tool_choice"] = {"type": "function", "name": choice["function"]["name"]}


def _tool(tool: Json) -> Json:
    """A tool as this API describes it; one that is not strict has to say so, for here strict is the default."""
    if "function" not in tool:
        return tool
    return {"type": "function", "strict": False, **tool["function"]}


def _included(body: Json) -> list[str]:
    """What else the answer shall hold; thoughts that are not stored have to be carried along, encrypted."""
    wanted = list(body.get("include", []))
    if body.pop("logprobs", None) and LOGPROBS not in wanted:
        wanted.append(LOGPROBS)
    carried = body.get("store") is False and ("reasoning" in body or thinks(body.get("model", "")))
    if carried and ENCRYPTED not in wanted:
        wanted.append(ENCRYPTED)
    return wanted


def _after(messages: Sequence[BaseMessage], response_id: str | None) -> Sequence[BaseMessage]:
    """The messages that the service does not have yet, if it continues an earlier response."""
    if response_id is None:
        return messages
    places = [at for at, message in enumerate(messages) if message.response_metadata.get("id") == response_id]
    return messages[places[-1] + 1 :] if places else messages


def _items(message: BaseMessage, *, stateless: bool) -> Iterator[Json]:
    """The items of one message. The API has no place for a message's name, so it is left out."""
    if isinstance(message, AIMessage):
        yield from assistant_items(message, stateless=stateless)
    elif isinstance(message, ToolMessage):
        output = message.content if isinstance(message.content, str) else input_parts(message.content) or ""
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}
    else:
        yield {"role": _role(message), "content": _content(message)}


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    if message.type not in MESSAGE_ROLES or isinstance(message, FunctionMessage):
        raise Unsupported(f"the Responses API has no place for a message of type '{message.type}'")
    return message.additional_kwargs.get("__openai_role__", MESSAGE_ROLES[message.type])


def _content(message: BaseMessage) -> str | list[Json]:
    return message.content if isinstance(message.content, str) else input_parts(message.content)


def input_parts(content: Sequence[str | Mapping[str, Any]]) -> list[Json]:
    """The parts of a message to the model, or of a tool's result.

    Raises:
        Unsupported: A block cannot be sent in this form.
    """
    return [_input_part(block) for block in content]


def _input_part(block: str | Mapping[str, Any]) -> Json:
    if isinstance(block, Mapping):
        kind = block.get("type")
        if kind in ("input_text", "input_image", "input_file", "input_audio"):
            return dict(block)
        if kind == "image" and (id_ := block.get("file_id")):
            return {"type": "input_image", "file_id": id_, "detail": "auto"}
        if kind == "file" and (url := block.get("url")):
            return {"type": "input_file", "file_url": url}
    made = part(block)
    match made["type"]:
        case "text":
            return {"type": "input_text", "text": made["text"]}
        case "image_url":
            image = made["image_url"]
            return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail", "auto")}
        case "file":
            return {"type": "input_file", **made["file"]}
    return made


def assistant_items(message: AIMessage, *, stateless: bool) -> Iterator[Json]:
    """What the model said before, in its order: thoughts, texts and calls, each an item.

    Thoughts go back only to the service that can read them: with the id under which it keeps them, or encrypted if it
    keeps nothing (`stateless`); then no id is sent, since it would not be found.
    """
    blocks = [message.content] if isinstance(message.content, str) else message.content
    spoken: Json | None = None
    call_ids: set[str] = set()
    for block in _joined(blocks):
        item = _item(block, message, call_ids, stateless=stateless)
        if item is None:
            continue
        if item["type"] != "message":
            spoken = None
        elif spoken is not None and spoken.get("id") == item.get("id"):
            spoken["content"] += item["content"]
            continue
        else:
            spoken = item
        yield item
    if refusal := message.additional_kwargs.get("refusal"):
        yield _said({"type": "refusal", "refusal": refusal}, {})
    for call in (*message.tool_calls, *message.invalid_tool_calls):
        if call["id"] not in call_ids:
            yield _call(call["id"], call["name"], call["args"])


def _item(block: Json, message: AIMessage, call_ids: set[str], *, stateless: bool) -> Json | None:
    kind = block.get("type")
    item: Json | None = None
    if kind in ("text", "output_text"):
        annotations = [note for note in block.get("annotations") or () if note.get("type") != "citation"]
        if block.get("text"):
            item = _said({"type": "output_text", "text": block["text"], "annotations": annotations}, block)
    elif kind == "refusal":
        item = _said({"type": "refusal", "refusal": block["refusal"]}, block)
    elif kind == "reasoning":
        item = _thought(block)
        if item and stateless and not item.get("encrypted_content"):
            item = None
    elif kind in ("function_call", "tool_call"):
        item = _called(block, message)
        call_ids.add(item["call_id"])
    elif kind not in DROPPED and isinstance(kind, str):
        item = _native(block)
    if item and stateless:
        item.pop("id", None) if item["type"] != "reasoning" else None
    return item


def _joined(blocks: Sequence[str | Mapping[str, Any]]) -> list[Json]:
    """The blocks as dicts; thoughts that langchain-core took apart, one block for each summary, are one again."""
    joined: list[Json] = []
    for block in blocks:
        made: Json = {"type": "text", "text": block} if isinstance(block, str) else dict(block)
        if made.get("type") == "non_standard":
            made = dict(made["value"])
        if made.get("type") == "reasoning" and "summary" not in made:
            summary = [{"type": "summary_text", "text": made["reasoning"]}] if made.get("reasoning") else []
            before = joined[-1] if joined else {}
            if before.get("type") == "reasoning" and before.get("id") == made.get("id"):
                before["summary"] += summary
                continue
            made = {**(made.get("extras") or {}), **made, "summary": summary}
        joined.append(made)
    return joined


def _said(content: Json, block: Json) -> Json:
    item: Json = {"type": "message", "role": "assistant", "content": [content]}
    if isinstance(id_ := block.get("id"), str) and not id_.startswith("lc_"):  # langchain-core's own ids
        item["id"] = id_
    if phase := block.get("phase"):
        item["phase"] = phase
    return item


def _thought(block: Json) -> Json | None:
    """A thought as an item; without an id it is that of another kind of service, and stays here."""
    if not block.get("id"):
        return None
    summary = [{"type": "summary_text", "text": each["text"]} for each in block["summary"]]
    item: Json = {"type": "reasoning", "id": block["id"], "summary": summary}
    if text := block.get("content"):
        item["content"] = [{"type": each["type"], "text": each["text"]} for each in text]
    if encrypted := block.get("encrypted_content"):
        item["encrypted_content"] = encrypted
    return item


def _called(block: Json, message: AIMessage) -> Json:
    """A call, with the arguments that the message now has, should they have been changed."""
    id_ = block.get("call_id") or block.get("id")
    call = next((call for call in message.tool_calls if call["id"] == id_), None)
    arguments = call["args"] if call else block.get("arguments", block.get("args"))
    item = _call(id_, call["name"] if call else block.get("name"), arguments)
    kept = block.get("id") if block["type"] == "function_call" else (block.get("extras") or {}).get("item_id")
    return {**item, "id": kept} if kept else item


def _call(id_: str | None, name: str | None, arguments: Any) -> Json:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return {"type": "function_call", "call_id": id_ or "", "name": name or "", "arguments": text}


def _native(block: Json) -> Json:
    """An item of the API that langchain-core has no block for, as it came: the use of a tool of the service."""
    return {name: value for name, value in block.items() if name != "index"}
