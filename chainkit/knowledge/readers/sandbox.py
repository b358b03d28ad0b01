"""Child processes that read documents under limits, so that no file can stop or swamp the process that asks."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, astuple
from pathlib import Path
from typing import IO, Any, cast

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.kinds import FileKind
from chainkit.knowledge.readers.source import ReadLimits
from chainkit.knowledge.readers.worker import TOO_LARGE

SILENT_SECONDS = 60.0
"""How long a child may say nothing: it waits for a disk or a network then, since its own time is limited."""

_CHUNK_BYTES = 1 << 16
_LINE_BYTES = 4_000_000


class Overrun(DocumentError):
    """Reading a document exceeded its limits; the part read before is kept."""


class _Child:
    """One child process, for one document at a time."""

    def __init__(self) -> None:
        root = str(Path(__file__).parents[3])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chainkit.knowledge.readers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "MALLOC_ARENA_MAX": "2"},
        )
        self._input = cast(IO[bytes], self._process.stdin)
        self._output = cast(IO[bytes], self._process.stdout)

    def alive(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def ask(self, path: Path, kind: FileKind, limits: ReadLimits, target_tokens: int | None) -> None:
        """Begin with a document.

        Raises:
            BrokenPipeError: The child has ended meanwhile.
        """
        job = {"path": str(path), "kind": astuple(kind), "limits": asdict(limits), "target_tokens": target_tokens}
        self._input.write(json.dumps(job).encode() + b"\n")
        self._input.flush()

    def answers(self) -> Iterator[list[Any]]:
        """What the child says of the document, up to its last word.

        Raises:
            TimeoutError: It has been silent for too long.
        """
        rest = b""
        with selectors.DefaultSelector() as selector:
            if os.name == "posix":
                selector.register(self._output, selectors.EVENT_READ)
            while True:
                if os.name == "posix" and not selector.select(SILENT_SECONDS):
                    raise TimeoutError
                data = os.read(self._output.fileno(), _CHUNK_BYTES)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > _LINE_BYTES:
                    return
                for line in lines:
                    yield json.loads(line)

    def end(self) -> int:
        """Stop it; its status."""
        own = self.owner == os.getpid()
        if own:
            self._process.kill()  # without effect on one that has ended
        for pipe in (self._input, self._output):
            try:
                pipe.close()
            except OSError:  # the other end is closed: pending data is dropped
                continue
        return self._process.wait() if own else 0


_idle: list[_Child] = []
_lock = threading.Lock()


def answers(path: Path, kind: FileKind, limits: ReadLimits, target_tokens: int | None = None) -> Iterator[list[Any]]:
    """What a child says while it reads a file: `["block", ...]`, `["note", reason]`, `["error", reason]`.

    With `target_tokens` it splits the file too, so that this is under the limits, and says `["passage", ...]`.

    Raises:
        Overrun: It took more time or memory than it may, or its process died of the file.
    """
    child, done = _asked(path, kind, limits, target_tokens), False
    try:
        for answer in child.answers():
            done = answer[0] == "done"
            if done:
                return
            yield answer
        raise Overrun(path, _reason(child.end(), limits))
    except TimeoutError as error:
        raise Overrun(path, f"gave nothing for {SILENT_SECONDS:.0f} seconds") from error
    finally:
        if done:
            _give_back(child)
        else:
            child.end()


def close() -> None:
    """End the children that wait for work."""
    with _lock:
        while _idle:
            _idle.pop().end()


atexit.register(close)


def _asked(path: Path, kind: FileKind, limits: ReadLimits, target_tokens: int | None) -> _Child:
    """A child that has begun with this document: one that waits, or a new one."""
    while True:
        with _lock:
            child = _idle.pop() if _idle else None
        if child is None:
            break
        if child.alive():
            try:
                child.ask(path, kind, limits, target_tokens)
            except OSError:  # it had waited long enough
                child.end()
                continue
            return child
        child.end()
    child = _Child()
    child.ask(path, kind, limits, target_tokens)
    return child


def _give_back(child: _Child) -> None:
    with _lock:
        if not _idle:
            _idle.append(child)
            return
    child.end()


def _reason(status: int, limits: ReadLimits) -> str:
    if status in (TOO_LARGE, -getattr(signal, "SIGABRT", 0)):  # libraries abort when they get no memory
        return f"takes more than {limits.memory_bytes // 1_000_000} MB of memory to be read"
    if hasattr(signal, "SIGXCPU") and status == -signal.SIGXCPU:
        return f"takes more than {limits.seconds:g} seconds to be read"
    return f"ends the process that reads it (status {status})"
