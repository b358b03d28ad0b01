"""One update of an index at a time, whatever process it runs in."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from chainkit.base.errors import IndexFileError

if TYPE_CHECKING:
    from chainkit.knowledge.index.store import Store

WAIT_SECONDS = 300.0
_ONCE_SECONDS = 1


@contextmanager
def alone(store: Store, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the right to update an index; the end of the process, however it comes, gives it back.

    It is a transaction on an empty SQLite file beside the index, since those are exclusive on every system.

    Args:
        waiting: Called about once a second while another process has it.

    Raises:
        IndexFileError: Another process has it and has stored nothing for `WAIT_SECONDS`.
    """
    if store.path is None:
        yield
        return
    file = store.path.with_name(f"{store.path.name}-lock")
    try:
        lock = sqlite3.connect(file, timeout=_ONCE_SECONDS, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise IndexFileError(store.path, f"cannot be updated: {file.name} cannot be made ({error})") from error
    with closing(lock):
        file.chmod(0o600)
        _take(lock, store, waiting)
        yield


def _take(lock: sqlite3.Connection, store: Store, waiting: Callable[[], None]) -> None:
    version, since = store.version(), time.monotonic()
    while True:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if store.version() != version:
                version, since = store.version(), time.monotonic()
            if time.monotonic() - since > WAIT_SECONDS:
                reason = f"another process updates it and has stored nothing for {WAIT_SECONDS:.0f} seconds; try again"
                raise IndexFileError(store.path or "index in memory", reason) from error
            waiting()
        else:
            return
