"""Conversations in the shape of each kind of service, and what a request of each kind says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from chainkit.backends.openai.access import Access
from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.reply import chat_result
from chainkit.backends.openai.request import chat_messages
from chainkit.backends.openai.responses_reply import responses_result
from chainkit.backends.openai.responses_request import responses_body
from chainkit.backends.openai.services import SERVICES
from chainkit.conversations.carry import marked
from chainkit.local.conversation import as_dict

CONNECTION = Connection("openai", Access("http://127.0.0.1:1/v1", "k", "", own=False))

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
data = st.binary(min_size=3, max_size=6).map(lambda value: value.hex()[: len(value) // 3 * 4] or "AAAA")
arguments = st.dictionaries(
    words, st.none() | st.booleans() | st.integers(-5, 5) | words | st.lists(words, max_size=2), max_size=2
)


@dataclass(frozen=True)
class Call:
    """A tool call and its result."""

    name: str
    args: dict[str, Any]
    result: str
    image: str | None


@dataclass(frozen=True)
class Exchange:
    """A question with what belongs to it, and an answer; `ends` says how calls and thoughts come into it."""

    asked: tuple[str, ...]
    images: tuple[str, ...]
    thoughts: str
    said: tuple[str, ...]
    calls: tuple[Call, ...]


calls = st.builds(Call, st.sampled_from(["find", "add"]), arguments, words, st.none() | data)
exchanges = st.builds(
    Exchange,
    st.lists(words, min_size=1, max_size=2).map(tuple),
    st.lists(data, max_size=2).map(tuple),
    st.just("") | words,
    st.lists(words, min_size=1, max_size=2).map(tuple),
    st.lists(calls, max_size=2).map(tuple),
)
talks = st.lists(exchanges, min_size=1, max_size=3)


@dataclass
class Essence:
    """What a request says, whatever its form; a result stands with the number of the call that it answers."""

    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    results: list[tuple[int, str]] = field(default_factory=list)
    media: list[str] = field(default_factory=list)


def meant(talk: Sequence[Exchange]) -> Essence:
    """What a talk says."""
    found = Essence()
    for one in talk:
        found.asked.append("".join(one.asked))
        found.media += one.images
        found.said.append("".join(one.said))
        for call in one.calls:
            found.results.append((len(found.calls), call.result))
            found.calls.append((call.name, call.args))
            found.media += [call.image] if call.image else []
    return found


def ids(one: Exchange, prefix: str, place: int) -> list[str]:
    return [f"{prefix}{place}x{number}" for number in range(len(one.calls))]


def by_chat(one: Exchange, place: int) -> list[BaseMessage]:
    """As Chat Completions: a text, calls beside it, thoughts in a field of their own."""
    told: dict[str, Any] = {"role": "assistant", "content": "".join(one.said)}
    if one.thoughts:
        told["reasoning_content"] = one.thoughts
    names = ids(one, "call_", place)
    told["tool_calls"] = [
        {"id": id_, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.args)}}
        for id_, call in zip(names, one.calls, strict=True)
    ]
    reply = {"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": told}]}
    answer = chat_result(reply, CONNECTION, translator="openai").generations[0].message
    images = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{one_}"}} for one_ in one.images]
    return _talk(one, images, answer, names)


def by_responses(one: Exchange, place: int) -> list[BaseMessage]:
    """As the Responses API: items with ids, thoughts encrypted."""
    names = ids(one, "call_", place)
    output: list[dict[str, Any]] = []
    if one.thoughts:
        summary = [{"type": "summary_text", "text": one.thoughts}]
        output.append({"type": "reasoning", "id": f"rs_{place}", "summary": summary, "encrypted_content": "E" * 8})
    parts = [{"type": "output_text", "text": text, "annotations": []} for text in one.said]
    output.append({"type": "message", "id": f"msg_{place}", "role": "assistant", "content": parts})
    for id_, call in zip(names, one.calls, strict=True):
        told = {"call_id": id_, "name": call.name, "arguments": json.dumps(call.args)}
        output.append({"type": "function_call", "id": f"fc_{id_}", **told})
    reply = {"id": f"resp_{place}", "model": "m", "status": "completed", "output": output}
    answer = responses_result(reply, CONNECTION, stop=[]).generations[0].message
    images = [{"type": "image", "base64": image, "mime_type": "image/png"} for image in one.images]
    return _talk(one, images, answer, names)


def by_anthropic(one: Exchange, place: int) -> list[BaseMessage]:
    """As Anthropic's blocks: thoughts signed, calls among the texts."""
    names = ids(one, "toolu_", place)
    content: list[Any] = []
    if one.thoughts:
        content += [{"type": "thinking", "thinking": one.thoughts, "signature": "S"}]
        content += [{"type": "redacted_thinking", "data": "R"}]
    content += [{"type": "text", "text": text} for text in one.said]
    content += [
        {"type": "tool_use", "id": id_, "name": call.name, "input": call.args}
        for id_, call in zip(names, one.calls, strict=True)
    ]
    told: Any = [
        {"type": "tool_call", "id": id_, "name": call.name, "args": call.args}
        for id_, call in zip(names, one.calls, strict=True)
    ]
    answer = AIMessage(content, tool_calls=told, response_metadata={"model_provider": "anthropic"})
    images = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}}
        for image in one.images
    ]
    return _talk(one, images, answer, names)


def by_local(one: Exchange, place: int) -> list[BaseMessage]:
    """As a model on this machine: a text and calls."""
    names = ids(one, "local-", place)
    told: Any = [
        {"type": "tool_call", "id": id_, "name": call.name, "args": call.args}
        for id_, call in zip(names, one.calls, strict=True)
    ]
    images = [{"type": "image", "base64": image, "mime_type": "image/png"} for image in one.images]
    return _talk(one, images, AIMessage("".join(one.said), tool_calls=told), names)


