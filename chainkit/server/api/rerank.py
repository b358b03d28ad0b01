"""/v1/rerank: documents in the order in which they answer a question, as Jina and Cohere have it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from starlette.requests import Request
from starlette.responses import Response

from chainkit.server.api.embeddings import read_usage, tokens_of
from chainkit.server.faults import RequestFault
from chainkit.server.fields import Json, RerankBody
from chainkit.server.services import Services, services_of
from chainkit.server.wire import JSONReply, parsed, unless_gone

_PLACE = "chainkit_place"


async def rerank(request: Request) -> Response:
    """Put documents in an order."""
    services = services_of(request)
    body = parsed(RerankBody, await services.body(request))
    if len(body.documents) > services.limits.inputs:
        message = f"'documents' holds {len(body.documents)}, and at most {services.limits.inputs} are taken"
        raise RequestFault(400, message, code="invalid_value", param="documents")
    return JSONReply(await unless_gone(request, _ranked(services, body)))


async def _ranked(services: Services, body: RerankBody) -> Json:
    texts = [one if isinstance(one, str) else one.text for one in body.documents]
    async with services.at_work(body.model, "rerank") as model:
        order = await _order(model, body.query, texts)
        tokens = await tokens_of(model, body.query, texts)
    results: list[Json] = []
    for place, score in order[: body.top_n]:
        results.append({"index": place, "relevance_score": score})
        if body.return_documents:
            results[-1]["document"] = {"text": texts[place]}
    usage = read_usage(services, body.model, tokens)
    return {"object": "list", "model": body.model, "results": results, "usage": usage}


async def _order(model: Any, query: str, texts: Sequence[str]) -> list[tuple[int, float | None]]:
    """Places with their scores, the best first; a model that only knows an order has no scores."""
    if hasattr(model, "scores"):
        scores: list[float] = await asyncio.to_thread(model.scores, query, texts)
        return [(place, scores[place]) for place in sorted(range(len(scores)), key=lambda place: -scores[place])]
    documents = [Document(page_content=text, metadata={_PLACE: place}) for place, text in enumerate(texts)]
    ranked = await model.acompress_documents(documents, query)
    return [(one.metadata[_PLACE], one.metadata.get("relevance_score")) for one in ranked]
