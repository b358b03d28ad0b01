"""Building requests of the Chat Completions API: langchain-core's messages in, dicts out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, FunctionMessage, ToolMessage

from chainkit.backends.openai.content import Part, parts, spoken_parts
from chainkit.backends.openai.services import Service
from chainkit.base.errors import Unsupported, nearest

Json = dict[str, Any]

SAMPLING = (
    "temperature", "top_p", "max_tokens", "stop", "seed", "n", "frequency_penalty", "presence_penalty", "logprobs",
    "top_logprobs", "logit_bias", "user",
)  # fmt: skip
CHAT_SETTINGS = (
    *SAMPLING, "reasoning_effort", "verbosity", "service_tier", "store", "parallel_tool_calls", "modalities", "audio",
    "prompt_cache_key", "safety_identifier",
)  # fmt: skip
"""Settings of a chat model, by API names."""

CALL_OPTIONS = frozenset(
    {*CHAT_SETTINGS, "model", "tools", "tool_choice", "response_format", "prediction", "web_search_options", "metadata"}
    | {"extra_body"}
)
"""Options of one call."""

COMPLETION_SETTINGS = (*(name for name in SAMPLING if name != "top_logprobs"), "best_of", "echo", "suffix")
"""Settings of a completion model, by API names."""

COMPLETION_OPTIONS = frozenset({*COMPLETION_SETTINGS, "model", "extra_body"})
"""Options of one call of a completion model."""

OURS = frozenset({"stream", "ls_structured_output_format", "structured_output_format"})
"""Arguments that langchain-core adds."""


def chat_body(
    messages: Sequence[BaseMessage], settings: Mapping[str, Any], options: Mapping[str, Any], habits: Service
) -> Json:
    """The body of a request.

    Args:
        messages: The conversation.
        settings: Those of the model; None means that the service decides.
        options: Those of this call; they win.
        habits: The service's parameter names and missing features.

    Raises:
        Unsupported: An option or a content block is unknown, or the service lacks it.
    """
    body, extra = _chosen(settings, options, CALL_OPTIONS, habits)
    if foreign := sorted(name for name in body if name not in CALL_OPTIONS and name != habits.seed_field):
        raise Unsupported(f"Chat Completions has no {', '.join(foreign)}; leave it out, or use api='responses'")
    if "max_tokens" in body:
        body[habits.max_tokens_field] = body.pop("max_tokens")
    if "tool_choice" in body:
        body["tool_choice"] = _choice(body["tool_choice"], habits)
    return {**body, "messages": list(chat_messages(messages, habits)), **extra}


def completion_body(
    prompts: Sequence[str], settings: Mapping[str, Any], options: Mapping[str, Any], habits: Service
) -> Json:
    """The body of a completion request; a single prompt goes as text, since some services take no list.

    Raises:
        Unsupported: An option is unknown.
    """
    body, extra = _chosen(settings, options, COMPLETION_OPTIONS, habits)
    return {**body, "prompt": prompts[0] if len(prompts) == 1 else list(prompts), **extra}


def _chosen(
    settings: Mapping[str, Any], options: Mapping[str, Any], known: frozenset[str], habits: Service
) -> tuple[Json, Json]:
    refuse_unknown(options, known)
    chosen = {**settings, **{name: value for name, value in options.items() if name not in OURS}}
    extra = chosen.pop("extra_body", None) or {}
    body = {name: value for name, value in chosen.items() if value is not None and value != []}
    if lacking := habits.lacks & body.keys():
        lack = ", ".join(sorted(lacking))
        raise Unsupported(f"{habits.name} has no {lack}; leave it out, or send it all the same with extra_body={{...}}")
    if "seed" in body:
        body[habits.seed_field] = body.pop("seed")
    return body, extra


def _choice(choice: Any, habits: Service) -> Any:
    if choice == "required":
        return habits.demanded_choice
    if isinstance(choice, Mapping) and not habits.names_choice:
        raise Unsupported(f"{habits.name} does not support a named tool choice; bind that tool alone, with 'auto'")
    return choice


def refuse_unknown(options: Iterable[str], known: frozenset[str]) -> None:
    """Refuse the options of a call that no request has a place for."""
    for name in options:
        if name not in known and name not in OURS:
            hint = nearest(name, known)
            advice = f"did you mean '{hint}'? " if hint else ""
            other = "what only this service knows goes into extra_body={...}"
            raise Unsupported(f"no option '{name}' for a call; {advice}{other}")


def chat_messages(messages: Sequence[BaseMessage], habits: Service | None = None) -> Iterable[Json]:
    """The messages of a request.

    The API takes only text as the result of a tool. Images and files there follow in a message of the user, after
    the last of the results that belong together, and the result says so.
    """
    if habits and habits.one_system:
        messages = _one_system(messages)
    waiting: list[Part] = []
    thoughtful = habits if habits and habits.thought_field else None
    last = _last_question(messages) if thoughtful else 0
    for place, message in enumerate(messages):
        if not isinstance(message, ToolMessage) and waiting:
            yield {"role": "user", "content": waiting}
            waiting = []
        if isinstance(message, ToolMessage):
            written, media = _tool_result(message)
            waiting += media
            yield written
        else:
            written = _WRITERS.get(message.type, _other)(message)
            if thoughtful and written["role"] == "assistant":
                written |= _thoughts(message, thoughtful, called=bool(written.get("tool_calls")) and place > last)
            yield written
    if waiting:
        yield {"role": "user", "content": waiting}


def _one_system(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """The messages with the system messages at their beginning as one; later ones stay in place."""
    leading = list(takewhile(lambda message: message.type in ("system", "SystemMessageChunk"), messages))
    if len(leading) < 2:
        return messages
    contents = [message.content for message in leading]
    if all(isinstance(content, str) for content in contents):
        whole: Any = "\n\n".join(str(content) for content in contents)
    else:
        whole = [part for content in contents for part in parts(content)]
    return [leading[0].model_copy(update={"content": whole}), *messages[len(leading) :]]


def _last_question(messages: Sequence[BaseMessage]) -> int:
    return max(
        (place for place, message in enumerate(messages) if message.type.startswith(("human", "Human"))), default=-1
    )


def _thoughts(message: BaseMessage, habits: Service, *, called: bool) -> Json:
    """The thoughts of a message, where the service wants them back; others refuse a message that holds them."""
    thoughts = message.additional_kwargs.get("reasoning_content")
    return {habits.thought_field: thoughts} if thoughts and (called or habits.thoughts_back == "all") else {}


def _human(message: BaseMessage) -> Json:
    return _named(message, {"role": "user", "content": _content(message)})


def _system(message: BaseMessage) -> Json:
    role = message.additional_kwargs.get("__openai_role__", "system")  # langchain-core's mark of a developer message
    return _named(message, {"role": role, "content": _content(message)})


def _assistant(message: BaseMessage) -> Json:
    assert isinstance(message, AIMessage)
    written: Json = {"role": "assistant"}
    text = message.content if isinstance(message.content, str) else spoken_parts(message.content)
    calls = [
        _call(call["id"], call["name"], json.dumps(call["args"], ensure_ascii=False)) for call in message.tool_calls
    ]
    calls += [_call(call["id"], call["name"], call["args"] or "") for call in message.invalid_tool_calls]
    if calls:
        written["tool_calls"] = calls
    if refusal := message.additional_kwargs.get("refusal"):
        written["refusal"] = refusal
    if audio := message.additional_kwargs.get("audio"):
        written["audio"] = {"id": audio["id"]}
    written["content"] = text or (None if len(written) > 1 else "")
    return _named(message, written)


def _call(id_: str | None, name: str | None, arguments: str) -> Json:
    return {"id": id_ or "", "type": "function", "function": {"name": name or "", "arguments": arguments}}


def _function(message: BaseMessage) -> Json:
    assert isinstance(message, FunctionMessage)
    return {"role": "function", "name": message.name, "content": _content(message)}


def _other(message: BaseMessage) -> Json:
    if isinstance(message, ChatMessage):
        return _named(message, {"role": message.role, "content": _content(message)})
    raise Unsupported(f"a chat request has no place for a message of type '{message.type}'")


def _tool_result(message: ToolMessage) -> tuple[Json, list[Part]]:
    result: Json = {"role": "tool", "tool_call_id": message.tool_call_id}
    if isinstance(message.content, str):
        return {**result, "content": message.content}, []
    every = parts(message.content)
    text = [part for part in every if part["type"] == "text"]
    media = [part for part in every if part["type"] != "text"]
    if media:
        text.append({"type": "text", "text": "(The rest of this result follows in the next message of the user.)"})
        media.insert(0, {"type": "text", "text": f"The rest of the result of tool call {message.tool_call_id}:"})
    return {**result, "content": text or ""}, media


def _content(message: BaseMessage) -> str | list[Part]:
    return message.content if isinstance(message.content, str) else parts(message.content)


def _named(message: BaseMessage, written: Json) -> Json:
    if message.name:
        written["name"] = message.name
    return written


_WRITERS: dict[str, Callable[[BaseMessage], Json]] = {
    "human": _human,
    "HumanMessageChunk": _human,
    "system": _system,
    "SystemMessageChunk": _system,
    "ai": _assistant,
    "AIMessageChunk": _assistant,
    "function": _function,
    "FunctionMessageChunk": _function,
}
