"""/v1/responses: the newer of OpenAI's two APIs for chats."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage
from starlette.requests import Request
from starlette.responses import Response

from chainkit.server.api.calls import require_short
from chainkit.server.api.chat import note_usage
from chainkit.server.api.items import form_of, items_of, messages_of_items, tool_of
from chainkit.server.api.kept import KeptResponses
from chainkit.server.api.parts import finish_of, new_id, usage_of
from chainkit.server.api.response_events import ResponseEvents
from chainkit.server.faults import RequestFault
from chainkit.server.fields import Json, ResponseItem, ResponsesBody, ResponseToolChoice
from chainkit.server.services import Services, services_of
from chainkit.server.speakers.call import ChatCall, chunk_of
from chainkit.server.speakers.choose import speaker_of
from chainkit.server.wire import EventReply, JSONReply, parsed, unless_gone

_LOGPROBS = "message.output_text.logprobs"
_INCLUDES = frozenset({_LOGPROBS, "reasoning.encrypted_content"})


async def responses(request: Request) -> Response:
    """Answer a chat, whole or as a stream of events."""
    services = services_of(request)
    body = parsed(ResponsesBody, await services.body(request))
    kept = kept_of(request)
    said = _said(body, kept)
    call = _call(body, services, said)
    if body.stream:
        return EventReply(_events(services, body, call, kept, said), error_event=ResponseEvents.error)
    return JSONReply(await unless_gone(request, _whole(services, body, call, kept, said)))


async def one_response(request: Request) -> Response:
    """An answer that was kept."""
    return JSONReply(kept_of(request).response(request.path_params["number"]))


async def forget_response(request: Request) -> Response:
    """Forget an answer."""
    number = request.path_params["number"]
    kept_of(request).forget(number)
    return JSONReply({"id": number, "object": "response", "deleted": True})


def kept_of(request: Request) -> KeptResponses:
    """The answers that the server of a request keeps."""
    return request.app.state.kept_responses


async def _whole(
    services: Services, body: ResponsesBody, call: ChatCall, kept: KeptResponses, said: list[BaseMessage]
) -> Json:
    async with services.at_work(body.model, "chat") as served:
        speaker = speaker_of(served)
        require_short(speaker, call, services.limits.prompt_tokens)
        answer = await speaker.answer(call)
    output = list(items_of(answer, with_logprobs=call.logprobs is not None))
    response = _finished(services, body, _begun(body), answer, output)
    _keep(kept, body, response, said)
    return response


async def _events(
    services: Services, body: ResponsesBody, call: ChatCall, kept: KeptResponses, said: list[BaseMessage]
) -> AsyncIterator[bytes]:
    begun = _begun(body)
    events = ResponseEvents()
    async with services.at_work(body.model, "chat") as served:
        speaker = speaker_of(served)
        require_short(speaker, call, services.limits.prompt_tokens)
        whole: AIMessageChunk | None = None
        async for said_now in speaker.stream(call):
            if whole is None:
                yield events.begun(begun)
            chunk = chunk_of(said_now)
            whole = chunk if whole is None else whole + chunk
            for made in events.chunk(chunk):
                yield made
    answer = whole if whole is not None else AIMessageChunk(content="")
    for made in events.over(answer):
        yield made
    response = _finished(services, body, begun, answer, events.output)
    _keep(kept, body, response, said)
    yield events.finished(response)


def _call(body: ResponsesBody, services: Services, said: list[BaseMessage]) -> ChatCall:
    limit = services.limits.new_tokens
    if limit is not None and (body.max_output_tokens or 0) > limit:
        message = f"'max_output_tokens' is at most {limit} here"
        raise RequestFault(400, message, code="invalid_value", param="max_output_tokens")
    if unknown := set(body.include or ()) - _INCLUDES:
        raise RequestFault(400, f"'include': {min(unknown)!r} is not supported", code="unsupported", param="include")
    settings = {"temperature": body.temperature, "top_p": body.top_p, "max_tokens": body.max_output_tokens or limit}
    wants_scores = _LOGPROBS in (body.include or ()) or body.top_logprobs is not None
    return ChatCall(
        messages=[SystemMessage(body.instructions), *said] if body.instructions else said,
        settings={name: value for name, value in settings.items() if value is not None},
        tools=[] if body.tool_choice == "none" else [tool_of(tool) for tool in body.tools or ()],
        tool_choice=_choice(body),
        parallel_calls=body.parallel_tool_calls,
        form=form_of(body),
        logprobs=(body.top_logprobs or 0) if wants_scores else None,
        variables=body.variables,
    )


def _choice(body: ResponsesBody) -> str:
    choice = body.tool_choice
    if choice in (None, "auto", "none"):
        return "auto"
    name = choice.name if isinstance(choice, ResponseToolChoice) else None
    if not body.tools or (name and name not in {tool.name for tool in body.tools}):
        message = f"'tool_choice' names {name!r}, which is none of the tools" if name else "there are no tools to call"
        raise RequestFault(400, message, code="invalid_value", param="tool_choice")
    return name or "required"


def _said(body: ResponsesBody, kept: KeptResponses) -> list[BaseMessage]:
    """All messages: earlier ones if a response is continued, and the new ones."""
    before = list(kept.messages(body.previous_response_id)) if body.previous_response_id else []
    given = [ResponseItem(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    return [*before, *messages_of_items(given)]


def _begun(body: ResponsesBody) -> Json:
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "model": body.model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": None, "summary": None},
        "store": body.store is not False,
        "temperature": body.temperature,
        "text": _dumped(body.text) or {"format": {"type": "text"}},
        "tool_choice": _dumped(body.tool_choice) or "auto",
        "tools": [_dumped(tool) for tool in body.tools or ()],
        "top_p": body.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": body.user,
        "metadata": body.metadata or {},
    }


def _dumped(value: Any) -> Any:
    return value.model_dump(exclude_none=True, by_alias=True) if hasattr(value, "model_dump") else value


def _finished(services: Services, body: ResponsesBody, begun: Json, answer: AIMessage, output: list[Json]) -> Json:
    usage = usage_of([answer.usage_metadata])
    note_usage(services, body.model, usage)
    cut = finish_of(answer) == "length"
    reply: Json = {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": output,
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": usage["prompt_tokens_details"],
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
    }
    return {**begun, **reply}


def _keep(kept: KeptResponses, body: ResponsesBody, response: Json, said: list[BaseMessage]) -> None:
    if body.store is False:
        return
    items = [ResponseItem.model_validate(item) for item in response["output"]]
    kept.keep(response, [*said, *messages_of_items(items)])
