"""/v1/chat/completions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from starlette.requests import Request
from starlette.responses import Response

from chainkit.server.api.calls import call_of, each, require_short
from chainkit.server.api.merging import merged
from chainkit.server.api.parts import call_deltas, calls_of, finish_of, logprobs_of, new_id, text_of, usage_of
from chainkit.server.fields import ChatBody, Json
from chainkit.server.services import Services, services_of
from chainkit.server.speakers.call import ChatCall, Speaker
from chainkit.server.speakers.choose import speaker_of
from chainkit.server.wire import DONE, EventReply, JSONReply, encoded, event, parsed, unless_gone


async def chat_completions(request: Request) -> Response:
    """Answer a chat, whole or as a stream."""
    services = services_of(request)
    body = parsed(ChatBody, await services.body(request))
    call = call_of(body, services.limits)
    if body.stream:
        return EventReply(_events(services, body, call))
    return JSONReply(await unless_gone(request, _whole(services, body, call)))


async def _whole(services: Services, body: ChatBody, call: ChatCall) -> Json:
    async with services.at_work(body.model, "chat") as served:
        speaker = speaker_of(served)
        require_short(speaker, call, services.limits.prompt_tokens)
        answers = await answers_of(speaker, each(call, body.n or 1))
    usage = usage_of([answer.usage_metadata for answer in answers])
    note_usage(services, body.model, usage)
    choices = [_choice(answer, place, call.logprobs is not None) for place, answer in enumerate(answers)]
    return {**_head(body, "chat.completion"), "choices": choices, "usage": usage}


async def answers_of(speaker: Speaker, calls: Sequence[ChatCall]) -> list[AIMessage]:
    """The answers to calls, computed side by side; the error of one ends all."""
    if len(calls) == 1:
        return [await speaker.answer(calls[0])]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(speaker.answer(call)) for call in calls]
    return [task.result() for task in tasks]


def note_usage(services: Services, model: str, usage: Json) -> None:
    """Count the tokens of a request."""
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    name = services.catalogue.counted_as(model)
    services.metrics.note_tokens(
        name, prompt=usage["prompt_tokens"], completion=usage.get("completion_tokens", 0), cached=cached
    )


def _choice(answer: AIMessage, place: int, with_logprobs: bool) -> Json:
    calls = calls_of(answer)
    message: Json = {
        "role": "assistant",
        "content": text_of(answer) or (None if calls else ""),
        "refusal": answer.additional_kwargs.get("refusal"),
        "annotations": answer.additional_kwargs.get("annotations", []),
    }
    if calls:
        message["tool_calls"] = calls
    if "documents" in answer.additional_kwargs:
        message["documents"] = answer.additional_kwargs["documents"]
    return {
        "index": place,
        "message": message,
        "logprobs": logprobs_of(answer.response_metadata) if with_logprobs else None,
        "finish_reason": finish_of(answer),
    }


async def _events(services: Services, body: ChatBody, call: ChatCall) -> AsyncIterator[bytes]:
    """The stream, as bytes: first the role, then pieces, at last why it ended, and the usage if it was asked for."""
    wants_usage = bool(body.stream_options and body.stream_options.include_usage)
    writer = ChunkWriter(_head(body, "chat.completion.chunk"), wants_usage)
    async with services.at_work(body.model, "chat") as served:
        speaker = speaker_of(served)
        require_short(speaker, call, services.limits.prompt_tokens)
        calls = each(call, body.n or 1)
        ends: list[AIMessageChunk] = [AIMessageChunk(content="")] * len(calls)
        called = [False] * len(calls)
        begun = False
        async for place, chunk in merged([speaker.stream(one) for one in calls]):
            if not begun:
                begun = True
                for index in range(len(calls)):
                    yield writer.delta(index, {"role": "assistant", "content": "", "refusal": None})
            if isinstance(chunk, str):
                yield writer.text(place, chunk)
                continue
            called[place] = called[place] or bool(chunk.tool_call_chunks)
            ends[place] = _later(ends[place], chunk)
            if (piece := writer.piece(place, chunk)) is not None:
                yield piece
    for place, end in enumerate(ends):
        yield writer.end(place, end, called[place])
    usage = usage_of([end.usage_metadata for end in ends])
    note_usage(services, body.model, usage)
    if wants_usage:
        yield event({**writer.head, "choices": [], "usage": usage})
    yield DONE


def _later(before: AIMessageChunk, chunk: AIMessageChunk) -> AIMessageChunk:
    """Metadata for the end of a stream: the later chunk's wins where it has any."""
    if not (chunk.usage_metadata or chunk.response_metadata or chunk.additional_kwargs):
        return before
    metadata = before.response_metadata | {
        name: value for name, value in chunk.response_metadata.items() if name != "logprobs"
    }
    extra = before.additional_kwargs | {
        name: value for name, value in chunk.additional_kwargs.items() if name != "tool_calls"
    }
    return AIMessageChunk(
        content="",
        response_metadata=metadata,
        additional_kwargs=extra,
        usage_metadata=chunk.usage_metadata or before.usage_metadata,
    )


class ChunkWriter:
    """Writes the events of one stream; most of their bytes are the same each time.

    Args:
        head: What all chunks say.
        with_usage: Whether each chunk has a `usage`, null until the last one.
    """

    def __init__(self, head: Json, with_usage: bool) -> None:
        self.head = head
        end = b',"usage":null}\n\n' if with_usage else b"}\n\n"
        self._before = b"data: " + encoded(head)[:-1] + b',"choices":[{"index":'
        self._after = b"}]" + end
        self._plain_end = b'},"logprobs":null,"finish_reason":null' + self._after

    def text(self, place: int, text: str) -> bytes:
        """The event of a text."""
        return b'%s%d,"delta":{"content":%s%s' % (self._before, place, encoded(text), self._plain_end)

    def piece(self, place: int, chunk: AIMessageChunk) -> bytes | None:
        """The event of a chunk, if it says something."""
        text = text_of(chunk)
        scores = logprobs_of(chunk.response_metadata)
        deltas = call_deltas(chunk) if chunk.tool_call_chunks else None
        if scores is None and deltas is None:
            return self.text(place, text) if text else None
        delta: Json = {"content": text} if text or not deltas else {}
        if deltas:
            delta["tool_calls"] = deltas
        return self.delta(place, delta, logprobs=scores)

    def delta(self, place: int, delta: Json, *, logprobs: Json | None = None, finish: str | None = None) -> bytes:
        """The event of any delta."""
        rest = encoded({"delta": delta, "logprobs": logprobs, "finish_reason": finish})
        return b"%s%d,%s%s" % (self._before, place, rest[1:-1], self._after)

    def end(self, place: int, end: AIMessageChunk, called: bool) -> bytes:
        """The last event of an answer: why it ended, and its annotations."""
        more: dict[str, Any] = {
            name: end.additional_kwargs[name]
            for name in ("annotations", "documents", "refusal")
            if end.additional_kwargs.get(name)
        }
        finish = finish_of(end)
        return self.delta(place, more, finish="tool_calls" if called and finish == "stop" else finish)


def _head(body: ChatBody, kind: str) -> Json:
    return {"id": new_id("chatcmpl-"), "object": kind, "created": int(time.time()), "model": body.model}
