"""A service on loopback that speaks OpenAI's API as its recorded replies do, and fails on request.

    with running() as server:
        server.fail(faults.rate_limited("0.1"))  # the next request only
        OpenAIChat(model="gpt-4o-mini", base_url=server.base_url, api_key=server.key).invoke("Hello")
        server.bodies[-1]["messages"]

What the real service refuses is refused here, in its words: unknown parameters, wrong message shapes, images in
tool messages, schemas that are not strict, too long prompts, unknown models, wrong keys.
"""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from chainkit.testing.server import checks, features, model
from chainkit.testing.server.batches import Answered, BatchService
from chainkit.testing.server.checks import Refusal
from chainkit.testing.server.faults import Fault
from chainkit.testing.server.model import Said
from chainkit.testing.server.responses import Responses, events
from chainkit.testing.server.wire import HTTPAnswer, HTTPRequest, Server

Json = dict[str, Any]
FINGERPRINT = "fp_44709d6fcb"
JSON_HEADERS = {"content-type": "application/json", "openai-processing-ms": "7"}
SSE_HEADERS = {"content-type": "text/event-stream; charset=utf-8"}


class OpenAIServer(Server):
    """The service; see the module.

    Attributes:
        key: The one API key it takes; None takes any, also none at all.
        says_usage: Whether streams can tell their usage.
        sends_base64: Whether embeddings that are asked for in base64 come so.
        refuses: Features, of `features.FEATURES`, that it answers with an error.
        ignores: Features that it takes and does nothing about.
        batches: Its batch API.
    """

    def __init__(self, key: str | None = "sk-right", tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._respond, tls)
        self.key = key
        self.says_usage = True
        self.sends_base64 = True
        self.refuses: set[str] = set()
        self.ignores: set[str] = set()
        self._faults: deque[Fault] = deque()
        self._ids = count(1)
        self._lock = threading.Lock()
        self._responses = Responses()
        self.batches = BatchService(self._in_a_batch)

    @property
    def base_url(self) -> str:
        """The address to give to a client."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[Json]:
        """The JSON of every request that had a body."""
        return [request.json for request in self.requests if request.body and request.body.startswith(b"{")]

    def fail(self, fault: Fault, times: int = 1) -> None:
        """Let the next request, or the next few, go wrong."""
        self._faults.extend([fault] * times)

    def _respond(self, request: HTTPRequest) -> HTTPAnswer:
        with self._lock:
            number = next(self._ids)
            fault = self._faults.popleft() if self._faults else None
        try:
            answer = self._right(request, f"{number:06d}")
        except Refusal as refusal:
            answer = HTTPAnswer(refusal.status, JSON_HEADERS, (json.dumps({"error": refusal.error}).encode(),))
        headers = {"x-request-id": f"req_{number:06d}", **answer.headers}
        answer = HTTPAnswer(answer.status, headers, answer.parts, answer.streamed)
        return fault(answer) if fault else answer

    def _right(self, request: HTTPRequest, number: str) -> HTTPAnswer:
        checks.key(request, self.key)
        path = request.path.split("?")[0]
        features.refuse(path, self.refuses)
        if path == "/v1/models":
            models = [{"id": name, "object": "model", "created": 1, "owned_by": "system"} for name in checks.MODELS]
            return _whole({"object": "list", "data": models})
        if (found := self.batches.respond(request)) is not None:
            return _whole(found) if isinstance(found, dict) else HTTPAnswer(200, JSON_HEADERS, (found,))
        body = features.reduced(checks.body(request), self.refuses, self.ignores)
        match path:
            case "/v1/chat/completions":
                return self._chat(body, number)
            case "/v1/completions":
                return self._complete(body, number)
            case "/v1/embeddings":
                return self._embed(body)
            case "/v1/responses":
                return self._respond_with_items(body, number)
        raise Refusal(404, f"Invalid URL ({request.method} {path})")

    def _in_a_batch(self, path: str, body: Json) -> Answered:
        """The status and the body of an answer to a line of a file."""
        try:
            checks_only = HTTPRequest("POST", path, {"content-type": "application/json"}, json.dumps(body).encode())
            number = f"{next(self._ids):06d}"
            body = features.reduced(checks.body(checks_only), self.refuses, self.ignores)
            answer = self._chat(body, number) if path.endswith("/chat/completions") else self._embed(body)
        except Refusal as refusal:
            return refusal.status, {"error": refusal.error}
        return answer.status, json.loads(b"".join(part for part in answer.parts if isinstance(part, bytes)))

    def _chat(self, body: Json, number: str) -> HTTPAnswer:
        checks.chat(body)
        said = model.chat(body)
        choices = [_choice(said, body, number, index) for index in range(body.get("n") or 1)]
        usage = _usage(body, choices)
        if body.get("stream"):
            events = _chat_events(body, choices, usage if self.says_usage else None, number)
            return _stream(events)
        head = _head("chat.completion", body, number)
        return _whole({**head, "choices": choices, "usage": usage, "service_tier": "default"})

    def _complete(self, body: Json, number: str) -> HTTPAnswer:
        checks.completion(body)
        prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
        texts = [model.complete(prompt) for prompt in prompts for _ in range(body.get("n") or 1)]
        choices = [_text_choice(text, body, index) for index, text in enumerate(texts)]
        asked = sum(len(model.pieces(prompt)) for prompt in prompts)
        given = sum(len(model.pieces(choice["text"])) for choice in choices)
        usage = {"prompt_tokens": asked, "completion_tokens": given, "total_tokens": asked + given}
        head = {**_head("text_completion", body, number), "id": f"cmpl-{number}"}
        if body.get("stream"):
            return _stream(_text_events(head, body, choices, usage))
        return _whole({**head, "choices": choices, "usage": usage})

    def _respond_with_items(self, body: Json, number: str) -> HTTPAnswer:
        answer = self._responses.answer(body, number)
        if not body.get("stream"):
            return _whole(answer)
        parts = [
            f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
            for event in events(answer)
        ]
        return HTTPAnswer(200, SSE_HEADERS, tuple(parts), streamed=True)  # this API ends without [DONE]

    def _embed(self, body: Json) -> HTTPAnswer:
        checks.embedding(body)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        width = body.get("dimensions") or 16
        vectors = [model.vector(text, width) for text in texts]
        as_text = body.get("encoding_format") == "base64" and self.sends_base64
        data = [
            {"object": "embedding", "index": place, "embedding": _packed(values) if as_text else values}
            for place, values in enumerate(vectors)
        ]
        tokens = sum(len(model.pieces(text)) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _whole({"object": "list", "data": data[::-1], "model": body["model"], "usage": usage})


@contextlib.contextmanager
def running(key: str | None = "sk-right", tls: ssl.SSLContext | None = None) -> Iterator[OpenAIServer]:
    """A service; its address is `base_url`, its key `key`."""
    server = OpenAIServer(key, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """The address of a service that takes any key."""
    with running(key=None) as server:
        yield server.base_url


def _head(kind: str, body: Json, number: str) -> Json:
    return {
        "id": f"chatcmpl-{number}",
        "object": kind,
        "created": int(time.time()),
        "model": body["model"],
        "system_fingerprint": FINGERPRINT,
    }


def _choice(said: Said, body: Json, number: str, index: int) -> Json:
    message: Json = {"role": "assistant", "content": said.text, "refusal": said.refusal, "annotations": []}
    finish = "stop"
    if said.reasoning is not None:
        message["reasoning_content"] = said.reasoning
    if said.calls:
        finish = "tool_calls"
        message["tool_calls"] = [
            {
                "id": f"call_{number}_{place}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
            }
            for place, (name, arguments) in enumerate(said.calls)
        ]
        if "tool_choice" in body and body["tool_choice"] not in ("auto", "required"):
            finish = "stop"  # so does the real service when one function is demanded by name
    elif said.text is not None:
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        message["content"], finish = _limited(said.text, body.get("stop"), limit)
    choice: Json = {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": _logprobs(message["content"] or "", body), "refusal": None}
    return choice


def _limited(text: str, stop: Any, limit: int | None) -> tuple[str, str]:
    for mark in [stop] if isinstance(stop, str) else stop or []:
        text = text.split(mark)[0]
    tokens = model.pieces(text)
    if limit is not None and len(tokens) > limit:
        return "".join(tokens[:limit]), "length"
    return text, "stop"


def _logprobs(text: str, body: Json) -> list[Json]:
    top = [{"token": "x", "logprob": -3.0, "bytes": [120]}] * (body.get("top_logprobs") or 0)
    return [
        {"token": piece, "logprob": -0.25, "bytes": list(piece.encode()), "top_logprobs": top}
        for piece in model.pieces(text)
    ]


def _usage(body: Json, choices: list[Json]) -> Json:
    asked = sum(len(model.pieces(model.text_of(message))) + 3 for message in body["messages"])
    written = [choice["message"]["content"] or json.dumps(choice["message"].get("tool_calls")) for choice in choices]
    given = sum(len(model.pieces(text)) for text in written)
    thought = sum(len(model.pieces(choice["message"].get("reasoning_content") or "")) for choice in choices)
    cached = asked // 2 if body["model"].startswith("cached") else 0
    return {
        "prompt_tokens": asked,
        "completion_tokens": given + thought,
        "total_tokens": asked + given + thought,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": thought,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _chat_events(body: Json, choices: list[Json], usage: Json | None, number: str) -> Iterator[Json]:
    head = _head("chat.completion.chunk", body, number)
    wants_usage = (body.get("stream_options") or {}).get("include_usage") and usage is not None
    silent = {"usage": None} if wants_usage else {}
    for choice in choices:
        for delta, finish, logprobs in _deltas(choice):
            part = {"index": choice["index"], "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            yield {**head, "choices": [part], **silent}
    if wants_usage:
        yield {**head, "choices": [], "usage": usage}


def _deltas(choice: Json) -> Iterator[tuple[Json, str | None, Json | None]]:
    message = choice["message"]
    yield {"role": "assistant", "content": None if message.get("tool_calls") else "", "refusal": None}, None, None
    for piece in model.pieces(message.get("reasoning_content") or ""):
        yield {"reasoning_content": piece}, None, None
    for piece in model.pieces(message["refusal"] or ""):
        yield {"refusal": piece}, None, None
    scored = (choice["logprobs"] or {}).get("content") or []
    for place, piece in enumerate(model.pieces(message["content"] or "")):
        yield {"content": piece}, None, {"content": [scored[place]], "refusal": None} if scored else None
    for index, call in enumerate(message.get("tool_calls") or []):
        yield {"tool_calls": [{"index": index, **call, "function": {**call["function"], "arguments": ""}}]}, None, None
        arguments = call["function"]["arguments"]
        for start in range(0, len(arguments), 5):
            part = {"index": index, "function": {"arguments": arguments[start : start + 5]}}
            yield {"tool_calls": [part]}, None, None
    yield {}, choice["finish_reason"], None


def _text_choice(text: str, body: Json, index: int) -> Json:
    text, finish = _limited(text, body.get("stop"), body.get("max_tokens") or 16)
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _text_events(head: Json, body: Json, choices: list[Json], usage: Json) -> Iterator[Json]:
    wants_usage = (body.get("stream_options") or {}).get("include_usage")
    for choice in choices:
        for piece in model.pieces(choice["text"]):
            yield {**head, "choices": [{**choice, "text": piece, "finish_reason": None}]}
        yield {**head, "choices": [{**choice, "text": ""}]}
    if wants_usage:
        yield {**head, "choices": [], "usage": usage}


def _whole(body: Mapping[str, Any]) -> HTTPAnswer:
    return HTTPAnswer(200, JSON_HEADERS, (json.dumps(body, ensure_ascii=False).encode(),))


def _stream(events: Iterator[Json]) -> HTTPAnswer:
    parts = [f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode() for event in events]
    return HTTPAnswer(200, SSE_HEADERS, (*parts, b"data: [DONE]\n\n"), streamed=True)


def _packed(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


if __name__ == "__main__":
    with serve() as address:
        print(address, flush=True)  # noqa: T201 - this is how a process that started it learns the address
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
