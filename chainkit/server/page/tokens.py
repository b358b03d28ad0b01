"""/v1/tokens: how a text is cut into tokens, and what may come next."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from chainkit.base.errors import ContextOverflow, Unsupported
from chainkit.server.catalogue import Ability, Catalogue
from chainkit.server.fields import Json, RequestFields, Text
from chainkit.server.services import services_of
from chainkit.server.wire import JSONReply, parsed, unless_gone

_CHARACTERS = 20_000


class TokensBody(RequestFields):
    """A body of /v1/tokens."""

    model: Text
    input: Annotated[str, Field(min_length=1, max_length=_CHARACTERS)]
    next: Annotated[int, Field(ge=0, le=100, description="How many of the likeliest next tokens to tell.")] = 0


async def tokens(request: Request) -> Response:
    """The tokens of a text, and the likeliest next ones."""
    services = services_of(request)
    body = parsed(TokensBody, await services.body(request))
    ability = _ability(services.catalogue, body.model)

    async def tokenized() -> Json:
        async with services.at_work(body.model, ability) as model:
            return await asyncio.to_thread(_tokenized, model, body, services.limits.prompt_tokens)

    return JSONReply(await unless_gone(request, tokenized()))


def _ability(catalogue: Catalogue, name: str) -> Ability:
    abilities = {model.name: model.makers for model in catalogue}.get(name, {})
    return "text" if "text" in abilities else "chat"


def _tokenized(model: Any, body: TokensBody, most: int | None) -> Json:
    if not hasattr(model, "tokens") or not hasattr(model, "next_tokens"):
        raise Unsupported(f"'{body.model}' does not show its tokens; a local model does")
    cut = model.tokens(body.input)
    if body.next and most is not None and len(cut) > most:
        raise ContextOverflow(len(cut), most, "shorten the text; this server reads no longer ones")
    likely = model.next_tokens(body.input, body.next) if body.next else []
    return {
        "model": body.model,
        "tokens": [{"id": one.id, "text": one.text, "bytes": list(one.data)} for one in cut],
        "next": [{"id": one.id, "text": one.text, "chance": one.chance, "logprob": one.logprob} for one in likely],
    }
