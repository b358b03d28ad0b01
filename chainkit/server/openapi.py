"""The OpenAPI document of a server, made from the classes that read its bodies, and a page that shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from chainkit.server import fields
from chainkit.server.services import services_of
from chainkit.server.wire import JSONReply

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One endpoint.

    Attributes:
        summary: One line that says what it does.
        body: Model of the request body.
        streams: Whether it can answer with events.
        upload: Whether its body is a file.
        query: The names in its query, all needed.
        form: The content type of its answer.
        good: The status of its answer.
        statuses: Statuses besides 200 and the errors that all endpoints have.
    """

    summary: str
    body: type[BaseModel] | None = None
    streams: bool = False
    upload: bool = False
    query: tuple[str, ...] = ()
    form: str = "application/json"
    good: int = 200
    statuses: tuple[int, ...] = ()


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("/health", "get"): Operation(summary="Whether the server takes requests.", statuses=(503,)),
    ("/metrics", "get"): Operation(summary="Counts for Prometheus.", form="text/plain"),
    ("/v1/models", "get"): Operation(summary="The models."),
    ("/v1/models/{name}", "get"): Operation(summary="One model.", statuses=(404,)),
    ("/v1/chat/completions", "post"): Operation(summary="Answer a chat.", body=fields.ChatBody, streams=True),
    ("/v1/completions", "post"): Operation(summary="Continue a text.", body=fields.CompletionBody, streams=True),
    ("/v1/responses", "post"): Operation(summary="Answer a chat.", body=fields.ResponsesBody, streams=True),
    ("/v1/responses/{number}", "get"): Operation(summary="An answer that was kept.", statuses=(404,)),
    ("/v1/responses/{number}", "delete"): Operation(summary="Forget an answer.", statuses=(404,)),
    ("/v1/embeddings", "post"): Operation(summary="Turn texts into vectors.", body=fields.EmbeddingsBody),
    ("/v1/rerank", "post"): Operation(summary="Put documents in an order.", body=fields.RerankBody),
    ("/v1/decisions", "post"): Operation(summary="Answer typed questions.", body=fields.DecisionsBody),
}  # fmt: skip

_VARIABLE = re.compile(r"\{(\w+)\}")
_POSTED = (400, 404, 408, 413, 415, 422, 429, 502, 503, 504)
_ALL = (401, 403, 421)
_MEANINGS = {
    400: "The request is wrong; the message names the field.",
    401: "The API key is missing or wrong.",
    403: "Web pages of this origin may not ask.",
    404: "There is no such model or thing.",
    408: "The body came too slowly.",
    413: "The request is too long.",
    415: "The body is not JSON.",
    421: "The host is not served here.",
    422: "The model could not do it.",
    429: "Too many wait; Retry-After says when to try again.",
    502: "An upstream service failed.",
    503: "The model cannot be loaded now, or the server stops.",
    504: "It took too long.",
}


def document(operations: Mapping[tuple[str, str], Operation], *, keyed: bool) -> Json:
    """The document.

    Args:
        operations: The endpoints, by path and method.
        keyed: Whether an API key is asked for.
    """
    bodies = [operation.body for operation in operations.values() if operation.body is not None]
    _, schemas = models_json_schema(
        [(body, "validation") for body in bodies], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Json] = {}
    for (path, method), operation in operations.items():
        paths.setdefault(path, {})[method] = _operation(path, operation)
    components: Json = {"schemas": {**schemas.get("$defs", {}), "Error": _ERROR}}
    found: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "chainkit",
            "version": version("chainkit"),
            "description": "OpenAI's API over what is served here.",
        },
        "paths": paths,
        "components": components,
    }
    if keyed:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"key": []}]
    return found


async def openapi(request: Request) -> Response:
    """The document."""
    return JSONReply(document(request.app.state.operations, keyed=bool(services_of(request).settings.keys)))


async def page(request: Request) -> Response:
    """The document for people: endpoints and their fields, without a script."""
    parts = [_section(path, method, operation) for (path, method), operation in request.app.state.operations.items()]
    served = ", ".join(escape(model.name) for model in services_of(request).catalogue)
    html = _PAGE.format(parts="\n".join(parts), served=served, style=_STYLE)
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
    )
    return HTMLResponse(html, headers={"content-security-policy": policy, "x-content-type-options": "nosniff"})


_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def _operation(path: str, operation: Operation) -> Json:
    content: Json = {operation.form: {"schema": {} if operation.form == "application/json" else {"type": "string"}}}
    if operation.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    statuses = sorted({*_ALL, *operation.statuses, *(_POSTED if operation.body or operation.upload else ())})
    responses: Json = {str(operation.good): {"description": "The answer.", "content": content}}
    for status in statuses:
        form = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        responses[str(status)] = {"description": _MEANINGS[status], "content": form}
    if operation.summary.startswith("Whether"):
        responses["503"] = {"description": "It is about to stop.", "content": {"application/json": {"schema": {}}}}
    entry: Json = {"summary": operation.summary, "responses": responses}
    if operation.body is not None:
        schema = {"$ref": f"#/components/schemas/{operation.body.__name__}"}
        entry["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if operation.upload:
        entry["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    named = [*((name, "path") for name in _VARIABLE.findall(path)), *((name, "query") for name in operation.query)]
    if named:
        schema = {"type": "string", "minLength": 1}
        entry["parameters"] = [{"name": name, "in": place, "required": True, "schema": schema} for name, place in named]
    return entry


def _section(path: str, method: str, operation: Operation) -> str:
    rows = "".join(_row(name, field) for name, field in (operation.body.model_fields if operation.body else {}).items())
    table = f"<table><tr><th>field<th>form<th>{rows}</table>" if rows else ""
    streams = " Streams with <code>stream: true</code>." if operation.streams else ""
    return f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation.summary)}{streams}</p>{table}"


def _row(name: str, field: Any) -> str:
    form = str(field.annotation).replace("typing.", "").replace("chainkit.server.fields.", "")
    if isinstance(field.annotation, type):
        form = field.annotation.__name__
    about = field.description or ("needed" if field.is_required() else "")
    return f"<tr><td><code>{escape(name)}</code><td><code>{escape(form)}</code><td>{escape(about)}"


_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: auto; padding: 1rem }
table { border-collapse: collapse; width: 100%; table-layout: fixed }
th, td { text-align: left; vertical-align: top; padding: .2rem .5rem }
td { border-bottom: 1px solid #8884; overflow-wrap: anywhere }
"""
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>chainkit: endpoints</title><style>{style}</style>
<main><h1>Endpoints</h1>
<p>OpenAI's API. Served here: {served}. The same for programs: <a href="/openapi.json">openapi.json</a>.</p>
{parts}</main></html>
"""
