"""Rows through a hosted batch API: their calls are gathered, sent as a file, waited for, and answered from another.

A chain runs twice on a row. The first time its model call is recorded and nothing is sent; the second time the call
gets the batch's answer. So everything before and after the model in a chain works as usual.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import BadRequest, ChainkitError, ModelNotFound, ProviderError, Unsupported
from chainkit.scale.work import RowWork

if TYPE_CHECKING:
    from chainkit.backends.openai.batches import HostedBatches
    from chainkit.backends.openai.client import Connection

ROWS = 10_000
"""Rows of a batch."""
AT_ONCE = 4
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 5.0, 60.0
_REMEMBERED = 64  # batches whose rows may not be finished, by far


@dataclass
class _Asked(BaseException):
    """The first call of a chain: no error, and so no `Exception`, which a chain may catch."""

    connection: Connection
    path: str
    body: Mapping[str, Any]


class BatchedCalls:
    """What does rows by batches.

    Args:
        work: The work on one row; it contains one hosted model.
        record: The file that records batches, so that a killed run waits for those already sent.

    Raises:
        Unsupported: There is no model in it that has a batch API, or more than one.
    """

    def __init__(self, work: RowWork, record: Path) -> None:
        hosted = [model for model in work.models if hasattr(model, "_clients")]
        if len(hosted) != 1 or len(work.models) != 1:
            raise Unsupported(
                "the engine 'batch' takes a chain with one hosted model of OpenAI's API; "
                f"here are {len(work.models)} models, {len(hosted)} of them hosted"
            )
        self._call, self._clients = work.call, hosted[0]._clients
        self._stopped, self._lock, self._record = threading.Event(), threading.Lock(), record
        self._known = _remembered(record)

    def work(self, models: tuple[Any, ...], at_once: int | None) -> RowWork:
        """The same, for rows in batches."""
        return RowWork(self, ROWS, at_once or AT_ONCE, models, self._stopped.set)

    def __call__(self, rows: Sequence[Any]) -> list[Any]:
        """The results of rows; waits until their batch is answered."""
        first = [self._first(row) for row in rows]
        asked = {place: one for place, one in enumerate(first) if isinstance(one, _Asked)}
        if not asked:
            return first
        some = next(iter(asked.values()))
        ids = dict(zip(asked, _ids(asked.values()), strict=True))
        bodies = {ids[place]: one.body for place, one in asked.items() if one.path == some.path}
        replies = self._answered(some.connection, some.path, bodies)
        return [
            self._second(rows[place], replies.get(ids[place])) if place in asked else one
            for place, one in enumerate(first)
        ]

    def _first(self, row: Any) -> Any:
        from chainkit.backends.openai.answering import answered_by

        def take_down(connection: Connection, path: str, body: dict[str, Any]) -> dict[str, Any]:
            raise _Asked(connection, path, body)

        try:
            with answered_by(take_down):
                return self._call([row])[0]
        except _Asked as asked:
            return asked.with_traceback(None)

    def _second(self, row: Any, reply: dict[str, Any] | ProviderError | None) -> Any:
        from chainkit.backends.openai.answering import answered_by

        if not isinstance(reply, dict):
            return reply or ProviderError("the batch ended before this row was answered")
        left = [reply]

        def answer(connection: Connection, path: str, body: dict[str, Any]) -> dict[str, Any]:
            if not left:
                raise Unsupported("the engine 'batch' takes chains that ask their model once for each row")
            return left.pop()

        with answered_by(answer):
            return self._call([row])[0]

    def _answered(
        self, connection: Connection, path: str, bodies: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, dict[str, Any] | ProviderError]:
        """The answers by id: of batches that were sent before, as far as they have them, and of new ones."""
        from chainkit.backends.openai.batches import HostedBatches

        batches, found = HostedBatches(self._clients, connection), dict[str, Any]()
        for token, (batch, ids) in self._known.items():
            if ids & bodies.keys():
                known = batch or batches.begun(token)
                if known is not None:
                    found.update(self._of_earlier_run(batches, known))
        missing = {id_: body for id_, body in bodies.items() if not isinstance(found.get(id_), dict)}
        begun = [self._begun(batches, part, path) for part in _parts(missing)]
        for batch in begun:
            found.update(self._awaited(batches, batch))
        return found

    def _of_earlier_run(self, batches: HostedBatches, id_: str) -> dict[str, dict[str, Any] | ProviderError]:
        try:
            return self._awaited(batches, id_)
        except (BadRequest, ModelNotFound):  # it was refused then, or the service has forgotten it
            return {}

    def _begun(self, batches: HostedBatches, bodies: Mapping[str, Mapping[str, Any]], path: str) -> str:
        token = secrets.token_hex(16)
        self._remember({"token": token, "ids": list(bodies)})  # before: else a kill could pay for it twice
        batch = batches.begin(bodies, path, token)
        self._remember({"token": token, "batch": batch})
        return batch

    def _awaited(self, batches: HostedBatches, id_: str) -> dict[str, dict[str, Any] | ProviderError]:
        pause = FIRST_POLL_SECONDS
        while not (batch := batches.look(id_)).ended:
            if self._stopped.wait(pause):
                raise ChainkitError(f"stopped while the batch {id_} was awaited; start the run again to go on")
            pause = min(pause * 1.5, LONGEST_POLL_SECONDS)
        return batches.replies(batch)

    def _remember(self, note: Mapping[str, Any]) -> None:
        with self._lock, self._record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _ids(asked: Iterable[_Asked]) -> list[str]:
    """An id for each call: equal calls have ids of their own, and the next run finds the same ones."""
    seen, found = Counter[str](), list[str]()
    for one in asked:
        text = json.dumps([one.path, one.body], sort_keys=True, default=str)
        name = blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()
        found.append(f"{name}-{seen[name]}")
        seen[name] += 1
    return found


def _parts(bodies: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Mapping[str, Any]]]:
    """Requests in as many files as their limits ask for."""
    from chainkit.backends.openai.batches import MOST_BYTES, MOST_REQUESTS
    from chainkit.backends.openai.calls import encoded

    part: dict[str, Mapping[str, Any]] = {}
    size = 0
    for id_, body in bodies.items():
        length = len(encoded(dict(body))) + 200
        if part and (len(part) == MOST_REQUESTS or size + length > MOST_BYTES):
            yield part
            part, size = {}, 0
        part[id_] = body
        size += length
    if part:
        yield part


def _remembered(record: Path) -> dict[str, tuple[str | None, set[str]]]:
    """The last batches of earlier runs by token: their id, if it is known, and the ids of their requests."""
    if not record.exists():
        return {}
    with record.open("rb") as file:
        lines = deque(file, maxlen=2 * _REMEMBERED)
    found: dict[str, tuple[str | None, set[str]]] = {}
    for line in lines:
        try:
            note = json.loads(line)
        except ValueError:
            continue  # cut by a kill
        batch, ids = found.get(note["token"], (None, set[str]()))
        found[note["token"]] = (note.get("batch", batch), ids | set(note.get("ids", ())))
    return found
