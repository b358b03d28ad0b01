"""/v1/completions: models that continue text."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.language_models import BaseLLM
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import Generation
from starlette.requests import Request
from starlette.responses import Response

from chainkit.base.errors import ContextOverflow, Unsupported
from chainkit.local.completion import LocalLLM
from chainkit.prompts.unobserved import unheard
from chainkit.server.api.calls import settings_of
from chainkit.server.api.merging import merged
from chainkit.server.api.parts import new_id
from chainkit.server.faults import RequestFault
from chainkit.server.fields import CompletionBody, Json
from chainkit.server.services import Services, services_of
from chainkit.server.wire import DONE, EventReply, JSONReply, event, parsed, unless_gone


@dataclass(frozen=True, kw_only=True)
class ContinuedText:
    """One text to continue.

    Attributes:
        prompt: The text.
        stop: Where to stop.
        settings: Those that were given, as the model calls them.
    """

    prompt: str
    stop: list[str] | None
    settings: Mapping[str, Any]


async def completions(request: Request) -> Response:
    """Continue texts, whole or as a stream."""
    services = services_of(request)
    body = parsed(CompletionBody, await services.body(request))
    _check(body)
    if body.stream:
        return EventReply(_events(services, body))
    return JSONReply(await unless_gone(request, _whole(services, body)))


async def _whole(services: Services, body: CompletionBody) -> Json:
    calls = _calls(services, body)
    async with services.at_work(body.model, "text") as model:
        _check_prompts(services, model, body)
        known = [_known(model, call) for call in calls]
        found = await asyncio.gather(*(_continued(model, call) for call in known))
    choices = [
        _choice(place, before + one.text, one.generation_info or {}, body, before=len(before))
        for place, (before, one) in enumerate(zip(_echoed(body, calls), found, strict=True))
    ]
    usage = _usage(body, [(one.generation_info or {}).get("usage_metadata") for one in found])
    services.metrics.note_tokens(body.model, prompt=usage["prompt_tokens"], completion=usage["completion_tokens"])
    return {**_head(body), "choices": choices, "usage": usage}


async def _events(services: Services, body: CompletionBody) -> AsyncIterator[bytes]:
    head, calls = _head(body), _calls(services, body)
    wants_usage = bool(body.stream_options and body.stream_options.include_usage)
    more: Json = {"usage": None} if wants_usage else {}
    usages: list[UsageMetadata | None] = [None] * len(calls)
    async with services.at_work(body.model, "text") as model:
        _check_prompts(services, model, body)
        if body.echo:
            for place, call in enumerate(calls):
                yield event({**head, "choices": [_choice(place, call.prompt, {}, body, last=False)], **more})
        streams = [_streamed(model, _known(model, call)) for call in calls]
        ended = [False] * len(calls)
        async for place, (text, info) in merged(streams):
            usages[place] = info.get("usage_metadata") or usages[place]
            last = "finish_reason" in info
            ended[place] = ended[place] or last
            yield event({**head, "choices": [_choice(place, text, info, body, last=last)], **more})
    for place, over in enumerate(ended):
        if not over:
            yield event({**head, "choices": [_choice(place, "", {}, body)], **more})
    usage = _usage(body, usages)
    services.metrics.note_tokens(body.model, prompt=usage["prompt_tokens"], completion=usage["completion_tokens"])
    if wants_usage:
        yield event({**head, "choices": [], "usage": usage})
    yield DONE


class ChunkInfo(AsyncCallbackHandler):
    """Keeps what langchain-core's streams of text leave out: why a text ended, its scores, its cost."""

    def __init__(self) -> None:
        self.infos: deque[Mapping[str, Any]] = deque()

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        """Keep the info of one chunk."""
        self.infos.append(getattr(chunk, "generation_info", None) or {})


async def _streamed(model: BaseLLM, call: ContinuedText) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    if _is_quiet(model):
        chunks: Any = cast("Any", model)._astream(call.prompt, call.stop, **call.settings)
        async with aclosing(chunks) as found:
            async for chunk in found:
                yield chunk.text, chunk.generation_info or {}
        return
    kept = ChunkInfo()
    pieces: Any = model.astream(call.prompt, {"callbacks": [kept]}, stop=call.stop, **call.settings)
    async with aclosing(pieces) as texts:
        async for text in texts:
            yield text, kept.infos.popleft() if kept.infos else {}


