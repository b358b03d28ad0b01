"""Faults of a service: each turns a correct answer into a faulty one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from chainkit.testing.server.wire import Hangup, HTTPAnswer, Pause

Fault = Callable[[HTTPAnswer], HTTPAnswer]

JSON = {"content-type": "application/json", "x-request-id": "req_fault"}


def error(
    status: int, message: str, *, kind: str = "invalid_request_error", code: str | None = None, **headers: str
) -> Fault:
    """An error in the shape of the API; underscores in header names become dashes."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: HTTPAnswer(status, JSON | named, (json.dumps(body).encode(),))


def rate_limited(retry_after: str | None = None) -> Fault:
    """429, with or without a Retry-After header."""
    headers = {} if retry_after is None else {"retry_after": retry_after}
    message = "Rate limit reached for gpt-4o-mini on requests per min. Limit: 3, Used: 3, Requested: 1."
    return error(429, message, kind="requests", code="rate_limit_exceeded", **headers)


def server_error(status: int = 500) -> Fault:
    """5xx, as the service words it."""
    return error(
        status, "The server had an error while processing your request. Sorry about that!", kind="server_error"
    )


def plain(body: str, kind: str = "text/html", status: int = 200) -> Fault:
    """A body that is not what the API promises."""
    return lambda _: HTTPAnswer(status, {"content-type": kind}, (body.encode(),))


def html(status: int = 200) -> Fault:
    """A page of some proxy in between."""
    return plain("<html><body><h1>Welcome to nginx!</h1></body></html>", status=status)


def bad_json() -> Fault:
    """JSON that breaks off."""
    return plain('{"id": "chatcmpl-1", "choices": [{"index": 0, "mess', "application/json")


def empty_choices() -> Fault:
    """An answer without an answer."""
    body = '{"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini", "choices": []}'
    return plain(body, "application/json")


def slow(seconds: float) -> Fault:
    """Nothing at all for a while, then the answer."""
    return lambda answer: replace(answer, parts=(Pause(seconds), *answer.parts))


def slow_first_token(seconds: float) -> Fault:
    """The headers at once, the first event after a while."""
    return lambda answer: replace(answer, parts=(b": wait\n\n", Pause(seconds), *answer.parts))


def stall(after: int, seconds: float = 60) -> Fault:
    """Silence in mid-stream."""
    return lambda answer: replace(answer, parts=(*answer.parts[:after], Pause(seconds), *answer.parts[after:]))


def cut(after: int) -> Fault:
    """The connection drops after some events."""
    return lambda answer: replace(answer, parts=(*answer.parts[:after], Hangup()))


def ends_early(after: int) -> Fault:
    """The stream ends in good order, but too soon: no finish reason and no [DONE]."""
    return lambda answer: replace(answer, parts=answer.parts[:after])


def cut_inside_character() -> Fault:
    """The connection drops between two bytes of one character."""

    def apply(answer: HTTPAnswer) -> HTTPAnswer:
        for place, part in enumerate(answer.parts):
            if isinstance(part, bytes) and (first := next((i for i, byte in enumerate(part) if byte > 127), None)):
                return replace(answer, parts=(*answer.parts[:place], part[: first + 1], Hangup()))
        raise AssertionError("the answer has no character of two bytes")

    return apply


def error_event(after: int, message: str = "The server had an error while processing your request") -> Fault:
    """An error in the middle of a stream that began well."""
    event = {"error": {"message": message, "type": "server_error", "code": None, "param": None}}
    data = f"data: {json.dumps(event)}\n\n".encode()
    return lambda answer: replace(answer, parts=(*answer.parts[:after], data))


def bad_event(after: int) -> Fault:
    """An event that is not JSON."""
    return lambda answer: replace(answer, parts=(*answer.parts[:after], b'data: {"id": \n\n', *answer.parts[after:]))


def in_fragments(size: int) -> Fault:
    """The right bytes, cut at wrong places."""

    def apply(answer: HTTPAnswer) -> HTTPAnswer:
        whole = b"".join(part for part in answer.parts if isinstance(part, bytes))
        return replace(answer, parts=tuple(whole[i : i + size] for i in range(0, len(whole), size)))

    return apply
