"""/v1/own: documents that a visitor uploads into an index of their own, which answers under a name only they know."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from chainkit.base import opening
from chainkit.server.catalogue import Ability, Catalogue, ServedModel
from chainkit.server.faults import RequestFault
from chainkit.server.fields import Json
from chainkit.server.page.shelf import OwnDocuments, OwnLimits, OwnShelf
from chainkit.server.services import Services, services_of
from chainkit.server.wire import JSONReply

PREFIX = "own-"
_BINARY = "application/octet-stream"


async def create(request: Request) -> Response:
    """A new empty index."""
    services, shelf = services_of(request), _shelf_of(request)
    async with services.admission.place():
        made = await shelf.made(
            await _embeddings(services.catalogue), await _model(services.catalogue), services.catalogue
        )
    return JSONReply(_described(made, shelf.limits), 201)


async def show(request: Request) -> Response:
    """Describe the index."""
    own = await _found(request)
    return JSONReply(_described(own, _shelf_of(request).limits))


async def delete(request: Request) -> Response:
    """Forget it, with its files."""
    own = await _found(request)
    await _shelf_of(request).drop(own.name, services_of(request).catalogue)
    return JSONReply({"id": own.name, "deleted": True})


async def upload(request: Request) -> Response:
    """Put a document into it; one of the same name is replaced. The body is the file."""
    services, shelf = services_of(request), _shelf_of(request)
    own = await _found(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _BINARY:  # a form of another web site cannot send this one
        raise RequestFault(415, f"the body must be {_BINARY}, not {kind!r}", code="unsupported_media_type")
    place = own.place(request.path_params["name"])
    async with asyncio.timeout(services.limits.seconds), own.lock:
        own.require_place_for(place)
        room = min(services.limits.upload_bytes, own.room(place), shelf.room())
        received = await _received(request, own.folder / ".part", room)
        async with shelf.indexing, services.at_work(own.name, "chat"):  # not before: who sends slowly stops no other
            notes = await asyncio.to_thread(own.take, received, place)
    return JSONReply({**_described(own, shelf.limits), "notes": notes}, 201)


async def remove(request: Request) -> Response:
    """Take a document out of it."""
    services, shelf = services_of(request), _shelf_of(request)
    own = await _found(request)
    place = own.place(request.path_params["name"])
    if not place.exists():
        raise RequestFault(404, f"there is no document {place.name!r}", code="unknown_document")
    async with asyncio.timeout(services.limits.seconds), own.lock, shelf.indexing:
        await asyncio.to_thread(own.remove, place)
    return JSONReply(_described(own, shelf.limits))


async def _received(request: Request, path: Path, room: int) -> Path:
    """The body of a request as a file, which is at most `room` bytes long."""
    too_long = RequestFault(
        413, f"the document is longer than the {room} bytes that are left", code="request_too_large"
    )
    declared_size = request.headers.get("content-length", "")
    if declared_size.isdecimal() and int(declared_size[:20]) > room:
        raise too_long
    length = 0
    try:
        with path.open("wb") as file:
            async for part in request.stream():
                length += len(part)
                if length > room:
                    raise too_long
                file.write(part)
    except (RequestFault, ClientDisconnect, asyncio.CancelledError):
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - no wait is worth a thread
        raise
    return path


async def _found(request: Request) -> OwnDocuments:
    name = request.path_params["id"]
    if not name.startswith(PREFIX):
        raise RequestFault(404, "there is no such index of one's own", code="unknown_index")
    return _shelf_of(request).find(name)


async def _embeddings(catalogue: Catalogue) -> Any:
    """The first served embeddings, else MiniLM."""
    first = _first(catalogue, "embeddings", "embeddings")
    if first is None:
        return await asyncio.to_thread(opening.embeddings, "minilm")
    async with catalogue.use(first.name, "embeddings") as found:
        return found


async def _model(catalogue: Catalogue) -> Any:
    """The first served model that chats; None quotes sentences."""
    first = _first(catalogue, "chat", "model")
    return None if first is None else await asyncio.to_thread(first.makers["chat"])


def _first(catalogue: Catalogue, ability: Ability, kind: str) -> ServedModel | None:
    return next((one for one in catalogue if one.kind == kind and ability in one.makers), None)


def _described(own: OwnDocuments, limits: OwnLimits) -> Json:
    rows = [{"path": path.name, "title": path.name, "bytes": path.stat().st_size} for path in own.files()]
    return {
        "id": own.name,
        "object": "own_documents",
        "data": rows,
        "limits": {"documents": limits.documents, "bytes": limits.bytes},
    }


def _shelf_of(request: Request) -> OwnShelf:
    services: Services = services_of(request)
    state = request.app.state
    if not hasattr(state, "own_shelf"):
        state.own_shelf = OwnShelf(OwnLimits(bytes=4 * services.limits.upload_bytes))
    return state.own_shelf
