"""The state of the server: /health, /metrics and /v1/models."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from chainkit.server.catalogue import ServedModel
from chainkit.server.faults import RequestFault
from chainkit.server.fields import Json
from chainkit.server.services import services_of
from chainkit.server.wire import JSONReply


async def health(request: Request) -> Response:
    """Whether it takes requests, and how many there are."""
    services = services_of(request)
    stopping = services.admission.closed
    reply = {
        "status": "stopping" if stopping else "ok",
        "running": services.admission.active,
        "waiting": services.admission.waiting,
    }
    return JSONReply(reply, 503 if stopping else 200)


async def metrics(request: Request) -> Response:
    """Counts for Prometheus."""
    services = services_of(request)
    gauges = {
        "requests_running": ("Requests that are computed now.", services.admission.active),
        "requests_waiting": ("Requests that wait.", services.admission.waiting),
        "requests_refused_total": ("Requests refused because too many waited.", services.admission.refused),
        "models_loaded": ("Models in memory.", sum(bool(model.opened) for model in services.catalogue)),
        "models_unloaded_total": ("Times that a model was unloaded.", services.catalogue.unloaded),
    }
    text = services.metrics.text({name: (meaning, float(value)) for name, (meaning, value) in gauges.items()})
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def models(request: Request) -> Response:
    """The list of models."""
    return JSONReply({"object": "list", "data": [_row(model) for model in services_of(request).catalogue.listed]})


async def one_model(request: Request) -> Response:
    """One model of the list."""
    name = request.path_params["name"]
    for model in services_of(request).catalogue:
        if model.name == name:
            return JSONReply(_row(model))
    raise RequestFault(404, f"no model '{name}'", code="model_not_found", param="model")


def _row(model: ServedModel) -> Json:
    row: Json = {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "chainkit",
        "kind": model.kind,
        "abilities": list(model.makers),
        "loaded": bool(model.opened),
        **model.about,
    }
    if (length := _context_length(model)) is not None:
        row["context_length"] = length
    return row


def _context_length(model: ServedModel) -> int | None:
    for made in model.opened.values():
        runtime: Any = getattr(made, "runtime", None)
        if isinstance(length := getattr(runtime, "context_length", None), int):
            return length
    return None
