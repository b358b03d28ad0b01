"""Rows on a Ray cluster: actors hold the runnable, and Ray restarts those that die.

The order and the record of results stay with the process that started the run: an actor only maps rows to results, so
that a run is durable and can be resumed as without Ray.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from typing import Any

from chainkit.base.errors import ChainkitError, MissingLibrary
from chainkit.scale.work import EMBEDDED_ROWS, RowWork, work_of

CALLS = 8
"""Rows that an actor does at the same time, if there is a model in it."""


class RowActor:
    """The runnable in a Ray process."""

    def __init__(self, runnable: Any, column: str | None) -> None:
        self._work = work_of(runnable, column, None, 1)

    def do(self, rows: Sequence[Any]) -> list[Any]:
        """The results of rows."""
        if self._work.rows > 1:
            return [_carried(result) for result in self._work.call(rows)]
        return [_carried(result) for row in rows for result in self._work.call([row])]


class RayCalls:
    """Calls that actors answer; each goes to the one that is least busy.

    Args:
        runnable: The runnable to call for each row.
        column: The column that it is given.
        actors: How many there are; None: one for each core of the cluster.

    Raises:
        MissingLibrary: Ray is not installed.
        ChainkitError: The runnable cannot be pickled for an actor.
    """

    def __init__(self, runnable: Any, column: str | None, actors: int | None) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports] - a separate extra
        except ImportError as error:
            raise MissingLibrary("ray", extra="ray") from error
        if not ray.is_initialized():
            ray.init(log_to_driver=False)  # the cluster of RAY_ADDRESS, else one on this machine
        self._ray = ray
        work = work_of(runnable, column, None, 1)
        self._at_once = CALLS if work.models else 1
        self._rows, self._models = 1 if work.models else EMBEDDED_ROWS, work.models
        count = actors or max(1, int(ray.cluster_resources().get("CPU", 1)))
        kind: Any = ray.remote(RowActor)
        options = {"num_cpus": 1, "max_concurrency": self._at_once, "max_restarts": -1, "max_task_retries": -1}
        try:
            self._actors = [kind.options(**options).remote(runnable, column) for _ in range(count)]
        except (TypeError, pickle.PicklingError) as error:
            raise ChainkitError(f"the runnable cannot be sent to Ray's actors: {error}") from error
        self._busy, self._lock = [0] * count, threading.Lock()

    def work(self) -> RowWork:
        """The calls, as many at once as the actors take."""
        return RowWork(self, self._rows, len(self._actors) * self._at_once, self._models)

    def __call__(self, rows: Sequence[Any]) -> list[Any]:
        """The results of rows."""
        with self._lock:
            place = min(range(len(self._busy)), key=self._busy.__getitem__)
            self._busy[place] += 1
        try:
            return self._ray.get(self._actors[place].do.remote(list(rows)))
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ChainkitError(f"Ray cannot do these rows: {reason}") from error
        finally:
            with self._lock:
                self._busy[place] -= 1


def _carried(result: Any) -> Any:
    """A result that can be pickled; an error that cannot be is replaced by its text."""
    if not isinstance(result, Exception):
        return result
    try:
        pickle.loads(pickle.dumps(result))  # noqa: S301 - our own, a moment ago
    except Exception:  # noqa: BLE001 - whatever its class does when it is copied
        return ChainkitError(f"{type(result).__name__}: {result}")
    return result
