"""Files found and read, each kind by its reader, in folders and by patterns."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chainkit.base.errors import NO_SUCH_FILE, NO_SUCH_PATH, DocumentError, of_system
from chainkit.knowledge.readers import sandbox
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.kinds import FileKind, kind_of
from chainkit.knowledge.readers.source import Limits, Source
from chainkit.knowledge.readers.web import is_page
from chainkit.knowledge.readers.worker import blocks_of

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
CHUNK_BYTES = 1 << 20
LIGHT_BYTES = 100_000
"""Plain text up to this size is read in this process, everything else in a child with limits."""

LEFT_OUT = frozenset(("__pycache__", "node_modules"))
"""Folders that are passed over, as are all whose name begins with a dot."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be said about a file: why it was skipped, or how it was read.

    Attributes:
        path: The file.
        reason: In a few words.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Found:
    """The files behind some paths.

    Attributes:
        files: Absolute, in a stable order, each once.
        pages: Addresses of web pages, each once.
        skipped: What was asked for by name or pattern and is not there or may not be read.
    """

    files: tuple[Path, ...]
    skipped: tuple[Remark, ...] = ()
    pages: tuple[str, ...] = ()


@dataclass(slots=True)
class Reading:
    """One document while it is read: iterate over it for its blocks.

    Attributes:
        path: The file.
        notes: What a reader of the answers should know, such as a guessed encoding; complete once it has been read.
        limits: What the reading may take; a document that takes more keeps what was read till then, with a note.
    """

    path: Path
    notes: list[Remark] = field(default_factory=list[Remark])
    limits: Limits = field(default_factory=Limits)

    def __iter__(self) -> Iterator[Block]:
        """The blocks in their order.

        Raises:
            DocumentError: The file cannot be read; the error names it and the reason.
        """
        try:
            yield from self._blocks()
        except OSError as error:
            raise DocumentError(self.path, _plain(error)) from error

    def _blocks(self) -> Iterator[Block]:
        kind = sized(self.path)
        if kind.light and self.path.stat().st_size <= LIGHT_BYTES:
            source = Source(self.path, kind.name)
            yield from blocks_of(source, kind, self.limits)
            self._note(*source.notes)
        else:
            yield from self._from_child(kind)

    def _from_child(self, kind: FileKind) -> Iterator[Block]:
        last: Block | None = None
        try:
            for what, *values in sandbox.answers(self.path, kind, self.limits):
                if what == "block":
                    yield (last := Block(*values))
                elif what == "note":
                    self._note(*values)
                else:
                    raise DocumentError(self.path, *values)
        except sandbox.Overrun as overrun:
            if last is None:
                raise
            self._note(f"{overrun.reason}; what comes after {_place(last)} is left out")

    def _note(self, *reasons: str) -> None:
        self.notes += [Remark(str(self.path), reason) for reason in reasons]


def _place(block: Block) -> str:
    if block.page is not None:
        return f"page {block.page}"
    if block.last_line is not None:
        return f"line {block.last_line}"
    return f"'{' '.join(block.text.split())[-40:]}'"


def find(paths: Paths) -> Found:
    """The files behind paths: a file stands for itself, a folder for all below it, a pattern for what it matches.

    Hidden files and folders are passed over unless they are named; links to folders are followed once.
    """
    files: dict[Path, None] = {}
    skipped: list[Remark] = []
    named = listed(paths)
    for path in named:
        for file in () if is_page(path) else _files(path, skipped):
            files.setdefault(file)
    return Found(tuple(files), tuple(skipped), tuple(dict.fromkeys(filter(is_page, named))))


def listed(paths: Paths) -> list[str]:
    """One path or several, as a list of texts."""
    return [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]


def absolute(path: str) -> str:
    """A path or pattern that means the same from every folder; the address of a web page is left as it is."""
    if is_page(path):
        return path
    return os.path.abspath(os.path.expanduser(path)) if path and "\0" not in path else path


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
        raise DocumentError(path, _plain(error)) from error
    return digest.hexdigest()


def shown(path: str) -> str:
    """A path for people: from the current folder where it is below it, with control characters escaped."""
    here = os.path.join(os.getcwd(), "")
    short = path.removeprefix(here) or path
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in short)


def _files(path: str, skipped: list[Remark]) -> Iterator[Path]:
    if not path or "\0" in path or not _valid(path):
        skipped.append(Remark(path, "is not a path that can be stored"))
        return
    place = Path(path).expanduser()
    if place.is_dir():
        yield from _below(place.absolute(), skipped)
    elif place.is_file():
        yield Path(os.path.abspath(place))
    elif place.exists():
        skipped.append(Remark(path, "is neither a file nor a folder"))
    elif glob.has_magic(path):
        yield from _matches(str(place), skipped)
    else:
        reason = "is a broken link" if place.is_symlink() else NO_SUCH_PATH
        skipped.append(Remark(path, reason))


def _matches(pattern: str, skipped: list[Remark]) -> Iterator[Path]:
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        skipped.append(Remark(pattern, "matches no file"))
    for match in matches:
        passed_over = LEFT_OUT.intersection(Path(match).parts).difference(Path(pattern).parts)
        if not passed_over and not Path(match).is_dir():
            yield from _files(glob.escape(match) if not Path(match).exists() else match, skipped)


def _below(folder: Path, skipped: list[Remark]) -> Iterator[Path]:
    visited: set[str] = set()

    def refused(error: OSError) -> None:
        skipped.append(Remark(str(error.filename), _plain(error)))

    for place, folders, names in os.walk(os.path.abspath(folder), followlinks=True, onerror=refused):
        real = os.path.realpath(place)
        if real in visited:  # a link leads back, or to a folder that was walked before
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in LEFT_OUT)
        yield from _visible(Path(place), sorted(names), skipped)


def _visible(folder: Path, names: Iterable[str], skipped: list[Remark]) -> Iterator[Path]:
    for name in names:
        file = folder / name
        if name.startswith("."):
            continue
        if not _valid(str(file)):
            skipped.append(Remark(str(file), "has a name that is not valid Unicode"))
        elif file.is_file():
            yield file
        else:
            reason = "is a broken link" if file.is_symlink() else "is not a regular file"
            skipped.append(Remark(str(file), reason))


def _valid(path: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in path)


def _plain(error: OSError) -> str:
    return NO_SUCH_FILE if isinstance(error, FileNotFoundError) else f"cannot be read: {of_system(error)}"
