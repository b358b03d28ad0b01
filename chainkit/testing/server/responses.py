"""The Responses API of the service on loopback: items in, items or events out, as the API documents them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chainkit.testing.server import model
from chainkit.testing.server.checks import NAME, Refusal, closed
from chainkit.testing.server.model import Said

Json = dict[str, Any]

KNOWN = {
    "model", "input", "instructions", "include", "max_output_tokens", "max_tool_calls", "metadata",
    "parallel_tool_calls", "previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier",
    "service_tier", "store", "stream", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
    "truncation", "user",
}  # fmt: skip
PARTS = {
    "user": {"input_text", "input_image", "input_file", "input_audio"},
    "system": {"input_text"},
    "developer": {"input_text"},
    "assistant": {"output_text", "refusal"},
}
ENCRYPTED = "reasoning.encrypted_content"


class Responses:
    """Answers requests, and keeps the answers that may be continued."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Json]] = {}

    def answer(self, body: Json, number: str) -> Json:
        """The whole answer.

        Raises:
            Refusal: The API would not take this request.
        """
        before = self._before(body)
        given = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
        check(body, given, before, {str(item["id"]) for items in self._kept.values() for item in items if "id" in item})
        said = model.chat(_as_chat(body, [*before, *given]))
        output, finish = _output(said, body, number)
        answer = _response(body, output, finish, number, asked=_length([*before, *given]))
        if body.get("store", True):
            self._kept[answer["id"]] = [*before, *given, *output]
        return answer

    def _before(self, body: Json) -> list[Json]:
        name = body.get("previous_response_id")
        if name is None:
            return []
        if name not in self._kept:
            message = f"Previous response with id '{name}' not found."
            raise Refusal(400, message, "previous_response_not_found", "previous_response_id")
        return self._kept[name]


def check(body: Json, given: Sequence[Json], before: Sequence[Json], kept: set[str]) -> None:
    """Refuse what the API refuses."""
    for name in body:
        if name not in KNOWN:
            raise Refusal(400, f"Unknown parameter: '{name}'.", "unknown_parameter", name)
    limit = body.get("max_output_tokens")
    if limit is not None and (not isinstance(limit, int) or limit < 16):
        message = "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got "
        raise Refusal(400, f"{message}{limit} instead.", "integer_below_min_value", "max_output_tokens")
    for tool in body.get("tools") or []:
        _tool(tool)
    if ENCRYPTED in (body.get("include") or []) and not body["model"].startswith("reasoner"):
        raise Refusal(400, "Encrypted content is not supported with this model.", param="include")
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        if not NAME.fullmatch(form.get("name", "")) or set(form) - {"type", "name", "schema", "strict", "description"}:
            raise Refusal(400, "Missing or invalid parameter: 'text.format.name'.", param="text.format.name")
        if form.get("strict"):
            closed(form["schema"], f"response_format '{form['name']}'")
    if form.get("type") == "json_object" and "json" not in json.dumps(list(given)).lower():
        message = "Response input messages must contain the word 'json' in some form to use 'text.format' of type "
        raise Refusal(400, f"{message}'json_object'.", param="input")
    _items([*before, *given], kept, {id(item) for item in before})


def _tool(tool: Json) -> None:
    if tool.get("type") == "function":
        if set(tool) - {"type", "name", "description", "parameters", "strict"}:
            raise Refusal(400, "Unknown parameter: 'tools[0].function'.", "unknown_parameter")
        if not NAME.fullmatch(tool.get("name", "")):
            raise Refusal(400, "Missing required parameter: 'tools[0].name'.", "missing_required_parameter")
        if tool.get("strict", True):
            closed(tool["parameters"], f"function '{tool['name']}'")


def _items(items: Sequence[Json], kept: set[str], trusted: set[int]) -> None:
    called: set[str] = set()
    answered: set[str] = set()
    for place, item in enumerate(items):
        kind, where = item.get("type", "message"), f"input[{place}]"
        if id(item) not in trusted:
            _id(item, kept)
        match kind:
            case "message":
                _message(item, where)
            case "reasoning":
                _followed(item, items[place + 1 : place + 2])
            case "function_call" if isinstance(item.get("arguments"), str) and item.get("call_id"):
                called.add(item["call_id"])
            case "function_call_output" if item.get("call_id") in called:
                answered.add(item["call_id"])
                _parts(item["output"], where, PARTS["user"] - {"input_audio"})
            case "function_call_output":
                raise Refusal(400, f"No tool call found for function call output with call_id {item['call_id']}.")
            case _:
                raise Refusal(400, f"Invalid value: '{kind}'.", "invalid_value", f"{where}.type")
    if missing := sorted(called - answered):
        raise Refusal(400, f"No tool output found for function call {missing[0]}.", param="input")


