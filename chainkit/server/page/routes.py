"""The routes of the page: its files, and the endpoints that OpenAI's API has no word for."""

from __future__ import annotations

from starlette.routing import Route

from chainkit.server.page import clusters, documents, files, own, programs, tokens

PAGE_PATHS = ("/", "/page/")
"""The page itself is sent without a key; it asks for the key that its requests need."""


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
