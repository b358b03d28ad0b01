"""How answers are read and judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from chainkit.doctor.finding import Finding, State
from chainkit.doctor.wire import WireReply, dug, number, told_usage


def judged(feature: str, reply: WireReply, fits: bool, seen: str, otherwise: str, **facts: Any) -> Finding:
    """The finding for an answer: refused, failed, or whether it shows what the feature promises.

    Args:
        feature: Its name.
        reply: The answer.
        fits: Whether it shows the feature.
        seen: What to say if it does.
        otherwise: What to say if it does not.
        facts: For programs.
    """
    if (bad := refused(feature, reply)) is not None:
        return bad
    state: State = "works" if fits else "ignored"
    return Finding(feature=feature, state=state, detail=seen if fits else otherwise, status=reply.status, facts=facts)


def refused(feature: str, reply: WireReply) -> Finding | None:
    """The finding for an answer that is an error or no JSON; None for any other."""
    if reply.good:
        return None
    if reply.error is None:
        detail = f"no JSON: {reply.words[:200]!r}" if reply.words else "an empty answer"
        return Finding(feature=feature, state="failed", detail=detail, status=reply.status)
    state: State = "refused" if reply.status < 500 and reply.status not in {401, 403, 408, 429} else "failed"
    return Finding(feature=feature, state=state, detail=f"{reply.status}: {reply.words}", status=reply.status)


def said(reply: WireReply) -> str:
    """The text of an answer, whole or streamed."""
    parts = [dug(reply.body, "choices", 0, "message", "content")]
    parts += [dug(event, "choices", 0, "delta", "content") for event in reply.events]
    return "".join(part for part in parts if isinstance(part, str))


def finish(reply: WireReply) -> Any:
    """Why the answer ended."""
    reasons = [dug(body, "choices", 0, "finish_reason") for body in (reply.body, *reply.events)]
    return next((reason for reason in reversed(reasons) if reason), None)


def read_tokens(reply: WireReply) -> int | None:
    """How many tokens the server counted as read."""
    return number((told_usage(reply) or {}).get("prompt_tokens"))


def written_tokens(reply: WireReply) -> int | None:
    """How many tokens the server counted as written."""
    return number((told_usage(reply) or {}).get("completion_tokens"))


def json_object(text: str) -> Mapping[str, Any] | None:
    """The object that a text is; None if it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else None


def calls(reply: WireReply) -> list[tuple[str, Any]]:
    """Name and arguments of each tool call; arguments are as they were sent."""
    found = dug(reply.body, "choices", 0, "message", "tool_calls")
    functions = [dug(call, "function") for call in cast("list[Any]", found)] if isinstance(found, list) else []
    return [(str(dug(function, "name")), dug(function, "arguments")) for function in functions]
