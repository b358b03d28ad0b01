"""HostedBatches of OpenAI's API: requests in a file, answered within a day for a lower price."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chainkit.backends.openai import calls
from chainkit.backends.openai.client import Clients, Connection
from chainkit.backends.openai.errors import Failed, malformed, translated
from chainkit.base.errors import BadRequest, ConnectionFailed, MalformedReply, ProviderError, TimedOut

MOST_REQUESTS, MOST_BYTES = 50_000, 190_000_000
"""What a file may hold; OpenAI's limit is 200 MB."""
_REPLY_BYTES = 2_000_000_000
_LISTED = 100
_ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
_TOKEN = "chainkit"  # noqa: S105 - the name of the field


@dataclass(frozen=True)
class HostedBatch:
    """The status of a batch at the service.

    Attributes:
        id: Its id at the service.
        status: Such as "in_progress" or "completed".
        files: Where the answers and the errors are.
        errors: Why the service did not take it.
    """

    id: str
    status: str
    files: tuple[str, ...]
    errors: str

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status in _ENDED


class HostedBatches:
    """The batches of one service.

    Raises:
        ProviderError: The service failed; so does every method.
    """

    def __init__(self, clients: Clients, connection: Connection) -> None:
        self._clients = clients
        self.connection = replace(connection, others=(), max_reply_bytes=_REPLY_BYTES)

    def begin(self, requests: Mapping[str, Mapping[str, Any]], path: str, token: str) -> str:
        """Send requests; the id of their batch.

        Args:
            requests: Bodies by ids of ours.
            path: Which call they are, such as "/chat/completions".
            token: A text that `begun` finds the batch by, should we not get to know its id.
        """
        lines = "".join(
            calls.encoded({"custom_id": id_, "method": "POST", "url": f"/v1{path}", "body": body}).decode() + "\n"
            for id_, body in requests.items()
        )
        file = {"file": ("requests.jsonl", lines.encode(), "application/jsonl")}
        sent = self._json("POST", "/files", data={"purpose": "batch"}, files=file)
        wanted = {
            "input_file_id": sent.get("id"),
            "endpoint": f"/v1{path}",
            "completion_window": "24h",
            "metadata": {_TOKEN: token},
        }
        try:
            return str(self._json("POST", "/batches", once=True, json=wanted)["id"])
        except (ConnectionFailed, MalformedReply, TimedOut):
            if (found := self.begun(token)) is None:  # else it was made, and only the answer was lost
                raise
            return found

    def begun(self, token: str) -> str | None:
        """The id of the batch with this token, if it is among the last hundred."""
        found = self._json("GET", "/batches", params={"limit": _LISTED}).get("data") or []
        return next((str(one["id"]) for one in found if (one.get("metadata") or {}).get(_TOKEN) == token), None)

    def look(self, id_: str) -> HostedBatch:
        """How far a batch is."""
        batch = self._json("GET", f"/batches/{id_}")
        faults = (batch.get("errors") or {}).get("data") or []
        files = tuple(str(batch[name]) for name in ("output_file_id", "error_file_id") if batch.get(name))
        return HostedBatch(id_, str(batch.get("status")), files, "; ".join(str(one.get("message")) for one in faults))

    def replies(self, batch: HostedBatch) -> dict[str, dict[str, Any] | ProviderError]:
        """The answers of a batch by our ids: the body, or the error that the service gave for the request.

        Raises:
            BadRequest: The service did not take the batch.
        """
        if batch.status == "failed":
            reason = batch.errors or "it gave no reason"
            raise BadRequest(f"{self.connection.provider} refused the batch {batch.id}: {reason}")
        found: dict[str, dict[str, Any] | ProviderError] = {}
        for file in batch.files:
            content = calls.fetch(self._clients, self.connection, "GET", f"/files/{file}/content")
            found.update(self._read(content.splitlines()))
        return found

    def _read(self, lines: Iterable[bytes]) -> Iterable[tuple[str, dict[str, Any] | ProviderError]]:
        for line in filter(bytes.strip, lines):
            try:
                line_data = json.loads(line)
                id_, response = str(line_data["custom_id"]), line_data.get("response") or {}
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise malformed(self.connection, f"a line of a batch that cannot be read ({error})") from error
            body, status = response.get("body"), response.get("status_code")
            if status == 200 and isinstance(body, dict):
                yield id_, body
            elif isinstance(status, int):
                yield id_, translated(Failed(status, {}, json.dumps(body).encode()), self.connection)
            else:
                error = line_data.get("error") or {}
                reason = f"{error.get('code')}: {error.get('message')}"
                yield id_, ProviderError(f"not answered in its batch ({reason})", provider=self.connection.provider)

    def _json(self, method: str, path: str, *, once: bool = False, **content: Any) -> dict[str, Any]:
        connection = replace(self.connection, max_retries=0) if once else self.connection
        body = calls.fetch(self._clients, connection, method, path, **content)
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise malformed(connection, "no JSON object", body[:200].decode(errors="replace"))
        return found
