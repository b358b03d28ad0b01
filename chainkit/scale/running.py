"""Rows through calls: one after the other, or several at the same time in threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from itertools import islice
from typing import Any

from chainkit.scale.sources import NumberedRow
from chainkit.scale.work import Call, RowWork

Outcome = tuple[int, Any, Any]
"""Number, row, and result or error."""

_Group = list[NumberedRow]


def outcomes(
    work: RowWork, rows: Iterator[NumberedRow], *, begin: Callable[[_Group], bool], room: Callable[[], bool]
) -> Iterator[list[Outcome]]:
    """The results of rows, as they come.

    Args:
        work: The work.
        rows: The rows.
        begin: Called with rows before they start; False ends the run, but rows in flight are still returned.
        room: Whether more rows may be begun now; asked again after each result.
    """
    if work.at_once == 1:
        while (group := list(islice(rows, work.rows))) and begin(group):
            yield _done(work.call, group)
        return
    yield from _in_threads(work, rows, begin, room)


def _done(call: Call, group: Sequence[NumberedRow]) -> list[Outcome]:
    results = call([row for _, row in group])
    return [(number, row, result) for (number, row), result in zip(group, results, strict=True)]


def _in_threads(
    work: RowWork, rows: Iterator[NumberedRow], begin: Callable[[_Group], bool], room: Callable[[], bool]
) -> Iterator[list[Outcome]]:
    threads = _Threads(work)
    more = True
    try:
        while True:
            while more and threads.in_flight < work.at_once and (room() or not threads.in_flight):
                group = list(islice(rows, work.rows))
                more = bool(group) and begin(group)
                if more:
                    threads.give(group)
            if not threads.in_flight:
                return
            yield threads.take()
    finally:
        if work.stop is not None and threads.in_flight:
            work.stop()
        threads.end()


class _Threads:
    """Threads that do what they are given.

    Attributes:
        in_flight: Groups that were given and not taken back.
    """

    def __init__(self, work: RowWork) -> None:
        self.in_flight = 0
        self._call = work.call
        self._todo: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._found: queue.SimpleQueue[list[Outcome] | BaseException] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=copy_context().run, args=(self._run,), daemon=True, name=f"chainkit-map-{number}")
            for number in range(work.at_once)
        ]
        for thread in self._threads:
            thread.start()

    def give(self, group: _Group) -> None:
        self._todo.put(group)
        self.in_flight += 1

    def take(self) -> list[Outcome]:
        found = self._found.get()
        self.in_flight -= 1
        if isinstance(found, BaseException):
            raise found
        return found

    def end(self) -> None:
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (group := self._todo.get()) is not None:
            try:
                self._found.put(_done(self._call, group))
            except BaseException as error:  # noqa: BLE001 - raised in the thread that takes
                self._found.put(error)
