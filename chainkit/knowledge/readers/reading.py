"""One document read: its passages or blocks in order, from this process or a child with limits, and remarks on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from chainkit.base.errors import DocumentError, MissingLibrary
from chainkit.knowledge.readers import sandbox
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.documents import Remark, plain
from chainkit.knowledge.readers.kinds import FileKind, kind_of
from chainkit.knowledge.readers.source import ReadLimits, Source
from chainkit.knowledge.readers.split import Passage, split
from chainkit.knowledge.readers.worker import blocks_of

CHUNK_BYTES = 1 << 20
LIGHT_BYTES = 100_000
"""Plain text up to this size is read in this process, everything else in a child with limits."""


class Unavailable(DocumentError):
    """A document cannot be had now, whatever it holds: it may be readable again without having changed."""


@dataclass(slots=True)
class Reading:
    """One document while it is read: its passages, or, iterated over, its blocks.

    Attributes:
        path: The file.
        notes: Notes on how it was read, such as a guessed encoding; complete after reading.
        limits: Limits on reading and splitting; a document that exceeds them keeps the part read so far, with a
            note.
    """

    path: Path
    notes: list[Remark] = field(default_factory=list[Remark])
    limits: ReadLimits = field(default_factory=ReadLimits)

    def __iter__(self) -> Iterator[Block]:
        """The blocks in their order.

        Raises:
            DocumentError: The file cannot be read; the error names it and the reason.
            It is `Unavailable` where its content is not the cause.
        """
        return self._read(None)

    def passages(self, target_tokens: int, name: str = "") -> Iterator[Passage]:
        """The passages in their order; see `split`.

        Args:
            target_tokens: The size of a passage.
            name: What the document is called in them; its path where that is left out.

        Raises:
            DocumentError: As for the blocks.
        """
        for passage in self._read(target_tokens):
            yield replace(passage, path=name or str(self.path))

    @overload
    def _read(self, target_tokens: None) -> Iterator[Block]: ...
    @overload
    def _read(self, target_tokens: int) -> Iterator[Passage]: ...
    def _read(self, target_tokens: int | None) -> Iterator[Block] | Iterator[Passage]:
        try:
            yield from self._parts(target_tokens)
        except OSError as error:
            raise Unavailable(self.path, plain(error)) from error
        except MissingLibrary as error:
            raise Unavailable(self.path, str(error)) from error

    def _parts(self, target_tokens: int | None) -> Iterator[Any]:
        kind = sized(self.path)
        if kind.light and self.path.stat().st_size <= LIGHT_BYTES:
            source = Source(self.path, kind.name)
            blocks = blocks_of(source, kind, self.limits)
            yield from blocks if target_tokens is None else split(blocks, target_tokens=target_tokens)
            self._note(*source.notes)
        else:
            yield from self._from_child(kind, target_tokens)

    def _from_child(self, kind: FileKind, target_tokens: int | None) -> Iterator[Block | Passage]:
        last: Block | Passage | None = None
        try:
            for what, *values in sandbox.answers(self.path, kind, self.limits, target_tokens):
                if what == "block":
                    yield (last := Block(*values))
                elif what == "passage":
                    yield (last := _passage(*values))
                elif what == "note":
                    self._note(*values)
                elif what == "unavailable":
                    raise Unavailable(self.path, *values)
                else:
                    raise DocumentError(self.path, *values)
        except sandbox.Overrun as overrun:
            if last is None:
                raise
            self._note(f"{overrun.reason}; what comes after {_place(last)} is left out")

    def _note(self, *reasons: str) -> None:
        self.notes += [Remark(str(self.path), reason) for reason in reasons]


def _passage(
    text: str, headings: Sequence[str], position: int, page: int | None, first_line: int | None, last_line: int | None
) -> Passage:
    return Passage(
        text=text,
        headings=tuple(headings),
        position=position,
        page=page,
        first_line=first_line,
        last_line=last_line,
    )


def _place(part: Block | Passage) -> str:
    if part.page is not None:
        return f"page {part.page}"
    if part.last_line is not None:
        return f"line {part.last_line}"
    return f"'{' '.join(part.text.split())[-40:]}'"


def sized(path: Path) -> FileKind:
    """The kind of a file that is small enough for its kind.

    Raises:
        DocumentError: It is larger, or of a kind that is known and not read.
    """
    kind, size = kind_of(path), path.stat().st_size
    if size > kind.limit_bytes:
        limit = f"{kind.name} files are read up to {kind.limit_bytes:,} bytes"
        raise DocumentError(path, f"has {size:,} bytes; {limit}")
    return kind


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file's bytes.

    Raises:
        DocumentError: The file cannot be opened, is of a kind that is not read, or larger than its kind may be.
    """
    digest = hashlib.sha256()
    try:
        sized(path)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise Unavailable(path, plain(error)) from error
    return digest.hexdigest()