def _talk(one: Exchange, images: list[Any], answer: BaseMessage, names: list[str]) -> list[BaseMessage]:
    asked: Any = [{"type": "text", "text": text} for text in one.asked]
    question = HumanMessage([*asked, *images] if images or len(asked) > 1 else one.asked[0])
    results = [ToolMessage(_result(call), tool_call_id=id_) for call, id_ in zip(one.calls, names, strict=True)]
    assert isinstance(answer, AIMessage)
    return [question, answer, *results]


def _result(call: Call) -> Any:
    if call.image is None:
        return call.result
    image = {"type": "image", "base64": call.image, "mime_type": "image/png"}
    return [{"type": "text", "text": call.result}, image]


WRITERS: dict[str, Callable[[Exchange, int], list[BaseMessage]]] = {
    "chat": by_chat,
    "responses": by_responses,
    "anthropic": by_anthropic,
    "local": by_local,
}


def written(talk: Sequence[Exchange], makers: Sequence[str]) -> list[BaseMessage]:
    """A conversation in which each answer is one maker's, in turn."""
    messages: list[BaseMessage] = []
    for place, one in enumerate(talk):
        maker = makers[place % len(makers)]
        messages += [
            marked(message, maker) if isinstance(message, AIMessage) else message
            for message in WRITERS[maker](one, place)
        ]
    return messages


def of_chat(messages: Sequence[BaseMessage]) -> Essence:
    """What a request to Chat Completions says."""
    found, known = Essence(), list[str]()
    for told in chat_messages(messages):
        parts = (
            told["content"] if isinstance(told["content"], list) else [{"type": "text", "text": told["content"] or ""}]
        )
        assert {part["type"] for part in parts} <= {"text", "image_url"}
        text = "".join(part["text"] for part in parts if part["type"] == "text" and "rest of th" not in part["text"])
        found.media += [part["image_url"]["url"].partition(",")[2] for part in parts if part["type"] == "image_url"]
        if told["role"] == "assistant":
            found.said.append(text)
            for call in told.get("tool_calls", []):
                known.append(call["id"])
                found.calls.append((call["function"]["name"], json.loads(call["function"]["arguments"])))
        elif told["role"] == "tool":
            found.results.append((known.index(told["tool_call_id"]), text))
        elif text:
            found.asked.append(text)
    return found


def of_responses(messages: Sequence[BaseMessage]) -> Essence:
    """What a request to the Responses API says."""
    found, known = Essence(), list[str]()
    body, _ = responses_body(messages, {"model": "m"}, {}, SERVICES["openai"])
    for item in body["input"]:
        kind = item.get("type", "message")
        if kind == "function_call":
            known.append(item["call_id"])
            found.calls.append((item["name"], json.loads(item["arguments"])))
            continue
        assert kind in ("message", "function_call_output", "reasoning")
        content = item.get("output", item.get("content")) if kind != "reasoning" else []
        parts = [{"text": content}] if isinstance(content, str) else content
        text = "".join(part.get("text", "") for part in parts)
        found.media += [part["image_url"].partition(",")[2] for part in parts if "image_url" in part]
        if kind == "function_call_output":
            found.results.append((known.index(item["call_id"]), text))
        elif kind == "message":
            (found.said if item["role"] == "assistant" else found.asked).append(text)
    return found


def of_anthropic(messages: Sequence[BaseMessage]) -> Essence:
    """What langchain-anthropic sends."""
    models = pytest.importorskip("langchain_anthropic.chat_models")
    found, known = Essence(), list[str]()
    _, sent = models._format_messages(list(messages), model="claude-haiku-5-5")
    for told in sent:
        blocks = [{"type": "text", "text": told["content"]}] if isinstance(told["content"], str) else told["content"]
        text = ""
        for block in blocks:
            match block["type"]:
                case "text":
                    text += block["text"]
                case "tool_use":
                    known.append(block["id"])
                    found.calls.append((block["name"], block["input"]))
                case "tool_result":
                    parts = block["content"]
                    parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
                    found.results.append(
                        (known.index(block["tool_use_id"]), "".join(p["text"] for p in parts if p["type"] == "text"))
                    )
                    found.media += [p["source"]["data"] for p in parts if p["type"] == "image"]
                case "image":
                    found.media.append(block["source"]["data"])
                case kind:
                    assert kind in ("thinking", "redacted_thinking"), kind
        if told["role"] == "assistant":
            found.said.append(text)
        elif text:
            found.asked.append(text)
    return found


def of_local(messages: Sequence[BaseMessage]) -> Essence:
    """What a chat template is given; images are named in the text."""
    found, known = Essence(), list[str]()
    for entry in map(as_dict, messages):
        text = entry["content"].replace("[image: image/png]", "")
        found.media += ["image/png"] * entry["content"].count("[image: image/png]")
        if entry["role"] == "assistant":
            found.said.append(text)
            for call in entry.get("tool_calls", []):
                known.append(call["id"])
                found.calls.append((call["function"]["name"], call["function"]["arguments"]))
        elif entry["role"] == "tool":
            found.results.append((known.index(entry["tool_call_id"]), text))
        else:
            found.asked.append(text)
    return found


READERS: dict[str, Callable[[Sequence[BaseMessage]], Essence]] = {
    "chat": of_chat,
    "responses": of_responses,
    "anthropic": of_anthropic,
    "local": of_local,
}
