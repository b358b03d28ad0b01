"""A server with OpenAI's API for models, documents, chains and programs.

    catalogue = Catalogue()
    catalogue.add(served_model("smollm2"))
    run(create_app(catalogue, settings), settings)

Further endpoints are Starlette routes, given to `create_app(..., routes=[...])`. In one of them `services_of(request)`
is what all endpoints share: the catalogue, the limits, who is computed for now, and the counts.

    async def shout(request: Request) -> Response:
        services = services_of(request)
        body = parsed(ShoutBody, await services.body(request))      # JSON within the limits, checked by pydantic
        async with services.at_work(body.model, "chat") as served:  # a place, and the model, opened
            answer = await speaker_of(served).answer(call)
        return JSONReply({"text": answer.text.upper()})

An error of `chainkit.base.errors`, or a `RequestFault`, becomes OpenAI's error body by the one table in `faults`; a
stream of events is an `EventReply`, which is closed when the client goes away. Hosts, origins and keys are looked at
before any route; paths in `open_paths` need no key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.server.app import create_app as create_app
    from chainkit.server.catalogue import Catalogue as Catalogue
    from chainkit.server.catalogue import ServedModel as ServedModel
    from chainkit.server.running import in_background as in_background
    from chainkit.server.running import run as run
    from chainkit.server.serving import served_chain as served_chain
    from chainkit.server.serving import served_documents as served_documents
    from chainkit.server.serving import served_embeddings as served_embeddings
    from chainkit.server.serving import served_model as served_model
    from chainkit.server.serving import served_program as served_program
    from chainkit.server.serving import served_reranker as served_reranker
    from chainkit.server.settings import ServerLimits as ServerLimits
    from chainkit.server.settings import ServerSettings as ServerSettings

_HOMES = {
    "Catalogue": "chainkit.server.catalogue",
    "ServerLimits": "chainkit.server.settings",
    "ServedModel": "chainkit.server.catalogue",
    "ServerSettings": "chainkit.server.settings",
    "create_app": "chainkit.server.app",
    "in_background": "chainkit.server.running",
    "run": "chainkit.server.running",
    "served_chain": "chainkit.server.serving",
    "served_documents": "chainkit.server.serving",
    "served_embeddings": "chainkit.server.serving",
    "served_model": "chainkit.server.serving",
    "served_program": "chainkit.server.serving",
    "served_reranker": "chainkit.server.serving",
}

__all__ = [
    "Catalogue",
    "ServedModel",
    "ServerLimits",
    "ServerSettings",
    "create_app",
    "in_background",
    "run",
    "served_chain",
    "served_documents",
    "served_embeddings",
    "served_model",
    "served_program",
    "served_reranker",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
