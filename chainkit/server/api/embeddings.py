"""/v1/embeddings: vectors of texts."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from chainkit.server.faults import RequestFault
from chainkit.server.fields import EmbeddingsBody, Json
from chainkit.server.services import Services, services_of
from chainkit.server.wire import JSONReply, parsed, unless_gone


async def embeddings(request: Request) -> Response:
    """Turn texts into vectors."""
    services = services_of(request)
    body = parsed(EmbeddingsBody, await services.body(request))
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > services.limits.inputs:
        message = f"'input' holds {len(texts)} texts, and at most {services.limits.inputs} are taken"
        raise RequestFault(400, message, code="invalid_value", param="input")
    if not all(texts):
        raise RequestFault(400, "'input' holds an empty text", code="invalid_value", param="input")
    return JSONReply(await unless_gone(request, _embedded(services, body, texts)))


async def _embedded(services: Services, body: EmbeddingsBody, texts: list[str]) -> Json:
    async with services.at_work(body.model, "embeddings") as model:
        query = body.input_type == "query"
        vectors, tokens = await _counted(model, texts, query=query)
    if body.dimensions is not None and vectors.shape[1] != body.dimensions:
        message = f"'{body.model}' makes vectors of {vectors.shape[1]} numbers; leave 'dimensions' out"
        raise RequestFault(400, message, code="unsupported", param="dimensions")
    packed = body.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": place, "embedding": _packed(vector) if packed else vector.tolist()}
        for place, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": body.model, "usage": read_usage(services, body.model, tokens)}


def read_usage(services: Services, model: str, tokens: int | None) -> Json | None:
    """What a request has read, which is counted; None where that is not known: a 0 would be wrong."""
    services.metrics.note_tokens(services.catalogue.counted_as(model), prompt=tokens or 0, completion=0)
    return None if tokens is None else {"prompt_tokens": tokens, "total_tokens": tokens}


async def tokens_of(model: Any, *what: Any, **options: Any) -> int | None:
    """How many tokens a model reads of texts; None where it does not tell."""
    if not hasattr(model, "token_counts"):
        return None
    counts = await asyncio.to_thread(model.token_counts, *what, **options)
    return None if counts is None else sum(counts)


async def _counted(
    model: Any, texts: Sequence[str], *, query: bool
) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int | None]:
    """The vectors of texts, and how many tokens were read: a service counts while it makes them."""
    if hasattr(model, "aembed_counted"):
        found, tokens = await model.aembed_counted(list(texts))
        return np.asarray(found, dtype=np.float32), tokens
    return await vectors_of(model, texts, query=query), await tokens_of(model, texts, query=query)


async def vectors_of(model: Any, texts: Sequence[str], *, query: bool = False) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The vectors of texts, [N, D]; computed in a thread unless the model has an async method."""
    if query:
        found = await asyncio.gather(*(model.aembed_query(text) for text in texts))
    elif hasattr(model, "embed_array"):
        found = await asyncio.to_thread(model.embed_array, list(texts))
    else:
        found = await model.aembed_documents(list(texts))
    return np.asarray(found, dtype=np.float32)


def _packed(vector: np.ndarray[Any, np.dtype[np.float32]]) -> str:
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode()