def _id(item: Json, kept: set[str]) -> None:
    name = item.get("id")
    if name and name not in kept and not (item.get("type") == "reasoning" and item.get("encrypted_content")):
        message = f"Item with id '{name}' not found. Items are not persisted when `store` is set to false."
        raise Refusal(404, f"{message} Try again with `store` set to true, or remove this item from your input.")


def _followed(item: Json, after: Sequence[Json]) -> None:
    kinds = {"message", "function_call", "reasoning"}
    if not after or after[0].get("type", "message") not in kinds or after[0].get("role") == "user":
        message = f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item."
        raise Refusal(400, message, param="input")


def _message(item: Json, where: str) -> None:
    role = item.get("role")
    if role not in PARTS:
        raise Refusal(400, f"Invalid value: '{role}'.", "invalid_value", f"{where}.role")
    if extra := set(item) - {"type", "role", "content", "id", "status", "phase"}:
        raise Refusal(400, f"Unknown parameter: '{where}.{min(extra)}'.", "unknown_parameter")
    _parts(item.get("content"), where, PARTS[role])


def _parts(content: Any, where: str, allowed: set[str]) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise Refusal(400, f"Invalid type for '{where}.content'.", "invalid_type")
    for part in content:
        if part.get("type") not in allowed:
            names = ", ".join(f"'{kind}'" for kind in sorted(allowed))
            raise Refusal(400, f"Invalid value: '{part.get('type')}'. Supported values are: {names}.", "invalid_value")
        needed = {"input_image": ("image_url", "file_id"), "input_file": ("file_data", "file_id", "file_url")}
        if any(not isinstance(part.get(name, ""), str) for name in ("image_url", "file_data")):
            raise Refusal(400, f"Invalid type for '{where}.content[0].image_url'.", "invalid_type")
        if (names := needed.get(part["type"])) and not any(part.get(name) for name in names):
            raise Refusal(400, f"Missing required parameter: '{where}.content[0].{names[0]}'.")
        if part.get("file_data") and not part.get("filename"):
            raise Refusal(400, f"Missing required parameter: '{where}.content[0].filename'.")


def _as_chat(body: Json, items: Sequence[Json]) -> Json:
    """What the rule that plays the model reads."""
    kinds = {"input_text": "text", "output_text": "text", "input_image": "image_url", "input_file": "file"}
    messages: list[Json] = []
    for item in items:
        if item.get("type") == "function_call_output":
            messages.append({"role": "tool", "content": item["output"]})
        elif item.get("type", "message") == "message":
            messages.append({"role": item["role"], "content": item["content"]})
    for message in messages:
        if isinstance(message["content"], list):
            parts = [{**part, "type": kinds.get(part["type"], part["type"])} for part in message["content"]]
            message["content"] = parts
    chat = {**body, "messages": messages}
    chat["tools"] = [{"function": tool} for tool in body.get("tools") or [] if tool["type"] == "function"]
    choice = body.get("tool_choice", "auto")
    chat["tool_choice"] = {"function": {"name": choice["name"]}} if isinstance(choice, Mapping) else choice
    form = (body.get("text") or {}).get("format")
    if form and form["type"] != "text":
        chat["response_format"] = {"type": form["type"], "json_schema": form}
    return chat


def _length(items: Sequence[Json]) -> int:
    return sum(len(model.pieces(json.dumps(item.get("content") or item.get("output") or ""))) + 3 for item in items)


def _output(said: Said, body: Json, number: str) -> tuple[list[Json], str | None]:
    """The items of an answer, and why it is incomplete, if it is."""
    output: list[Json] = []
    if said.reasoning is not None:
        wanted = (body.get("reasoning") or {}).get("summary")
        summary = [{"type": "summary_text", "text": said.reasoning}] if wanted else []
        thought: Json = {"id": f"rs_{number}", "type": "reasoning", "summary": summary}
        if ENCRYPTED in (body.get("include") or []):
            thought["encrypted_content"] = f"gAAAA{number}"
        output.append(thought)
    if said.calls:
        output += [_call(name, arguments, f"{number}_{place}") for place, (name, arguments) in enumerate(said.calls)]
        return output, None
    part: Json
    finish = None
    if said.refusal is not None:
        part = {"type": "refusal", "refusal": said.refusal}
    else:
        words, limit = model.pieces(said.text or ""), body.get("max_output_tokens")
        finish = "max_output_tokens" if limit is not None and len(words) > limit else None
        part = {"type": "output_text", "text": "".join(words[:limit]), "annotations": [], "logprobs": []}
        if "message.output_text.logprobs" in (body.get("include") or []):
            part["logprobs"] = _logprobs(part["text"], body)
    status = "incomplete" if finish else "completed"
    message = {"id": f"msg_{number}", "type": "message", "status": status, "role": "assistant", "content": [part]}
    return [*output, message], finish


