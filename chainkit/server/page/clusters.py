"""/v1/clusters: cluster sentences; similarities are streamed row by row."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from chainkit.server.faults import RequestFault
from chainkit.server.fields import Json, RequestFields, Text
from chainkit.server.services import Services, services_of
from chainkit.server.wire import DONE, EventReply, event, parsed
from chainkit.vectors.clusters import clusters as grouped
from chainkit.vectors.colours import group_colour
from chainkit.vectors.given import unit

MOST = 1000
"""Sentences in one request: their heatmap has a million cells."""

_BATCH = 16


class ClustersBody(RequestFields):
    """A body of /v1/clusters."""

    model: Text
    input: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(min_length=2, max_length=MOST)]
    k: Annotated[int, Field(ge=1, le=MOST, description="Number of groups; found where it is not given.")] | None = None


async def clusters(request: Request) -> Response:
    """Groups of sentences.

    A stream of events: for each batch its first row and the cosines of its rows with all rows up to themselves, one
    byte each from -1 (0) to 1 (255), in base64; then the order of the rows, and the groups.
    """
    services = services_of(request)
    body = parsed(ClustersBody, await services.body(request))
    for place, text in enumerate(body.input):
        if not text.strip():
            raise RequestFault(400, f"'input.{place}' is blank", code="invalid_value", param=f"input.{place}")
    if body.k is not None and body.k > (different := len(set(body.input))):
        raise RequestFault(400, f"'k' is at most {different}, the number of different texts", code="invalid_value",
                           param="k")  # fmt: skip
    return EventReply(_events(services, body))


async def _events(services: Services, body: ClustersBody) -> AsyncIterator[bytes]:
    async with services.at_work(body.model, "embeddings") as embeddings:
        vectors = np.empty((0, 0), np.float32)
        for start in range(0, len(body.input), _BATCH):
            batch = await embeddings.aembed_documents(body.input[start : start + _BATCH])
            rows = np.asarray(batch, np.float32)
            vectors = np.vstack([vectors, rows]) if start else rows
            yield event({"first": start, "cosines": _rows(unit(vectors), start)})
        found = await asyncio.to_thread(grouped, body.input, vectors, body.k)
    yield event({"order": list(found.order), "silhouette": found.silhouette, "groups": _groups(found)})
    yield DONE


def _rows(vectors: np.ndarray[Any, Any], start: int) -> str:
    """The cosines of the rows from `start` on with all rows up to themselves."""
    cosines = np.clip(vectors[start:] @ vectors.T, -1, 1)
    levels = np.rint((cosines + 1) * 127.5).astype(np.uint8)
    parts = [levels[row, : start + row + 1].tobytes() for row in range(len(levels))]
    return base64.b64encode(b"".join(parts)).decode()


def _groups(found: Any) -> list[Json]:
    return [
        {
            "name": group.name,
            "colour": group_colour(group.label),
            "members": list(group.members),
            "keywords": list(group.keywords),
        }
        for group in found.groups
    ]
