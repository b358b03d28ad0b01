"""State shared by the endpoints of one server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from chainkit.server.admission import Admission
from chainkit.server.catalogue import Ability, Catalogue
from chainkit.server.metrics import Metrics
from chainkit.server.settings import ServerLimits, ServerSettings
from chainkit.server.wire import Arriving, read_json


@dataclass(frozen=True, eq=False)
class Services:
    """State shared by the endpoints of one server.

    Attributes:
        catalogue: Served models, documents and programs.
        settings: Address and access rules.
        admission: Admission of requests.
        metrics: Metrics.
        arriving: Memory taken by request bodies being received.
    """

    catalogue: Catalogue
    settings: ServerSettings
    admission: Admission
    metrics: Metrics
    arriving: Arriving

    @property
    def limits(self) -> ServerLimits:
        """Limits on requests."""
        return self.settings.limits

    @asynccontextmanager
    async def at_work(self, name: str, ability: Ability) -> AsyncIterator[Any]:
        """A served object and a place among those that are computed, both given back at the end.

        Raises:
            RequestFault: There is no such model, or no place.
            TimeoutError: The request takes longer than a request may.
        """
        self.catalogue.find(name, ability)  # a wrong name does not wait
        async with (
            asyncio.timeout(self.limits.seconds),
            self.admission.place(),
            self.catalogue.use(name, ability) as found,
        ):
            yield found

    async def body(self, request: Request) -> Any:
        """The JSON body of a request; raises as `wire.read_json`."""
        return await read_json(request, self.limits.body_bytes, self.limits.header_seconds, self.arriving)


def services_of(request: Request) -> Services:
    """The services of the server that a request came to."""
    return request.app.state.services
