"""The ASGI application: routes, middleware and error handling."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chainkit.server import openapi
from chainkit.server.admission import Admission
from chainkit.server.api import chat, completions, decisions, embeddings, rerank, responses, state
from chainkit.server.api.kept import KeptResponses
from chainkit.server.catalogue import Catalogue
from chainkit.server.faults import RequestFault
from chainkit.server.guard import Guard
from chainkit.server.metrics import Metrics
from chainkit.server.page.routes import PAGE_OPERATIONS, PAGE_PATHS, page_routes
from chainkit.server.services import Services
from chainkit.server.settings import ServerSettings
from chainkit.server.wire import GONE, Arriving, fault_reply

OPEN_PATHS = ("/health",)
_LOOK_SECONDS = 5.0


def api_routes() -> list[Route]:
    """The endpoints of OpenAI's API, and what the server tells of itself."""
    return [
        Route("/health", state.health, methods=["GET"]),
        Route("/metrics", state.metrics, methods=["GET"]),
        Route("/v1/models", state.models, methods=["GET"]),
        Route("/v1/models/{name:path}", state.one_model, methods=["GET"]),
        Route("/v1/chat/completions", chat.chat_completions, methods=["POST"]),
        Route("/v1/completions", completions.completions, methods=["POST"]),
        Route("/v1/responses", responses.responses, methods=["POST"]),
        Route("/v1/responses/{number}", responses.one_response, methods=["GET"]),
        Route("/v1/responses/{number}", responses.forget_response, methods=["DELETE"]),
        Route("/v1/embeddings", embeddings.embeddings, methods=["POST"]),
        Route("/v1/rerank", rerank.rerank, methods=["POST"]),
        Route("/v1/decisions", decisions.decisions, methods=["POST"]),
        Route("/openapi.json", openapi.openapi, methods=["GET"]),
        Route("/openapi", openapi.page, methods=["GET"]),
    ]


def create_app(
    catalogue: Catalogue,
    settings: ServerSettings | None = None,
    *,
    page: bool = False,
    routes: Iterable[BaseRoute] = (),
    open_paths: Iterable[str] = (),
) -> Starlette:
    """An ASGI application that serves a catalogue.

    Args:
        catalogue: The served names; closed with the application.
        settings: Hosts, keys and limits.
        page: Whether there is a page for people at "/", with the endpoints that it needs.
        routes: More endpoints; in them, `services_of(request)` is what all share.
        open_paths: Paths of those that need no key; one that ends in "/" covers all below it.
    """
    settings = settings or ServerSettings()
    limits = settings.limits
    admission = Admission(limits.running, limits.waiting)
    services = Services(catalogue, settings, admission, Metrics(), Arriving(limits.arriving_bytes))
    every = [*api_routes(), *(page_routes() if page else ()), *routes]
    opened = (*OPEN_PATHS, *(PAGE_PATHS if page else ()), *open_paths)
    names = {route.endpoint: route.path for route in every if isinstance(route, Route)}
    app = Starlette(
        routes=every,
        middleware=[
            Middleware(Counting, metrics=services.metrics, names=names),
            Middleware(Guard, settings=settings, open_paths=opened),
        ],
        exception_handlers={
            ClientDisconnect: _nobody_there,
            HTTPException: _no_such_place,
        },
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False
    app.state.services = services
    app.state.operations = {**openapi.OPERATIONS, **(PAGE_OPERATIONS if page else {})}
    app.state.kept_responses = KeptResponses()
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    services: Services = app.state.services
    looking = asyncio.ensure_future(_look(services.catalogue))
    try:
        yield
    finally:
        looking.cancel()
        services.admission.closed = True
        await asyncio.to_thread(services.catalogue.close)


async def _look(catalogue: Catalogue) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        await catalogue.unload_unused()


class Counting:
    """Counts requests by route, status and time. Errors that a route raises are answered here.

    Args:
        app: The wrapped application.
        metrics: Where it is counted.
        names: Endpoint to the path of its route.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, names: Mapping[Any, str]) -> None:
        self._app, self._metrics, self._names = app, metrics, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.monotonic(), GONE

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:
            if status != GONE:
                raise
            await fault_reply(error)(scope, receive, sent)
        finally:
            self._metrics.note_request(
                self._names.get(scope.get("endpoint"), "other"), status, time.monotonic() - begin
            )


def _nobody_there(_request: Request, _error: Exception) -> Response:
    return Response(status_code=GONE)


def _no_such_place(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        message = f"there is no {request.method} {request.url.path}; /openapi.json lists what there is"
        return fault_reply(RequestFault(404, message, code="unknown_url"))
    reply = fault_reply(RequestFault(error.status_code, error.detail, code="not_allowed"))
    reply.headers.update(error.headers or {})
    return reply
