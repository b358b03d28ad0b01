"""Reading replies of the Chat Completions API: dicts in, langchain-core's messages out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall, UsageMetadata
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from chainkit.backends.openai.call_pieces import CallPieces
from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.errors import clean, malformed
from chainkit.base.errors import ProviderError, ServerFailed, StreamBroken

Json = Mapping[str, Any]

REASONING_FIELDS = ("reasoning_content", "reasoning")
"""What services call the thoughts of a model before its answer."""


def chat_result(data: Json, connection: Connection, *, translator: str, retries: int = 0) -> ChatResult:
    """The messages of a reply, one for each choice.

    Raises:
        MalformedReply: There is no choice, or one without a message.
        ProviderError: The reply is an error in spite of its status.
    """
    choices = data.get("choices")
    if not choices or not isinstance(choices, list):
        raise no_choices(data, connection)
    shared = metadata(data, translator, retries)
    usage = usage_metadata(data.get("usage"))
    generations = [
        _generation(choice, shared, usage if place == 0 else None, connection) for place, choice in enumerate(choices)
    ]
    return ChatResult(generations=generations)


def _generation(choice: Json, shared: Json, usage: UsageMetadata | None, connection: Connection) -> ChatGeneration:
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise malformed(connection, "a choice without a message", json.dumps(choice))
    calls, invalid = tool_calls(message.get("tool_calls") or ())
    finish: dict[str, Any] = {"finish_reason": choice.get("finish_reason")}
    if choice.get("logprobs"):
        finish["logprobs"] = choice["logprobs"]
    answer = AIMessage(
        content=message.get("content") or "",
        additional_kwargs=extras(message),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=usage,
        response_metadata={**shared, **finish},
    )
    return ChatGeneration(message=answer, generation_info=finish)


def tool_calls(calls: Sequence[Json]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """The calls whose arguments are a JSON object, and those whose arguments are not."""
    valid: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in calls:
        if not isinstance(call, Mapping) or not isinstance(function := call.get("function") or {}, Mapping):
            invalid.append(_invalid(None, call, None, "the call is not a JSON object with a function"))
            continue
        name, given, id_ = function.get("name"), function.get("arguments"), as_id(call.get("id"))
        try:
            arguments = json.loads(given or "{}", strict=False) if isinstance(given, str | None) else given
        except (ValueError, RecursionError) as error:
            invalid.append(_invalid(name, given, id_, str(error)))
            continue
        if name and isinstance(arguments, Mapping):
            valid.append(ToolCall(type="tool_call", name=name, args=dict(arguments), id=id_))
        else:
            reason = "the call has no name" if not name else "the arguments are not a JSON object"
            invalid.append(_invalid(name, given, id_, reason))
    return valid, invalid


def _invalid(name: str | None, arguments: Any, id_: str | None, reason: str) -> InvalidToolCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return InvalidToolCall(type="invalid_tool_call", name=name, args=text, id=id_, error=reason)


def extras(message: Json) -> dict[str, Any]:
    """What a message has beside text and tool calls, named as langchain-core looks for it."""
    found = {name: message[name] for name in ("refusal", "audio", "annotations") if message.get(name)}
    for name in REASONING_FIELDS:
        if message.get(name):
            found["reasoning_content"] = message[name]
            break
    return found


def metadata(data: Json, translator: str, retries: int) -> dict[str, Any]:
    """What a reply says about itself."""
    found: dict[str, Any] = {"model_name": data.get("model"), "model_provider": translator}
    for name in ("id", "system_fingerprint", "service_tier"):
        if data.get(name):
            found[name] = data[name]
    if retries:
        found["retries"] = retries
    return found


def usage_metadata(usage: Json | None) -> UsageMetadata | None:
    """Token counts in langchain-core's words; None if the service sent none.

    >>> usage_metadata({"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}})
    {'input_tokens': 9, 'output_tokens': 3, 'total_tokens': 12, 'input_token_details': {'cache_read': 4}}
    """
    if not usage or not isinstance(usage, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        return None
    asked, given = _count(usage, "prompt_tokens") or 0, _count(usage, "completion_tokens") or 0
    counts = UsageMetadata(
        input_tokens=asked, output_tokens=given, total_tokens=_count(usage, "total_tokens") or asked + given
    )
    into, out = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    read = {"audio": _count(into, "audio_tokens"), "cache_read": _count(into, "cached_tokens")}
    read["cache_creation"] = _count(into, "cache_write_tokens")
    written = {"audio": _count(out, "audio_tokens"), "reasoning": _count(out, "reasoning_tokens")}
    if details := {name: count for name, count in read.items() if count is not None}:
        counts["input_token_details"] = InputTokenDetails(**details)
    if details := {name: count for name, count in written.items() if count is not None}:
        counts["output_token_details"] = OutputTokenDetails(**details)
    return counts


def _count(counts: Any, name: str) -> int | None:
    """A count, or None if malformed: a bad number must not lose an answer."""
    count: Any = cast("Json", counts).get(name) if isinstance(counts, Mapping) else None
    if isinstance(count, bool) or not isinstance(count, int | float) or not 0 <= count < 1 << 53:
        return None
    return int(count)


def as_id(value: Any) -> str | None:
    """An id; some services number them."""
    return value if isinstance(value, str | None) else str(value)


def no_choices(data: Json, connection: Connection) -> ProviderError:
    """The error for a reply without an answer; some services put their errors there, under status 200."""
    if error := data.get("error"):
        message = error.get("message", error) if isinstance(error, Mapping) else error
        return ServerFailed(
            f"{connection.provider} answered with an error: {clean(str(message), connection)}",
            provider=connection.provider,
        )
    return malformed(connection, "a reply without choices", json.dumps(data))


class ChatReading:
    """Turns the events of a chat stream into message chunks; see `calls.Reading`.

    Text, thoughts and pieces of tool calls are passed on as they come. All that is said about the whole (finish
    reason, usage, names) is collected in one last chunk, so that sums of chunks count nothing twice.
    """

    def __init__(self, connection: Connection, *, translator: str) -> None:
        self.retries = 0
        self.complete = False
        self._texts: list[str] = []
        self._calls = CallPieces()
        self._connection = connection
        self._translator = translator
        self._head: dict[str, Any] = {}
        self._usage: Json | None = None
        self._finish: str | None = None
        self._logprobs: list[Any] = []

    @property
    def partial(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    def read(self, event: dict[str, Any]) -> ChatGenerationChunk | None:
        """The chunk of one event, if it has anything to pass on."""
        if not self._head.get("model"):
            self._head = event
        if event.get("usage"):
            self._usage = event["usage"]
        choices = event.get("choices")
        if not choices:
            return None
        choice = choices[0]
        if choice.get("finish_reason"):
            self._finish = choice["finish_reason"]
            self._head = {**self._head, **{k: v for k, v in event.items() if k in _LATE_FIELDS and v}}
        if choice.get("logprobs"):
            self._logprobs.extend(choice["logprobs"].get("content") or ())
        return self._chunk(choice.get("delta") or {})

    def _chunk(self, delta: Json) -> ChatGenerationChunk | None:
        text = delta.get("content") or ""
        if text:
            self._texts.append(text)
            if len(delta) == 1:
                return ChatGenerationChunk(message=AIMessageChunk(content=text))
        calls = self._calls.chunks(delta.get("tool_calls") or ())
        more = extras(delta)
        if not text and not calls and not more:
            return None
        return ChatGenerationChunk(message=AIMessageChunk(content=text, tool_call_chunks=calls, additional_kwargs=more))

    def end(self, *, announced: bool) -> ChatGenerationChunk:
        """The last chunk, with the metadata of the whole."""
        if not announced and self._finish is None:
            raise StreamBroken(
                f"the stream of {self._connection.provider} ended after {len(self.partial)} characters without a "
                "finish reason; .partial has them",
                provider=self._connection.provider,
                retries=self.retries,
            )
        finish: dict[str, Any] = {"finish_reason": self._finish}
        if self._logprobs:
            finish["logprobs"] = {"content": self._logprobs}
        message = AIMessageChunk(
            content="",
            tool_call_chunks=self._calls.end(self._finish),
            chunk_position="last",
            usage_metadata=usage_metadata(self._usage),
            response_metadata={**metadata(self._head, self._translator, self.retries), **finish},
        )
        return ChatGenerationChunk(message=message, generation_info=finish)


_LATE_FIELDS = ("system_fingerprint", "service_tier", "id")
