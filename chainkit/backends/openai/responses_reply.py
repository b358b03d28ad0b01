"""Reading replies of the Responses API: dicts in, langchain-core's messages out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.errors import clean, malformed
from chainkit.backends.openai.reply import metadata, no_choices, tool_calls, usage_metadata
from chainkit.base.errors import BadRequest, ProviderError, RateLimited, ServerFailed, StreamBroken
from chainkit.decoding.stops import StopScanner
from chainkit.decoding.unfinished import mark_of_cut, unfinished

Json = Mapping[str, Any]

TRANSLATOR = "openai"
"""langchain-core's name for the blocks of this API, for every service."""
FINISH = {"max_output_tokens": "length"}


def responses_result(data: Json, connection: Connection, *, stop: Sequence[str], retries: int = 0) -> ChatResult:
    """The message of a reply; its content is a list of blocks: texts, refusals, thoughts, calls, in their order.

    Raises:
        MalformedReply: There is no output.
        ServerFailed: The service says that it failed; or RateLimited, or BadRequest.
    """
    if data.get("status") in ("failed", "cancelled"):
        raise failed(data, connection)
    if data.get("status") in ("queued", "in_progress"):
        problem = f"an answer that is still to come (status {data['status']}, id {data.get('id')})"
        raise malformed(connection, f"{problem}; what runs in the background is not waited for here")
    output = data.get("output")
    if not isinstance(output, list):
        known = no_choices(data, connection) if data.get("error") else None
        raise known or malformed(connection, "a reply without output", json.dumps(data))
    content, logprobs = list(_blocks(output)), list(_logprobs(output))
    calls, invalid = tool_calls([_chat_call(item) for item in output if item.get("type") == "function_call"])
    cut = cut_at(content, stop)
    finish = _finish(data, bool(calls or invalid), logprobs)
    if cut:
        finish["finish_reason"] = "stop"
    answer = AIMessage(
        content=cast("list[str | dict[str, Any]]", content),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=responses_usage(data.get("usage")),
        response_metadata={**metadata(data, TRANSLATOR, retries), **finish},
    )
    return ChatResult(generations=[ChatGeneration(message=answer, generation_info=finish)])


def _blocks(output: Sequence[Json]) -> Iterator[dict[str, Any]]:
    for item in output:
        if item.get("type") != "message":
            yield {name: value for name, value in item.items() if value is not None}
            continue
        shared = {name: item[name] for name in ("id", "phase") if item.get(name)}
        for part in item.get("content") or ():
            if part.get("type") == "refusal":
                yield {"type": "refusal", "refusal": part.get("refusal") or "", **shared}
            else:
                notes = {"annotations": part["annotations"]} if part.get("annotations") else {}
                yield {"type": "text", "text": part.get("text") or "", **notes, **shared}


def _logprobs(output: Sequence[Json]) -> Iterator[Json]:
    for item in output:
        if item.get("type") == "message":
            for part in item.get("content") or ():
                yield from part.get("logprobs") or ()


def _chat_call(item: Json) -> Json:
    return {"id": item.get("call_id"), "function": {"name": item.get("name"), "arguments": item.get("arguments")}}


def cut_at(content: list[dict[str, Any]], stop: Sequence[str]) -> bool:
    """End the text before the first of the stop texts, since this API does not; True if there was one."""
    for place, block in enumerate(content):
        if block["type"] == "text":
            scanner = StopScanner(stop)
            kept = scanner.feed(block["text"])
            block["text"] = kept + scanner.flush()
            if scanner.stopped:
                content[place + 1 :] = [later for later in content[place + 1 :] if later["type"] != "text"]
                return True
    return False


def _finish(data: Json, calls: bool, logprobs: list[Any]) -> dict[str, Any]:
    """Why the answer ended, in the words of Chat Completions."""
    reason = (data.get("incomplete_details") or {}).get("reason")
    if data.get("status") == "incomplete" or reason:
        ending = FINISH.get(reason or "", reason or "incomplete")
    else:
        ending = "tool_calls" if calls else "stop"
    found: dict[str, Any] = {"finish_reason": ending}
    if logprobs:
        found["logprobs"] = {"content": logprobs}
    return found


def responses_usage(usage: Json | None) -> UsageMetadata | None:
    """Token counts in langchain-core's words; None if the service sent none."""
    if not usage:
        return None
    return usage_metadata(
        {
            "prompt_tokens": usage.get("input_tokens"),
            "completion_tokens": usage.get("output_tokens"),
            "total_tokens": usage.get("total_tokens"),
            "prompt_tokens_details": usage.get("input_tokens_details"),
            "completion_tokens_details": usage.get("output_tokens_details"),
        }
    )


