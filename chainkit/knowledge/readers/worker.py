"""Read and split one document: in this process, or in a child process with limits.

    python -m chainkit.knowledge.readers.worker

reads jobs from standard input, one JSON object in each line, and answers each with lines of JSON.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import select
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from chainkit.base.errors import DocumentError, MissingLibrary, of_system
from chainkit.knowledge.readers.blocks import Block, clean
from chainkit.knowledge.readers.kinds import FileKind
from chainkit.knowledge.readers.source import Reader, ReadLimits, Source
from chainkit.knowledge.readers.split import split

if sys.platform != "win32":
    import resource

IDLE_SECONDS = 30.0
TOO_LARGE = 3
"""The status of a child that had no memory left to say so."""

_OF_THE_SYSTEM = frozenset(
    (errno.EACCES, errno.EIO, errno.ENODEV, errno.ENOENT, errno.ENOTCONN, errno.ENXIO, errno.EPERM, errno.ESTALE,
     errno.ETIMEDOUT)
)  # fmt: skip
_BLOCK_CHARACTERS = 200_000
_FLUSH_CHARACTERS = 1 << 16
_SWOLLEN_BYTES = 150_000_000  # memory that a child may keep for its next document


def blocks_of(source: Source, kind: FileKind, limits: ReadLimits) -> Iterator[Block]:
    """The blocks of a file, clean and of bounded length.

    Raises:
        DocumentError: It cannot be read, whatever its reader raised, or it holds more text than `limits` allow.
        OSError: The system does not give it out.
        MissingLibrary: What reads it is not installed.
    """
    size = source.path.stat().st_size
    left = limits.characters_of(size)
    try:
        for block in _reader(kind)(source):
            for part in _parts(block):
                left -= len(part.text)
                if left < 0:
                    raise DocumentError(source.path, f"unfolds to more than {limits.characters_of(size):,} characters")
                yield part
    except (DocumentError, MemoryError, MissingLibrary):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
            raise
        said = " ".join(str(error).split())[:120]
        name = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise DocumentError(source.path, f"is not a readable {source.kind} ({name})") from error


def _reader(kind: FileKind) -> Reader:
    module, _, name = kind.reader.partition(":")
    return getattr(importlib.import_module(f"chainkit.knowledge.readers.{module}"), name)


def _parts(block: Block) -> Iterator[Block]:
    text = clean(block.text)
    if not text.strip():
        return
    if len(text) <= _BLOCK_CHARACTERS:
        yield block if text is block.text else _with(block, text)
        return
    start = 0
    while start < len(text):
        end = min(len(text), start + _BLOCK_CHARACTERS)
        if end < len(text):
            end = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end)) + 1 or end
        yield _with(block, text[start:end])
        start = end


def _with(block: Block, text: str) -> Block:
    return Block(text, block.kind, block.level, block.first_line, block.last_line, block.page)


class _Answers:
    """The lines that a child writes, gathered to few writes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: list[str] = []
        self._size = 0

    def say(self, *values: Any) -> None:
        line = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
        self._waiting.append(line)
        self._size += len(line)
        if self._size > _FLUSH_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        data = "".join(f"{line}\n" for line in self._waiting).encode("utf-8", "replace")
        self._waiting.clear()
        self._size = 0
        while data:
            data = data[os.write(self._descriptor, data) :]


def main() -> None:
    """Serve jobs until there are none for a while, or nobody listens."""
    answers = _Answers(os.dup(1))
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)  # whatever a library prints does not get between the answers
    os.dup2(nothing, 2)
    with suppress(BrokenPipeError, KeyboardInterrupt):
        while line := _next_job():
            job = json.loads(line)
            limits = ReadLimits(**job["limits"])
            _limit(limits)
            _serve(Path(job["path"]), FileKind(*job["kind"]), limits, job["target_tokens"], answers)
            answers.flush()
            gc.collect()
            gc.freeze()  # libraries are here for good; looking at them after each document was half the time
            if _memory_bytes(1) > _SWOLLEN_BYTES:
                return


def _next_job() -> str:
    if sys.platform != "win32" and not select.select([sys.stdin], [], [], IDLE_SECONDS)[0]:
        return ""
    return sys.stdin.readline()


def _serve(path: Path, kind: FileKind, limits: ReadLimits, target_tokens: int | None, answers: _Answers) -> None:
    source = Source(path, kind.name)
    try:
        blocks = blocks_of(source, kind, limits)
        if target_tokens is None:
            for block in blocks:
                lines = (block.first_line, block.last_line)
                answers.say("block", block.text, block.kind, block.level, *lines, block.page)
        else:
            for passage in split(blocks, target_tokens=target_tokens):
                place = (passage.page, passage.first_line, passage.last_line)
                answers.say("passage", passage.text, passage.headings, passage.position, *place)
    except DocumentError as error:
        answers.say("error", error.reason)
    except OSError as error:
        answers.say("unavailable", f"cannot be read: {of_system(error)}")
    except MissingLibrary as error:
        answers.say("unavailable", str(error))
    except MemoryError:
        os._exit(TOO_LARGE)  # a process that ran out of memory may not free it
    for note in source.notes:
        answers.say("note", note)
    answers.say("done")


def _limit(limits: ReadLimits) -> None:
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = max(1, int(used.ru_utime + used.ru_stime + limits.seconds))
    _lower(resource.RLIMIT_CPU, seconds)
    _lower(resource.RLIMIT_CORE, 0)
    if size := _memory_bytes(0):
        _lower(resource.RLIMIT_AS, size + limits.memory_bytes)


def _memory_bytes(column: int) -> int:
    """The address space (0) or the resident memory (1) of this process; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):  # only Linux tells
        return int(Path("/proc/self/statm").read_text("ascii").split()[column]) * resource.getpagesize()
    return 0


def _lower(what: int, value: int) -> None:
    """Set a soft limit, within the hard one."""
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
