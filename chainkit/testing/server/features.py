"""Missing features of a service: it refuses one with its own message, or silently ignores it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from chainkit.testing.server.checks import Refusal

Json = dict[str, Any]

PATHS = {
    "models": "/v1/models",
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}
FIELDS = {
    "base64": "encoding_format",
    "usage_in_stream": "stream_options",
    **{
        name: name
        for name in [
            "stream",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "json_schema",
            "json_object",
            "seed",
            "logprobs",
            "n",
            "stop",
            "temperature",
            "max_tokens",
            "max_completion_tokens",
            "dimensions",
        ]
    },
}
FORMS = {"json_schema", "json_object"}
ROLES = {"system", "developer"}
FEATURES = frozenset({*PATHS, *FIELDS, *ROLES})
"""Everything that can be switched off."""


def refuse(path: str, refused: Collection[str]) -> None:
    """Refuse an address that is switched off.

    Raises:
        Refusal: 404, as by a server that has no such route.
    """
    for name in refused:
        if PATHS.get(name) == path:
            raise Refusal(404, f"Invalid URL ({path})")


def reduced(body: Json, refused: Collection[str], ignored: Collection[str]) -> Json:
    """The request as a service without some features takes it.

    Raises:
        Refusal: It uses a feature that is refused.
    """
    for name in used(body):
        if name in refused:
            raise Refusal(400, f"{name} is not supported by this server", "unsupported_value", name)
    gone = {_field(name) for name in used(body) if name in ignored}
    body = {name: value for name, value in body.items() if name not in gone}
    if "messages" in body:
        body["messages"] = [message for message in body["messages"] if message.get("role") not in ignored]
    return body


def used(body: Mapping[str, Any]) -> Iterator[str]:
    """The features that a request uses."""
    form = (body.get("response_format") or {}).get("type")
    for name, field in FIELDS.items():
        if name == "max_tokens" and "prompt" in body:  # chats know two names for it, completions this one
            continue
        if name in FORMS:
            if form == name:
                yield name
        elif name == "base64":
            if body.get(field) == name:
                yield name
        elif body.get(field) is not None:
            yield name
    roles = {message.get("role") for message in body.get("messages") or []}
    yield from (role for role in ROLES if role in roles)


def _field(name: str) -> str:
    return "response_format" if name in FORMS else FIELDS.get(name, name)
