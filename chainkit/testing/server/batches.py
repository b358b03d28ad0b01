"""The batch API of the service on loopback: files, and batches that are answered when they are looked at."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from itertools import count
from typing import Any

from chainkit.testing.server.checks import Refusal
from chainkit.testing.server.wire import HTTPRequest

Json = dict[str, Any]
Answered = tuple[int, Json]
"""The status and the body of an answer."""


class BatchService:
    """Files and batches.

    Attributes:
        looks: How often a batch is looked at before it is completed.
        ends_as: The status that batches end with.
        answers: Requests of a batch that are answered; None: all.
    """

    def __init__(self, answer: Callable[[str, Json], Answered]) -> None:
        self.looks, self.ends_as = 1, "completed"
        self.answers: int | None = None
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Json] = {}
        self._answer, self._ids, self._lock = answer, count(1), threading.Lock()

    def respond(self, request: HTTPRequest) -> bytes | Json | None:
        """The answer to a request that is about them; None if it is not."""
        path, _, rest = request.path.partition("?")[0].removeprefix("/v1/").partition("/")
        with self._lock:
            match request.method, path, rest:
                case "POST", "files", "":
                    return self._keep(_file_of(request))
                case "GET", "files", _ if rest.endswith("/content"):
                    return self._known(self.files, rest.removesuffix("/content"))
                case "POST", "batches", "":
                    return self._begin(request.json)
                case "GET", "batches", "":
                    return {"object": "list", "data": list(self.batches.values())[::-1]}
                case "GET", "batches", _:
                    return self._look(self._known(self.batches, rest))
                case _:
                    return None

    def _keep(self, content: bytes) -> Json:
        id_ = f"file-{next(self._ids):06d}"
        self.files[id_] = content
        return {"id": id_, "object": "file", "bytes": len(content), "purpose": "batch"}

    def _begin(self, body: Json) -> Json:
        self._known(self.files, body["input_file_id"])
        if body.get("completion_window") != "24h":
            raise Refusal(400, "completion_window must be 24h")
        id_ = f"batch_{next(self._ids):06d}"
        status = "in_progress" if self.looks else self.ends_as
        self.batches[id_] = {**body, "id": id_, "object": "batch", "status": status, "looks": 0}
        return self.batches[id_]

    def _look(self, batch: Json) -> Json:
        batch["looks"] += 1
        if batch["status"] == "in_progress" and batch["looks"] >= self.looks:
            batch["status"] = self.ends_as
            if self.ends_as == "failed":
                batch["errors"] = {"data": [{"code": "invalid", "message": "line 1 is not a request"}]}
            else:
                self._run(batch)
        return batch

    def _run(self, batch: Json) -> None:
        lines: dict[bool, list[str]] = {True: [], False: []}
        requests = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        for request in requests[: self.answers]:
            if request["url"] != batch["endpoint"]:
                raise Refusal(400, "a request is for another endpoint than its batch")
            status, body = self._answer(request["url"], request["body"])
            response = {"status_code": status, "request_id": "req", "body": body}
            line = {"id": "batch_req", "custom_id": request["custom_id"], "response": response, "error": None}
            lines[status == 200].append(json.dumps(line))
        for request in requests[len(requests) if self.answers is None else self.answers :]:
            error = {"code": "batch_expired", "message": "This request could not be executed in time."}
            lines[False].append(json.dumps({"custom_id": request["custom_id"], "response": None, "error": error}))
        for good, name in ((True, "output_file_id"), (False, "error_file_id")):
            batch[name] = self._keep("\n".join(lines[good]).encode())["id"] if lines[good] else None

    def _known(self, things: dict[str, Any], id_: str) -> Any:
        if id_ not in things:
            raise Refusal(404, f"No such object: {id_}")
        return things[id_]


def _file_of(request: HTTPRequest) -> bytes:
    """The file of a form."""
    kind, _, boundary = request.headers.get("content-type", "").partition("boundary=")
    if not kind.startswith("multipart/form-data") or not boundary:
        raise Refusal(400, "files are sent as multipart/form-data")
    for part in request.body.split(b"--" + boundary.encode()):
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    raise Refusal(400, "there is no file in the form")