def _call(name: str, arguments: Any, number: str) -> Json:
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "status": "completed",
        "arguments": json.dumps(arguments, ensure_ascii=False),
        "call_id": f"call_{number}",
        "name": name,
    }


def _logprobs(text: str, body: Json) -> list[Json]:
    top = [{"token": "x", "bytes": [120], "logprob": -3.0}] * (body.get("top_logprobs") or 0)
    return [
        {"token": piece, "bytes": list(piece.encode()), "logprob": -0.25, "top_logprobs": top}
        for piece in model.pieces(text)
    ]


def _response(body: Json, output: list[Json], finish: str | None, number: str, *, asked: int) -> Json:
    thought = 3 if any(item["type"] == "reasoning" for item in output) else 0
    written = [json.dumps(item.get("content") or item.get("arguments") or "") for item in output]
    given = sum(len(model.pieces(text)) for text in written) + thought
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if finish else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": finish} if finish else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": body["model"],
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None, **(body.get("reasoning") or {})},
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, **(body.get("text") or {})},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {
                "cached_tokens": asked // 2 if body["model"].startswith("cached") else 0,
                "cache_write_tokens": 0,
            },
            "output_tokens": given,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": asked + given,
        },
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def events(answer: Json) -> Iterator[Json]:
    """The stream of an answer; every event has its number."""
    for number, event in enumerate(_events(answer)):
        yield {**event, "sequence_number": number}


def _events(answer: Json) -> Iterator[Json]:
    begun = {**answer, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(answer["output"]):
        place = {"item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.added", "output_index": index, "item": _empty(item)}
        match item["type"]:
            case "reasoning":
                yield from _thought(item, place)
            case "function_call":
                yield from _arguments(item, place)
            case _:
                for at, part in enumerate(item["content"]):
                    yield from _content(part, {**place, "content_index": at})
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{answer['status']}", "response": answer}


def _empty(item: Json) -> Json:
    """An item as announced at the start of a stream."""
    cleared = {"summary": [], "arguments": "", "content": [], "status": "in_progress", "encrypted_content": "gAA"}
    return {**item, **{name: value for name, value in cleared.items() if name in item}}


def _thought(item: Json, place: Json) -> Iterator[Json]:
    for at, part in enumerate(item["summary"]):
        here = {**place, "summary_index": at}
        empty = {"type": "summary_text", "text": ""}
        yield {"type": "response.reasoning_summary_part.added", **here, "part": empty}
        for piece in model.pieces(part["text"]):
            yield {"type": "response.reasoning_summary_text.delta", **here, "delta": piece, "obfuscation": "x"}
        yield {"type": "response.reasoning_summary_text.done", **here, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **here, "part": part}


def _arguments(item: Json, place: Json) -> Iterator[Json]:
    text = item["arguments"]
    for start in range(0, len(text), 5):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": text[start : start + 5]}
    yield {"type": "response.function_call_arguments.done", **place, "arguments": text, "name": item["name"]}


def _content(part: Json, place: Json) -> Iterator[Json]:
    refused = part["type"] == "refusal"
    field = "refusal" if refused else "text"
    empty = {**part, field: ""} if refused else {**part, field: "", "logprobs": []}
    yield {"type": "response.content_part.added", **place, "part": empty}
    scored = part.get("logprobs") or []
    kind = "response.refusal" if refused else "response.output_text"
    for at, piece in enumerate(model.pieces(part[field])):
        more = {} if refused else {"logprobs": scored[at : at + 1]}
        yield {"type": f"{kind}.delta", **place, "delta": piece, **more}
    yield {"type": f"{kind}.done", **place, field: part[field], **({} if refused else {"logprobs": scored})}
    yield {"type": "response.content_part.done", **place, "part": part}
