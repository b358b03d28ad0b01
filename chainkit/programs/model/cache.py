"""On-disk cache of slot results, keyed by model, preceding tokens and the slot's request.

Kept are slots at temperature 0 and slots with a seed. `CHAINKIT_PROGRAM_CACHE=off` switches it off, a path moves it.

>>> from chainkit.programs.model import cache
>>> with cache.disabled():
...     cache.results() is None
True
"""

from __future__ import annotations

import array
import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter

from chainkit.base.answer_store import LAYOUT, LIMIT_BYTES, AnswerStore, answers_path
from chainkit.base.sqlite import is_damage, set_aside
from chainkit.programs.model.protocol import OptionScores, SlotResult

log = logging.getLogger("chainkit.programs")

MOST_BYTES = LIMIT_BYTES
KIND = "program"
_VARIABLE = "CHAINKIT_PROGRAM_CACHE"
_FORMAT = 4  # of the values; another one makes all that is kept unknown

_off: ContextVar[bool] = ContextVar("program_cache_off", default=False)


class Results:
    """Results in the file of answers, which several processes may use at once. What fails is a warning, never an error.

    Attributes:
        path: The file.
        limit: Bytes of answers of all kinds that are kept; those used longest ago are dropped first.

    Raises:
        sqlite3.Error: The file cannot be used.
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path, limit: int = MOST_BYTES) -> None:
        self.path, self.limit = path, limit
        self._store = AnswerStore(path, limit)

    def get(self, key: bytes) -> SlotResult | OptionScores | None:
        """The result stored under a key, or None."""
        try:
            value = self._store.get(key, KIND)
            return None if value is None else _read(value)
        except (sqlite3.Error, ValueError, TypeError) as error:
            log.warning("a result of programs cannot be read: %s: %s", self.path, error)
            return None

    def put(self, key: bytes, result: SlotResult | OptionScores) -> None:
        """Keep a result."""
        try:
            self._store.put(key, _written(result), KIND)
        except (sqlite3.Error, TypeError) as error:
            log.warning("a result of programs is not kept: %s: %s", self.path, error)

    def clear(self) -> None:
        """Forget everything."""
        self._store.clear([KIND])

    def __len__(self) -> int:
        found = self._store.counts().get(KIND)
        return found.entries if found else 0

    def close(self) -> None:
        """Close the file."""
        self._store.close()


def _written(result: SlotResult | OptionScores) -> bytes:
    kind = "scored" if isinstance(result, OptionScores) else "written"
    return json.dumps([kind, asdict(result)]).encode()


def _read(value: bytes) -> SlotResult | OptionScores:
    kind, fields = json.loads(value)
    return TypeAdapter[SlotResult | OptionScores](OptionScores if kind == "scored" else SlotResult).validate_python(
        fields
    )


def results() -> Results | None:
    """The cache of this process, or None if it is off."""
    chosen = os.environ.get(_VARIABLE, "").strip()
    if _off.get() or chosen.lower() in ("off", "no", "0", "false"):
        return None
    path = Path(chosen).expanduser() if chosen else answers_path()
    return _opened(path, os.getpid())  # a forked process opens the file for itself


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


def key_of(fingerprint: str, tokens: Sequence[int], work: str) -> bytes:
    """The key of something computed.

    Args:
        fingerprint: What makes the model different from others.
        tokens: All that it has read.
        work: Key of the work after them: `GenerationRequest.key`, or another complete description.
    """
    head = repr((_FORMAT, fingerprint, work)).encode()
    return hashlib.blake2b(head + b"\0" + array.array("q", tokens).tobytes(), digest_size=20).digest()


@lru_cache(maxsize=4)
def _opened(path: Path, process: int) -> Results | None:
    """The file; a damaged one of ours is renamed away. None, and a warning, where nothing can be kept."""
    try:
        return Results(path)
    except (sqlite3.Error, OSError) as error:
        aside = set_aside(path, LAYOUT) if is_damage(error) else None
        if aside is None:
            log.warning("results of programs are not kept: %s: %s", path, error)
            return None
    log.warning("the file of results of programs was damaged: %s is now %s", path, aside)
    return _opened(path, process)