def failed(data: Json, connection: Connection) -> ProviderError:
    """The error for an answer that the service gave up."""
    code = (data.get("error") or {}).get("code") or "server_error"
    message = f"{connection.provider} answered with an error: {_reason(data, connection)}"
    if code == "rate_limit_exceeded":
        return RateLimited(message, provider=connection.provider)
    kind = ServerFailed if code == "server_error" else BadRequest
    return kind(message, provider=connection.provider)


def _reason(data: Json, connection: Connection) -> str:
    error = data.get("error") or {}
    words = [str(error[name]) for name in ("code", "message") if error.get(name)]
    return clean(": ".join(words) or f"status {data.get('status')}", connection)


class ResponsesReading:
    """Turns the events of a stream into message chunks; see `calls.Reading`.

    Each text, thought and call is a block with a separate index, so that sums of chunks put every piece where it
    belongs. Metadata on the whole is in the last chunk.
    """

    def __init__(self, connection: Connection, *, stop: Sequence[str] = ()) -> None:
        self.retries = 0
        self.complete = False
        self._connection = connection
        self._texts: list[str] = []
        self._places: dict[tuple[int, int], int] = {}
        self._argued: dict[int, str] = {}
        self._logprobs: list[Any] = []
        self._head: Json = {}
        self._last: Json | None = None
        self._scanner = StopScanner(stop) if stop else None

    @property
    def partial(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    def read(self, event: dict[str, Any]) -> ChatGenerationChunk | None:
        """The chunk of one event, if it has anything to pass on."""
        reader = _READERS.get(event.get("type", ""))
        return reader(self, event) if reader else None

    def _place(self, event: Json, part: int | None = None) -> tuple[int, bool]:
        """The number of a block, and whether it is new."""
        key = (event.get("output_index") or 0, (event.get("content_index") or 0) if part is None else part)
        found = self._places.get(key)
        if found is not None:
            return found, False
        self._places[key] = len(self._places)
        return self._places[key], True

    def _text(self, event: Json) -> ChatGenerationChunk | None:
        text = event.get("delta") or ""
        if scored := event.get("logprobs"):
            self._logprobs.extend(scored)
        if self._scanner:
            text = self._scanner.feed(text)
            self.complete = self._scanner.stopped
        if not text:
            return None
        self._texts.append(text)
        index, new = self._place(event)
        block: dict[str, Any] = {"type": "text", "text": text, "index": index}
        if new and event.get("item_id"):
            block["id"] = event["item_id"]
        return _chunk(block)

    def _text_done(self, event: Json) -> ChatGenerationChunk | None:
        held = self._scanner.flush() if self._scanner else ""
        if not held:
            return None
        self._texts.append(held)
        return _chunk({"type": "text", "text": held, "index": self._place(event)[0]})

    def _annotation(self, event: Json) -> ChatGenerationChunk:
        index, _ = self._place(event)
        return _chunk({"type": "text", "text": "", "annotations": [event.get("annotation")], "index": index})

    def _refusal(self, event: Json) -> ChatGenerationChunk:
        index, new = self._place(event)
        id_ = {"id": event["item_id"]} if new and event.get("item_id") else {}
        return _chunk({"type": "refusal", "refusal": event.get("delta") or "", "index": index, **id_})

    def _added(self, event: Json) -> ChatGenerationChunk | None:
        item = event.get("item") or {}
        match item.get("type"):
            case "function_call":
                index, _ = self._place(event, 0)
                named = {"name": item.get("name"), "call_id": item.get("call_id"), "arguments": ""}
                ids = {"id": item["id"]} if item.get("id") else {}
                call = ToolCallChunk(
                    type="tool_call_chunk", name=item.get("name"), args="", id=item.get("call_id"), index=index
                )
                return _chunk({"type": "function_call", **named, **ids, "index": index}, call)
            case "reasoning":
                index, _ = self._place(event, 0)
                return _chunk({"type": "reasoning", "id": item.get("id"), "summary": [], "index": index})
            case "message" if item.get("phase"):
                index, _ = self._place(event, 0)
                block = {"type": "text", "text": "", "phase": item["phase"], "id": item.get("id"), "index": index}
                return _chunk(block)
        return None

    def _arguments(self, event: Json) -> ChatGenerationChunk:
        return self._argument(event, event.get("delta") or "")

    def _argument(self, event: Json, text: str) -> ChatGenerationChunk:
        index, _ = self._place(event, 0)
        self._argued[index] = self._argued.get(index, "") + text
        call = ToolCallChunk(type="tool_call_chunk", name=None, args=text, id=None, index=index)
        return _chunk({"type": "function_call", "arguments": text, "index": index}, call)

    def _thought(self, event: Json) -> ChatGenerationChunk:
        index, _ = self._place(event, 0)
        part = {"type": "summary_text", "text": event.get("delta") or "", "index": event.get("summary_index") or 0}
        return _chunk({"type": "reasoning", "summary": [part], "index": index})

    def _open_thought(self, event: Json) -> ChatGenerationChunk:
        index, _ = self._place(event, 0)
        part = {"type": "reasoning_text", "text": event.get("delta") or "", "index": event.get("content_index") or 0}
        return _chunk({"type": "reasoning", "summary": [], "content": [part], "index": index})

    def _done(self, event: Json) -> ChatGenerationChunk | None:
        item = event.get("item") or {}
        match item.get("type"):
            case "message":
                return None
            case "function_call":
                index, _ = self._place(event, 0)
                missing = item.get("arguments") if index not in self._argued else None
                return self._argument(event, missing) if missing else None
            case "reasoning":
                if not item.get("encrypted_content"):
                    return None
                index, _ = self._place(event, 0)
                block = {"type": "reasoning", "summary": [], "encrypted_content": item["encrypted_content"]}
                return _chunk({**block, "index": index})
        index, _ = self._place(event, 0)
        return _chunk({**{name: value for name, value in item.items() if value is not None}, "index": index})

    def _begun(self, event: Json) -> None:
        self._head = event.get("response") or {}

    def _ended(self, event: Json) -> None:
        self._last = event.get("response") or {}
        self.complete = True

    def _failed(self, event: Json) -> None:
        reason = _reason(event.get("response") or {"error": event}, self._connection)
        raise StreamBroken(
            f"{self._connection.provider} broke off the stream: {reason}", provider=self._connection.provider
        )

    def _cut_calls(self, finish: str | None) -> list[ToolCallChunk]:
        """What makes calls that are not whole invalid ones."""
        why = "cut: the limit of tokens was reached" if finish == "length" else "cut: the service sent no more of it"
        return [
            ToolCallChunk(type="tool_call_chunk", name=None, args=mark_of_cut(arguments, why), id=None, index=index)
            for index, arguments in self._argued.items()
            if arguments.strip() and unfinished(arguments)
        ]

    def end(self, *, announced: bool) -> ChatGenerationChunk:
        """The last chunk, with the metadata of the whole."""
        stopped = self._scanner is not None and self._scanner.stopped
        if self._last is None and not stopped:
            raise StreamBroken(
                f"the stream of {self._connection.provider} ended after {len(self.partial)} characters without its "
                "last event; .partial has them",
                provider=self._connection.provider,
                retries=self.retries,
            )
        data = self._last or self._head
        calls = any(item.get("type") == "function_call" for item in data.get("output") or ())
        finish = _finish({} if stopped else data, calls and not stopped, self._logprobs)
        message = AIMessageChunk(
            content=[],
            tool_call_chunks=self._cut_calls(finish["finish_reason"]),
            chunk_position="last",
            usage_metadata=responses_usage(data.get("usage")),
            response_metadata={**metadata(data, TRANSLATOR, self.retries), **finish},
        )
        return ChatGenerationChunk(message=message, generation_info=finish)


_READERS: dict[str, Callable[[ResponsesReading, Json], ChatGenerationChunk | None]] = {
    "response.output_text.delta": ResponsesReading._text,
    "response.output_text.done": ResponsesReading._text_done,
    "response.output_text.annotation.added": ResponsesReading._annotation,
    "response.refusal.delta": ResponsesReading._refusal,
    "response.output_item.added": ResponsesReading._added,
    "response.output_item.done": ResponsesReading._done,
    "response.function_call_arguments.delta": ResponsesReading._arguments,
    "response.reasoning_summary_text.delta": ResponsesReading._thought,
    "response.reasoning_text.delta": ResponsesReading._open_thought,
    "response.created": ResponsesReading._begun,
    "response.completed": ResponsesReading._ended,
    "response.incomplete": ResponsesReading._ended,
    "response.failed": ResponsesReading._failed,
    "error": ResponsesReading._failed,
}


def _chunk(block: dict[str, Any], *calls: ToolCallChunk) -> ChatGenerationChunk:
    message = AIMessageChunk(
        content=[block],
        tool_call_chunks=list(calls),
        response_metadata={"model_provider": TRANSLATOR},  # langchain-core reads the blocks of each chunk by it
    )
    return ChatGenerationChunk(message=message)
