"""What the service refuses, in its own words: recorded from the API, not from the client under test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from chainkit.testing.server import model
from chainkit.testing.server.wire import HTTPRequest

Json = Mapping[str, Any]

MODELS = [
    "gpt-4o-mini",
    "gpt-4o",
    "gpt-3.5-turbo-instruct",
    "text-embedding-3-small",
    "small-context",
    "reasoner-1",
    "cached-1",
]
CONTEXT = 100
SAMPLING = (
    "frequency_penalty logit_bias max_tokens n presence_penalty seed stop stream stream_options temperature top_p user"
)
CHAT = set(
    f"{SAMPLING} model messages audio functions function_call logprobs max_completion_tokens metadata modalities "
    "parallel_tool_calls prediction prompt_cache_key reasoning_effort response_format safety_identifier service_tier "
    "store tool_choice tools top_logprobs verbosity web_search_options".split()
)
COMPLETION = set(f"{SAMPLING} model prompt best_of echo logprobs suffix".split())
EMBEDDING = {"model", "input", "encoding_format", "dimensions", "user"}
PARTS = {
    "system": {"text"},
    "developer": {"text"},
    "user": {"text", "image_url", "input_audio", "file"},
    "assistant": {"text", "refusal"},
    "tool": {"text"},
}
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        self.status = status
        self.error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        super().__init__(message)


def key(request: HTTPRequest, wanted: str | None) -> None:
    """The right key, or 401."""
    if wanted is None or request.headers.get("authorization") == f"Bearer {wanted}":
        return
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not given:
        raise Refusal(401, "You didn't provide an API key.")
    hint = f"Incorrect API key provided: {given}. You can find your API key at https://platform.openai.com/account/api-keys."
    raise Refusal(401, hint, "invalid_api_key")  # some services echo the whole key


def body(request: HTTPRequest) -> dict[str, Any]:
    """The JSON of a request for a model that there is."""
    if request.method != "POST":
        raise Refusal(405, f"Not allowed to {request.method} on {request.path}")
    try:
        parsed = json.loads(request.body)
    except ValueError:
        raise Refusal(400, "We could not parse the JSON body of your request.") from None
    name = parsed.get("model")
    if not isinstance(name, str):
        raise Refusal(400, "you must provide a model parameter")
    if name not in MODELS and not name.startswith("gpt-"):
        raise Refusal(404, f"The model `{name}` does not exist or you do not have access to it.", "model_not_found")
    return parsed


def chat(request: Json) -> None:
    """A chat request that the API would take."""
    _known(request, CHAT)
    _numbers(request)
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "Invalid 'messages': empty array.", "empty_array", "messages")
    waiting: set[str] = set()
    for place, message in enumerate(messages):
        waiting = _message(message, f"messages[{place}]", waiting)
    if waiting:
        raise Refusal(400, _unanswered(waiting))
    for place, tool in enumerate(request.get("tools") or []):
        _tool(tool, f"tools[{place}]")
    if request.get("parallel_tool_calls") is not None and not request.get("tools"):
        raise Refusal(400, "Invalid value for 'parallel_tool_calls': only allowed when 'tools' are specified.")
    if request.get("tool_choice") and not request.get("tools"):
        raise Refusal(400, "Invalid value for 'tool_choice': only allowed when 'tools' are specified.")
    if request.get("stream_options") and not request.get("stream"):
        raise Refusal(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    _form(request.get("response_format"), messages)
    _length(request["model"], messages)


def completion(request: Json) -> None:
    """A completion request that the API would take."""
    _known(request, COMPLETION)
    _numbers(request)
    prompt = request.get("prompt")
    if not isinstance(prompt, str) and not (prompt and all(isinstance(text, str) for text in prompt)):
        raise Refusal(400, "Invalid type for 'prompt'.", param="prompt")


def embedding(request: Json) -> None:
    """An embeddings request of texts, not of token ids."""
    _known(request, EMBEDDING)
    texts = request.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise Refusal(
            400, "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
        )
    if len(texts) > 2048:
        raise Refusal(400, f"'$.input' is invalid: array too long, {len(texts)} > 2048.")


def _known(request: Json, names: Iterable[str]) -> None:
    for name in request:
        if name not in names:
            raise Refusal(400, f"Unrecognized request argument supplied: {name}")


def _numbers(request: Json) -> None:
    limits = {"temperature": (0, 2), "top_p": (0, 1), "n": (1, 128), "max_tokens": (1, 10**6)}
    for name, (low, high) in limits.items():
        value = request.get(name)
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Refusal(
                400, f"Invalid type for '{name}': expected a number, but got {value!r} instead.", "invalid_type"
            )
        if not low <= value <= high:
            raise Refusal(400, f"Invalid '{name}': expected a value between {low} and {high}, but got {value} instead.")


def _message(message: Json, where: str, waiting: set[str]) -> set[str]:
    """Check one message; returns the ids of tool calls that still wait for their answer."""
    role = message.get("role")
    if role not in PARTS:
        raise Refusal(400, f"Invalid value: '{role}'. Supported values are: {', '.join(PARTS)}.", "invalid_value")
    if role == "tool":
        if message.get("tool_call_id") not in waiting:
            raise Refusal(
                400,
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                "'tool_calls'.",
            )
    elif waiting:
        raise Refusal(400, _unanswered(waiting))
    if "name" in message and not re.fullmatch(r"[^\s<|\\/>]+", message["name"]):
        raise Refusal(400, f"Invalid '{where}.name': string does not match pattern.", "invalid_value")
    _content(message, where, role)
    if role == "tool":
        return waiting - {message["tool_call_id"]}
    return {_call(call, where) for call in message.get("tool_calls") or []}


def _content(message: Json, where: str, role: str) -> None:
    content = message.get("content")
    if content is None:
        if role == "assistant" and (message.get("tool_calls") or message.get("refusal") or message.get("audio")):
            return
        raise Refusal(400, f"Invalid value for 'content': expected a string, got null. ({where})", "invalid_type")
    if isinstance(content, str):
        return
    if not content:
        raise Refusal(
            400, f"Invalid '{where}.content': empty array. Expected an array with minimum length 1.", "empty_array"
        )
    for part in content:
        if part["type"] not in PARTS[role]:
            allowed = ", ".join(f"'{kind}'" for kind in sorted(PARTS[role]))
            raise Refusal(400, f"Invalid value: '{part['type']}'. Supported values are: {allowed}.", "invalid_value")
        if set(part) - {"type", part["type"]}:
            raise Refusal(400, f"Unknown parameter: '{where}.content'.", "unknown_parameter")
        _part(part, where)


def _part(part: Json, where: str) -> None:
    value = part.get(part["type"])
    match part["type"]:
        case "text" | "refusal":
            good = isinstance(value, str)
        case "image_url":
            url = value.get("url", "") if isinstance(value, Mapping) else ""
            good = bool(re.match(r"https?://|data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]", url))
        case "input_audio":
            good = isinstance(value, Mapping) and value.get("format") in {"wav", "mp3"} and bool(value.get("data"))
        case _:
            data = (
                isinstance(value, Mapping) and value.get("filename") and value.get("file_data", "").startswith("data:")
            )
            good = bool(data or (isinstance(value, Mapping) and value.get("file_id")))
    if not good:
        raise Refusal(400, f"Invalid '{where}.content': invalid {part['type']}.", "invalid_value")


def _call(call: Json, where: str) -> str:
    function = call.get("function")
    good = call.get("type") == "function" and isinstance(call.get("id"), str)
    if (
        not isinstance(function, Mapping)
        or not isinstance(function.get("arguments"), str)
        or not NAME.fullmatch(function.get("name", ""))
    ):
        good = False
    if not good:
        raise Refusal(400, f"Invalid '{where}.tool_calls'.", "invalid_type")
    return call["id"]


def _unanswered(waiting: set[str]) -> str:
    return (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(sorted(waiting))}"
    )


def _tool(tool: Json, where: str) -> None:
    if tool.get("type") != "function":
        raise Refusal(400, f"Invalid value: '{tool.get('type')}'. Supported values are: 'function'.", "invalid_value")
    function = tool["function"]
    if set(function) - {"name", "description", "parameters", "strict"}:
        raise Refusal(400, f"Unknown parameter in '{where}.function'.", "unknown_parameter")
    if not NAME.fullmatch(function.get("name", "")):
        raise Refusal(400, f"Invalid '{where}.function.name': string does not match pattern.", "invalid_value")
    if function.get("strict"):
        closed(function["parameters"], f"function '{function['name']}'")


def _form(form: Json | None, messages: list[Json]) -> None:
    if form is None:
        return
    if form.get("type") == "json_object" and "json" not in json.dumps(messages).lower():
        raise Refusal(
            400, "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )
    if form.get("type") == "json_schema":
        described = form.get("json_schema") or {}
        if not NAME.fullmatch(described.get("name", "")) or set(described) - {
            "name",
            "description",
            "schema",
            "strict",
        }:
            raise Refusal(400, "Missing or invalid 'response_format.json_schema.name'.", "invalid_value")
        if described.get("strict"):
            closed(described["schema"], f"response_format '{described['name']}'")


def closed(schema: Any, where: str) -> None:
    """Refuse a schema that breaks the rules of strict mode: every object closed, every property required."""
    if isinstance(schema, list):
        for part in schema:
            closed(part, where)
    if not isinstance(schema, Mapping):
        return
    if "$ref" in schema and len(schema) > 1:
        raise Refusal(400, f"Invalid schema for {where}: $ref cannot have keywords.", "invalid_json_schema")
    if schema.get("type") == "object":
        _closed(schema, where)
    if "default" in schema and "type" in schema:
        raise Refusal(400, f"Invalid schema for {where}: 'default' is not permitted.", "invalid_json_schema")
    for name, part in schema.items():
        children = part.values() if name in {"properties", "$defs"} and isinstance(part, Mapping) else [part]
        for child in children:
            closed(child, where)


def _closed(schema: Json, where: str) -> None:
    if schema.get("additionalProperties") is not False:
        reason = "'additionalProperties' is required to be supplied and to be false."
        raise Refusal(400, f"Invalid schema for {where}: {reason}", "invalid_json_schema")
    if set(schema.get("required", [])) != set(schema.get("properties", {})):
        reason = "'required' is required to be supplied and to be an array including every key in properties."
        raise Refusal(400, f"Invalid schema for {where}: {reason}", "invalid_json_schema")


def _length(name: str, messages: list[Json]) -> None:
    tokens = sum(len(model.pieces(model.text_of(message))) + 3 for message in messages)
    if name == "small-context" and tokens > CONTEXT:
        message = (
            f"This model's maximum context length is {CONTEXT} tokens. However, your messages resulted in {tokens}"
        )
        message += " tokens."
        raise Refusal(
            400, f"{message} Please reduce the length of the messages.", "context_length_exceeded", "messages"
        )
