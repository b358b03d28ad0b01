"""Answers in the words of OpenAI's API: usage, log-probabilities, calls, and why an answer ended."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from chainkit.server.fields import Json

_ENDS = {"max_tokens": "length", "end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls"}
_KNOWN = frozenset({"stop", "length", "tool_calls", "content_filter"})


def text_of(message: AIMessage) -> str:
    """The text of an answer, without thoughts and calls."""
    return message.content if isinstance(message.content, str) else str(message.text)


def new_id(prefix: str) -> str:
    """A name for something, like "chatcmpl-...".

    >>> new_id("resp_")[:5]
    'resp_'
    """
    return prefix + uuid.uuid4().hex[:24]


def finish_of(message: AIMessage) -> str:
    """Why an answer ended: "stop" (also for a text that repeats itself), "length", "tool_calls" or "content_filter"."""
    given = message.response_metadata.get("finish_reason") or message.response_metadata.get("stop_reason") or "stop"
    reason = _ENDS.get(str(given), str(given))
    if reason in ("stop", "tool_calls") and message.tool_calls:
        return "tool_calls"
    return reason if reason in _KNOWN else "stop"


def calls_of(message: AIMessage) -> list[Json]:
    """The calls of an answer, those that a limit cut included, as far as they were written."""
    whole = [_call(one["id"], one["name"], json.dumps(one["args"], ensure_ascii=False)) for one in message.tool_calls]
    return whole + [_call(one["id"], one["name"] or "", one["args"] or "") for one in message.invalid_tool_calls]


def call_deltas(chunk: AIMessageChunk) -> list[Json]:
    """The pieces of calls in a chunk of a stream."""
    found: list[Json] = []
    for place, piece in enumerate(chunk.tool_call_chunks):
        index = piece["index"]
        delta: Json = {"index": index if isinstance(index, int) else place}
        if piece["id"]:
            delta |= {"id": piece["id"], "type": "function"}
        function = {"arguments": piece["args"] or ""}
        delta["function"] = {"name": piece["name"], **function} if piece["name"] else function
        found.append(delta)
    return found


def usage_of(usages: Sequence[UsageMetadata | None]) -> Json:
    """The tokens of answers to one prompt, which counts once."""
    known = [usage for usage in usages if usage]
    prompt = max((one["input_tokens"] for one in known), default=0)
    written = sum(one["output_tokens"] for one in known)
    details = [one.get("input_token_details") or {} for one in known]
    cached = max((one.get("cache_read") or 0 for one in details), default=0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def logprobs_of(metadata: Mapping[str, Any]) -> Json | None:
    """Log-probabilities with the bytes of each token."""
    found = metadata.get("logprobs")
    if not found or not found.get("content"):
        return None
    return {"content": [_scored(one) for one in found["content"]], "refusal": None}


def _scored(one: Mapping[str, Any]) -> Json:
    rivals = [{**rival, "bytes": _bytes(rival)} for rival in one.get("top_logprobs") or ()]
    return {"token": one["token"], "logprob": one["logprob"], "bytes": _bytes(one), "top_logprobs": rivals}


def _bytes(one: Mapping[str, Any]) -> list[int]:
    return one.get("bytes") or list(str(one["token"]).encode())


def _call(number: str | None, name: str, arguments: str) -> Json:
    return {"id": number or new_id("call_"), "type": "function", "function": {"name": name, "arguments": arguments}}
