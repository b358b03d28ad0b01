"""The endpoints of the page, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping

from chainkit.server.openapi import Operation
from chainkit.server.page.clusters import ClustersBody
from chainkit.server.page.documents import PassagesBody
from chainkit.server.page.programs import RunBody
from chainkit.server.page.tokens import TokensBody

_EVENTS = "text/event-stream"

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