def _is_quiet(model: BaseLLM) -> bool:
    """Whether nobody can hear the callbacks of a local model, which langchain-core makes for each token."""
    own: Any = LocalLLM._astream  # pyright: ignore[reportPrivateUsage]
    ours = cast("Any", type(model))._astream is own and not (model.callbacks or model.verbose)
    return ours and unheard(None) is not None


async def _continued(model: BaseLLM, call: ContinuedText) -> Generation:
    result = await model.agenerate([call.prompt], stop=call.stop, **call.settings)
    return result.generations[0][0]


def _check(body: CompletionBody) -> None:
    if body.suffix:
        raise RequestFault(
            400, "no model here fills in a middle; leave 'suffix' out", code="unsupported", param="suffix"
        )
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise RequestFault(400, "'best_of' is not chosen here; ask for 'n'", code="unsupported", param="best_of")


def _check_prompts(services: Services, model: BaseLLM, body: CompletionBody) -> None:
    most = services.limits.prompt_tokens
    if most is None or not isinstance(model, LocalLLM):
        return
    for prompt in _prompts(body):
        if (tokens := model.get_num_tokens(prompt)) > most:
            raise ContextOverflow(tokens, most, "shorten the text; this server reads no longer prompts")


def _prompts(body: CompletionBody) -> list[str]:
    return [body.prompt] if isinstance(body.prompt, str) else body.prompt


def _calls(services: Services, body: CompletionBody) -> list[ContinuedText]:
    """For each prompt its `n` calls; with a seed, each of them has its own."""
    settings = settings_of(body, body.max_tokens, services.limits)
    stop, seed = settings.pop("stop", None), settings.pop("seed", None)
    if body.logprobs is not None:
        settings["logprobs"] = body.logprobs
    own = [{} if seed is None else {"seed": abs(seed) + place} for place in range(body.n or 1)]
    return [
        ContinuedText(prompt=prompt, stop=stop, settings=settings | one) for prompt in _prompts(body) for one in own
    ]


def _known(model: BaseLLM, call: ContinuedText) -> ContinuedText:
    """The call without what has no effect.

    Raises:
        Unsupported: The model has no such setting.
    """
    neutral = {"frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}}
    settings = {name: value for name, value in call.settings.items() if value != neutral.get(name, ...)}
    for name in settings.keys() - type(model).model_fields.keys():
        raise Unsupported(f"this model has no {name}; leave it out")
    return ContinuedText(prompt=call.prompt, stop=call.stop, settings=settings)


def _echoed(body: CompletionBody, calls: list[ContinuedText]) -> list[str]:
    return [call.prompt if body.echo else "" for call in calls]


def _head(body: CompletionBody) -> Json:
    return {"id": new_id("cmpl-"), "object": "text_completion", "created": int(time.time()), "model": body.model}


def _choice(
    place: int, text: str, info: Mapping[str, Any], body: CompletionBody, *, last: bool = True, before: int = 0
) -> Json:
    finish = (info.get("finish_reason") or "stop") if last else None
    return {
        "index": place,
        "text": text,
        "logprobs": _logprobs(info, before) if body.logprobs is not None else None,
        "finish_reason": finish if finish in (None, "length") else "stop",
    }


def _logprobs(info: Mapping[str, Any], before: int) -> Json | None:
    """Log-probabilities in the format of OpenAI's legacy completions; those of an echoed prompt are unknown."""
    found = info.get("logprobs") or {}
    if "content" not in found:
        return dict(found) or None
    scores, offset, offsets = found["content"], before, list[int]()
    for one in scores:
        offsets.append(offset)
        offset += len(one["token"])
    return {
        "tokens": [one["token"] for one in scores],
        "token_logprobs": [one["logprob"] for one in scores],
        "top_logprobs": [{rival["token"]: rival["logprob"] for rival in one["top_logprobs"]} for one in scores],
        "text_offset": offsets,
    }


def _usage(body: CompletionBody, usages: list[UsageMetadata | None]) -> Json:
    """The tokens of all; a prompt counts once, however many texts follow it."""
    known = [(place, usage) for place, usage in enumerate(usages) if usage]
    prompt = sum(usage["input_tokens"] for place, usage in known if place % (body.n or 1) == 0)
    written = sum(usage["output_tokens"] for _, usage in known)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
