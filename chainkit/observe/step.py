"""One step of a trace, and how it is read from a run of langchain-core's tracer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.tracers.schemas import Run
from pydantic import BaseModel

from chainkit.base.redaction import Redaction
from chainkit.observe.prices import price

_SETTINGS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "n", "tool_choice")
_MODELS = frozenset({"llm", "chat_model"})
_DETAILS = ("finish_reason", "answered_by", "errors", "retries", "system_fingerprint")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: a chain, a prompt, a model, a parser, a tool or a retriever.

    Attributes:
        kind: `chain`, `prompt`, `model`, `parser`, `tool` or `retriever`.
        started: When, in UTC.
        seconds: How long it took; None if it had not ended.
        inputs: Input, as JSON values.
        output: Output, as JSON values; None if it failed.
        messages: For a model: the exact prompt as (role, content) pairs; a text prompt has the role `text`.
        answer: For a model: the text of its answer.
        model: The name that the service gave back, or else the one that was asked for.
        input_tokens: None if the model did not say; likewise the other numbers.
        cost: Estimated US dollars; None if the price is not known.
        error: The error's name and words.
        settings: For a model: the settings of the call.
        details: For a model: what came with the answer, such as `finish_reason` or `answered_by`.
        children: The steps inside it, in the order in which they began.
    """

    id: str
    name: str
    kind: str
    started: datetime
    seconds: float | None = None
    inputs: Any = None
    output: Any = None
    messages: tuple[tuple[str, Any], ...] = ()
    answer: str = ""
    model: str = ""
    provider: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cost: float | None = None
    error: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    children: tuple[Step, ...] = ()

    def walk(self) -> Iterator[Step]:
        """This step and all inside it."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def models(self) -> tuple[Step, ...]:
        """The calls of models in it."""
        return tuple(step for step in self.walk() if step.kind == "model")


def from_run(run: Run, redaction: Redaction) -> Step:
    """A step and those inside it, without API keys; texts are whole."""
    clean = redaction.value
    seconds = (run.end_time - run.start_time).total_seconds() if run.end_time else None
    if run.run_type in _MODELS:
        fields = _model_fields(run, clean)
    else:
        inputs, outputs = _unwrapped(as_json(run.inputs), "input"), _unwrapped(as_json(run.outputs), "output")
        fields: dict[str, Any] = {"kind": run.run_type, "inputs": clean(inputs), "output": clean(outputs)}
    return Step(
        id=str(run.id),
        name=run.name,
        started=_utc(run.start_time),
        seconds=seconds,
        error=redaction.text(_first_words(run.error)) if run.error else "",
        children=tuple(from_run(child, redaction) for child in run.child_runs),
        **fields,
    )


def as_json(value: Any) -> Any:
    """A value as JSON can hold it; objects of langchain-core by what they say, others by their name."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, BaseMessage):
        tools = getattr(value, "tool_calls", None)
        return {"role": value.type, "content": as_json(value.content)} | (
            {"tool_calls": as_json(tools)} if tools else {}
        )
    if isinstance(value, PromptValue):
        return [as_json(message) for message in value.to_messages()]
    if isinstance(value, Document):
        return {"page_content": value.page_content, "metadata": as_json(value.metadata)}
    if isinstance(value, Mapping):
        return {str(name): as_json(part) for name, part in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(part) for part in cast("list[Any]", value)]
    if isinstance(value, BaseModel):
        return {name: as_json(part) for name, part in value if not name.startswith("_")}
    return f"<{type(value).__name__}>"


def _model_fields(run: Run, clean: Callable[[Any], Any]) -> dict[str, Any]:
    extra: dict[str, Any] = run.extra or {}
    asked = {**extra.get("metadata", {})}
    params: dict[str, Any] = extra.get("invocation_params") or {}
    message, text = _answer(run.outputs or {})
    reported: dict[str, Any] = message.get("response_metadata") or {}
    usage: dict[str, Any] = message.get("usage_metadata") or _text_usage(run.outputs or {})
    provider = str(asked.get("ls_provider") or reported.get("model_provider") or "")
    model = str(reported.get("model_name") or asked.get("ls_model_name") or "")
    tokens = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    cached = _count(_mapping(usage.get("input_token_details")).get("cache_read"))
    answer = {"content": message.get("content", text), "tool_calls": message.get("tool_calls") or []}
    return {
        "kind": "model",
        "messages": tuple((role, clean(content)) for role, content in _prompt(run.inputs or {})),
        "answer": clean(text),
        "output": clean(as_json(answer)) if message or text else None,
        "model": model,
        "provider": provider,
        "input_tokens": tokens[0],
        "output_tokens": tokens[1],
        "cached_tokens": cached,
        "cost": _cost(provider, model, tokens, cached),
        "settings": clean({name: as_json(params[name]) for name in _SETTINGS if params.get(name) is not None}),
        "details": clean({name: as_json(reported[name]) for name in _DETAILS if reported.get(name) is not None}),
    }


def _cost(provider: str, model: str, tokens: tuple[int | None, int | None], cached: int | None) -> float | None:
    known = price(provider, model)
    if known is None or tokens[0] is None or tokens[1] is None:
        return None
    return known.of(tokens[0], tokens[1], cached or 0)


def _prompt(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for text in inputs.get("prompts") or ():
        yield "text", text
    for conversation in inputs.get("messages") or ():
        for message in conversation:
            fields: dict[str, Any] = message.get("kwargs", {})
            content = as_json(fields.get("content", ""))
            calls = as_json(fields.get("tool_calls"))
            yield str(fields.get("type", "")), {"content": content, "tool_calls": calls} if calls else content


def _answer(outputs: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    generations = outputs.get("generations") or [[]]
    if not generations[0]:
        return {}, ""
    first: dict[str, Any] = generations[0][0]
    message: Any = first.get("message") or {}
    return message.get("kwargs", {}), str(first.get("text") or "")


def _text_usage(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The token counts of a model that continues text: beside the answers, or in the last piece of a stream."""
    generations = outputs.get("generations") or [[]]
    first: dict[str, Any] = generations[0][0] if generations[0] else {}
    info: dict[str, Any] = first.get("generation_info") or {}
    if known := info.get("usage_metadata"):
        return dict(known)
    for place in (outputs.get("llm_output"), info):
        reported = _mapping((place or {}).get("token_usage"))
        read, written = _count(reported.get("prompt_tokens")), _count(reported.get("completion_tokens"))
        if read is not None or written is not None:
            cached = _count(_mapping(reported.get("prompt_tokens_details")).get("cached_tokens"))
            return {
                "input_tokens": read,
                "output_tokens": written,
                "input_token_details": {"cache_read": cached},
            }
    return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _count(value: Any) -> int | None:
    """A count of tokens; what a service says instead of a number is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _unwrapped(value: Any, name: str) -> Any:
    """Tracers wrap other values in a dictionary."""
    return value[name] if isinstance(value, dict) and list(cast("dict[str, Any]", value)) == [name] else value


def _first_words(error: str) -> str:
    """langchain-core's tracer appends a traceback to the error."""
    return error.split("Traceback (most recent call last)")[0].strip()


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def dumped(value: Any) -> str:
    """JSON for a file or a screen."""
    return json.dumps(value, ensure_ascii=False)
