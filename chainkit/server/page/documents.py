"""/v1/documents: list the documents, and show the text around a citation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from chainkit.base.errors import Unsupported
from chainkit.knowledge.index.index import Index
from chainkit.knowledge.readers.split import Passage
from chainkit.server.faults import RequestFault
from chainkit.server.fields import Json, RequestFields, Text
from chainkit.server.services import services_of
from chainkit.server.speakers.documents import DocumentsSpeaker
from chainkit.server.wire import JSONReply, parsed

_LISTED = 1000
_BEFORE, _SHOWN = 8, 40


class PassagesBody(RequestFields):
    """A body of /v1/documents/passages: a citation as an answer has it, or a place to read on from."""

    model: Text
    path: Text
    quote: str = ""
    page: int | None = None
    first_line: int | None = None
    start: Annotated[int, Field(ge=0, le=1 << 31)] | None = None


async def listing(request: Request) -> Response:
    """The documents of a served index, at most the first thousand."""
    name = request.query_params.get("model", "")
    async with services_of(request).at_work(name, "chat") as served:
        index = index_of(served)
        paths = await asyncio.to_thread(lambda: index.documents)
        rows = [{"path": path, "title": title_of(path)} for path in served.shown(paths[:_LISTED])]
    return JSONReply({"object": "list", "data": rows, "total": len(paths)})


async def passages(request: Request) -> Response:
    """The passages of a document around a citation, or from a place on."""
    services = services_of(request)
    body = parsed(PassagesBody, await services.body(request))
    async with services.at_work(body.model, "chat") as served:
        index = index_of(served)
        found = await asyncio.to_thread(lambda: index.passages(served.stored(body.path)) or index.passages(body.path))
    if not found:
        raise RequestFault(404, f"no document {body.path!r} in {body.model!r}", code="unknown_document", param="path")
    cited = None if body.start is not None else cited_place(found, body)
    start = body.start if body.start is not None else max(0, (cited or 0) - _BEFORE)
    shown = found[start : start + _SHOWN]
    rows = [_row(one, place == cited) for place, one in enumerate(shown, start)]
    return JSONReply(
        {"path": body.path, "title": title_of(body.path), "start": start, "total": len(found), "passages": rows}
    )


def index_of(served: Any) -> Index:
    """The index served under a name.

    Raises:
        Unsupported: It is not an index, or one whose documents cannot be read.
    """
    index = served.index if isinstance(served, DocumentsSpeaker) else None
    if not isinstance(index, Index):
        raise Unsupported("its documents cannot be opened here; an index that chainkit keeps itself can")
    return index


def cited_place(found: Sequence[Passage], body: PassagesBody) -> int:
    """Position of a cited passage in its document: found by its words, else by its line, else by its page."""
    quote = body.quote.strip()
    ways = (
        lambda one: bool(quote) and quote in one.text,
        lambda one: body.first_line is not None and (one.first_line or 0) <= body.first_line <= (one.last_line or -1),
        lambda one: body.page is not None and one.page == body.page,
    )
    for fits in ways:
        for place, one in enumerate(found):
            if fits(one):
                return place
    return 0


def title_of(path: str) -> str:
    """The display name of a document."""
    return PurePath(path).name or path


def _row(passage: Passage, is_cited: bool) -> Json:
    return {
        "text": passage.text,
        "headings": list(passage.headings),
        "page": passage.page,
        "first_line": passage.first_line,
        "last_line": passage.last_line,
        "cited": is_cited,
    }
