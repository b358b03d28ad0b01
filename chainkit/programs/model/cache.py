"""What slots have written, kept on disk: the same slot behind the same tokens of the same model is not computed again.

Kept are slots at temperature 0 and slots with a seed. `CHAINKIT_PROGRAM_CACHE=off` switches it off, a path moves it.

>>> from chainkit.programs.model import cache
>>> with cache.disabled():
...     cache.results() is None
True
"""

from __future__ import annotations

import array
import hashlib
import logging
import os
import pickle
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from chainkit.base.paths import cache_dir
from chainkit.base.sampling import Sampling
from chainkit.programs.model.engines import Scored, Slot, Written

log = logging.getLogger("chainkit.programs")

MOST_BYTES = 256 << 20
_VARIABLE = "CHAINKIT_PROGRAM_CACHE"
_FORMAT = 1  # of the values; another one makes all that is kept unknown
_SWEEP = 256  # so many new results between two looks at the size
_TABLE = "CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, value BLOB, made INTEGER) WITHOUT ROWID"

_off: ContextVar[bool] = ContextVar("program_cache_off", default=False)


class Results:
    """Results in one SQLite file; several processes may use it at once.

    Attributes:
        path: The file.
        limit: So many bytes of results at most; the oldest are dropped first.
    """

    def __init__(self, path: Path, limit: int = MOST_BYTES) -> None:
        self.path, self.limit = path, limit
        self._lock = threading.Lock()
        self._new = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, check_same_thread=False, timeout=10, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")  # what is lost with the power can be made again
        self._database.execute(_TABLE)

    def get(self, key: bytes) -> Written | Scored | None:
        """What is kept under a key."""
        with self._lock, closing(self._database.execute("SELECT value FROM results WHERE key = ?", (key,))) as found:
            row = found.fetchone()
        if row is None:
            return None
        kind, fields = pickle.loads(row[0])  # noqa: S301 - a file of our own, in the user's own folder
        return Scored(**fields) if kind == "scored" else Written(**fields)

    def put(self, key: bytes, result: Written | Scored) -> None:
        """Keep a result."""
        names = result.__dataclass_fields__
        kind = "scored" if isinstance(result, Scored) else "written"
        value = pickle.dumps((kind, {name: getattr(result, name) for name in names}), protocol=5)
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", (key, value, int(time.time())))
            self._new += 1
            if self._new >= _SWEEP:
                self._new = 0
                self._sweep()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._database.execute("DELETE FROM results")
            self._database.execute("VACUUM")

    def __len__(self) -> int:
        with self._lock, closing(self._database.execute("SELECT COUNT(*) FROM results")) as found:
            return found.fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _sweep(self) -> None:
        total = self._database.execute("SELECT COALESCE(SUM(LENGTH(value)), 0) FROM results").fetchone()[0]
        while total > self.limit:
            old = self._database.execute("SELECT key, LENGTH(value) FROM results ORDER BY made LIMIT 256").fetchall()
            self._database.executemany("DELETE FROM results WHERE key = ?", [(key,) for key, _ in old])
            total -= sum(size for _, size in old)


def results() -> Results | None:
    """The cache of this process, or None if it is off."""
    chosen = os.environ.get(_VARIABLE, "").strip()
    if _off.get() or chosen.lower() in ("off", "no", "0", "false"):
        return None
    return _opened(Path(chosen).expanduser() if chosen else cache_dir() / "programs.sqlite")


def clear() -> None:
    """Forget all results."""
    if (found := results()) is not None:
        found.clear()


@contextmanager
def disabled() -> Iterator[None]:
    """Compute everything while this lasts, in this thread or task."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def key_of(fingerprint: str, tokens: Sequence[int], work: object) -> bytes:
    """The key of something computed.

    Args:
        fingerprint: What makes the model different from others.
        tokens: All that it has read.
        work: What it does behind them; its `repr` must say everything.
    """
    told = repr((_FORMAT, fingerprint, work)).encode()
    return hashlib.blake2b(told + b"\0" + array.array("q", tokens).tobytes(), digest_size=20).digest()


def key_of_slot(fingerprint: str, tokens: Sequence[int], slot: Slot, sampling: Sampling) -> bytes | None:
    """The key of what a slot writes; None if it is another text each time."""
    if sampling.temperature > 0 and sampling.seed is None:
        return None
    form = slot.form and (slot.form.pattern, slot.form.options, _schema(slot.form.schema), slot.form.grammar)
    work = (sampling, slot.stop_regex, form, slot.logprobs, slot.token_healing, slot.following)
    return key_of(fingerprint, tokens, work)


def _schema(schema: Any) -> Any:
    if schema is None:
        return None
    from chainkit.decoding.constraints import schema_of

    return schema_of(schema)


@lru_cache(maxsize=4)
def _opened(path: Path) -> Results | None:
    """The file, made anew if it is damaged; None where nothing can be written."""
    try:
        return Results(path)
    except sqlite3.OperationalError as error:
        log.warning("results of programs are not kept: %s: %s", path, error)
    except OSError as error:
        log.warning("results of programs are not kept: %s", error)
    except sqlite3.DatabaseError:
        path.unlink()
        return Results(path)
    return None
