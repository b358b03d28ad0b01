"""From the body of a chat to what a speaker is asked, within the limits of the server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chainkit.base.errors import ContextOverflow
from chainkit.server.faults import RequestFault
from chainkit.server.fields import ChatBody, SchemaForm, TextForm, ToolChoice
from chainkit.server.settings import ServerLimits
from chainkit.server.speakers.call import ChatCall, Speaker
from chainkit.server.speakers.messages import messages_of

_SETTINGS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
)


def call_of(body: ChatBody, limits: ServerLimits) -> ChatCall:
    """Convert a request body to a call.

    Raises:
        RequestFault: More is asked for than the server gives.
    """
    return ChatCall(
        messages=messages_of(body.messages),
        settings=settings_of(body, body.max_completion_tokens or body.max_tokens, limits),
        tools=[] if body.tool_choice == "none" else [tool.model_dump(exclude_none=True) for tool in body.tools or ()],
        tool_choice=_choice(body.tool_choice),
        parallel_calls=body.parallel_tool_calls,
        form=_form(body),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        variables=body.variables,
    )


def settings_of(body: Any, max_tokens: int | None, limits: ServerLimits) -> dict[str, Any]:
    """The settings that a body gives.

    Raises:
        RequestFault: More answers or tokens are asked for than the server gives.
    """
    if (body.n or 1) > limits.choices:
        raise RequestFault(400, f"'n' is at most {limits.choices} here", code="invalid_value", param="n")
    if limits.new_tokens is not None and (max_tokens or 0) > limits.new_tokens:
        message = f"'max_tokens' is at most {limits.new_tokens} here"
        raise RequestFault(400, message, code="invalid_value", param="max_tokens")
    settings = {name: value for name in _SETTINGS if (value := getattr(body, name)) is not None}
    if (most := max_tokens or limits.new_tokens) is not None:
        settings["max_tokens"] = most
    if body.stop:
        settings["stop"] = [body.stop] if isinstance(body.stop, str) else body.stop
    return settings


def each(call: ChatCall, count: int) -> list[ChatCall]:
    """`count` copies of a call; with a seed, each gets a different one."""
    seed = call.settings.get("seed")
    if seed is None:
        return [call] * count
    return [replace(call, settings={**call.settings, "seed": abs(seed) + place}) for place in range(count)]


def require_short(speaker: Speaker, call: ChatCall, most: int | None) -> None:
    """Refuse a prompt that is longer than the server reads.

    Raises:
        ContextOverflow: It is.
    """
    if most is None:
        return
    tokens = speaker.prompt_tokens(call)
    if tokens is not None and tokens > most:
        raise ContextOverflow(tokens, most, "shorten the messages; this server reads no longer prompts")


def _choice(choice: str | ToolChoice | None) -> str:
    return choice.function.name if isinstance(choice, ToolChoice) else choice or "auto"


def _form(body: ChatBody) -> dict[str, Any] | None:
    form = body.response_format
    if form is None or isinstance(form, TextForm):
        return None
    if isinstance(form, SchemaForm) and form.json_schema.json_schema is None:
        where = "response_format.json_schema.schema"
        raise RequestFault(400, f"'{where}' is missing", code="missing_required_parameter", param=where)
    return form.model_dump(exclude_none=True, by_alias=True)
