"""The routes of the page: its files, and its own endpoints beside OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.routing import Route

from chainkit.server.openapi import Operation
from chainkit.server.page import clusters, documents, files, own, programs, tokens
from chainkit.server.page.clusters import ClustersBody
from chainkit.server.page.documents import PassagesBody
from chainkit.server.page.programs import RunBody
from chainkit.server.page.tokens import TokensBody

_EVENTS = "text/event-stream"

PAGE_PATHS = ("/", "/page/")
"""The page itself is sent without a key; it asks for the key that its requests need."""

PAGE_OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("/v1/documents", "get"): Operation(
        summary="The documents of a served index.", query=("model",), statuses=(400, 404, 429, 503, 504)
    ),
    ("/v1/documents/passages", "post"): Operation(summary="The passages around a citation.", body=PassagesBody),
    ("/v1/own", "post"): Operation(summary="A new index of one's own.", good=201, statuses=(429, 503)),
    ("/v1/own/{id}", "get"): Operation(summary="Show an index of one's own.", statuses=(404,)),
    ("/v1/own/{id}", "delete"): Operation(summary="Forget an index of one's own.", statuses=(404,)),
    ("/v1/own/{id}/{name}", "put"): Operation(summary="Add or replace a document.", upload=True, good=201),
    ("/v1/own/{id}/{name}", "delete"): Operation(summary="Take a document out.", statuses=(400, 404)),
    ("/v1/programs/{name}", "get"): Operation(summary="A program's text and variables.", statuses=(400, 404)),
    ("/v1/programs/runs", "post"): Operation(summary="Run a program.", body=RunBody, form=_EVENTS),
    ("/v1/clusters", "post"): Operation(summary="Sort texts into groups.", body=ClustersBody, form=_EVENTS),
    ("/v1/tokens", "post"): Operation(summary="The tokens of a text, and the likeliest next ones.", body=TokensBody),
}
"""The endpoints, for the OpenAPI document."""


def page_routes() -> list[Route]:
    """All routes of the page, which `create_app(..., page=True)` takes in."""
    return [
        Route("/", files.index, methods=["GET"]),
        Route("/page/{name:path}", files.file, methods=["GET"]),
        Route("/v1/documents", documents.listing, methods=["GET"]),
        Route("/v1/documents/passages", documents.passages, methods=["POST"]),
        Route("/v1/own", own.create, methods=["POST"]),
        Route("/v1/own/{id}", own.show, methods=["GET"]),
        Route("/v1/own/{id}", own.delete, methods=["DELETE"]),
        Route("/v1/own/{id}/{name}", own.upload, methods=["PUT"]),
        Route("/v1/own/{id}/{name}", own.remove, methods=["DELETE"]),
        Route("/v1/programs/runs", programs.run, methods=["POST"]),
        Route("/v1/programs/{name:path}", programs.show, methods=["GET"]),
        Route("/v1/clusters", clusters.clusters, methods=["POST"]),
        Route("/v1/tokens", tokens.tokens, methods=["POST"]),
    ]
