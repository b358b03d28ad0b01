"""ZIP archives that are documents: opened with limits, and identified by their content."""

from __future__ import annotations

import importlib
import posixpath
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.kinds import BY_ENDING, IN_MIMETYPE, IN_ZIP, FileKind
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.trees import parsed_xml

UNPACKED_BYTES = 100_000_000
ENTRIES = 50_000
_RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"


class Archive:
    """An open archive; nothing is unpacked to the disk, and no more than `UNPACKED_BYTES` of text into memory."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self._left = UNPACKED_BYTES
        self.names = {entry.filename: entry for entry in archive.infolist()[:ENTRIES]}

    def open(self, name: str) -> IO[bytes]:
        """One part, to be read as a stream.

        Raises:
            DocumentError: The parts that were opened would unpack to more than `UNPACKED_BYTES`.
        """
        size = self.names[name].file_size  # zipfile unpacks no more than this
        self._left -= size
        if self._left < 0:
            total = sum(entry.file_size for entry in self.names.values())
            limit = f"the limit is {UNPACKED_BYTES:,} bytes"
            raise DocumentError(self._path, f"would unpack to {total:,} bytes; {limit}")
        return self._archive.open(name)

    def read(self, name: str) -> bytes:
        """One part, whole; empty if there is none."""
        if name not in self.names:
            return b""
        with self.open(name) as part:
            return part.read()

    def tree(self, name: str) -> Any:
        """The root of an XML part, or None if there is no such part or nothing in it."""
        data = self.read(name)
        return parsed_xml(data) if data.strip() else None

    def related(self, name: str) -> dict[str, tuple[str, str]]:
        """Id -> kind (the last word of its type) and name of the parts that an Office part refers to."""
        folder, _, base = name.rpartition("/")
        root = self.tree(f"{folder}/_rels/{base}.rels" if folder else f"_rels/{base}.rels")
        found: dict[str, tuple[str, str]] = {}
        for one in () if root is None else root.iter(_RELATIONS, "{*}Relationship"):
            if one.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, unquote(one.get("Target", "")))).lstrip("/")
                found[one.get("Id", "")] = one.get("Type", "").rpartition("/")[2], target
        return found


@contextmanager
def archive(source: Source) -> Iterator[Archive]:
    """The archive of a file.

    Raises:
        DocumentError: It is protected by a password.
    """
    with zipfile.ZipFile(source.path) as opened:
        if any(entry.flag_bits & 1 for entry in opened.infolist()[:ENTRIES]):
            raise DocumentError(source.path, "is protected by a password")
        yield Archive(source.path, opened)


def read(source: Source) -> Iterator[Block]:
    """Read an archive as the kind of document that its content shows, whatever its name.

    Raises:
        DocumentError: It is none that is known.
    """
    kind = _kind_inside(source)
    source.kind = kind.name
    module, _, name = kind.reader.partition(":")
    yield from getattr(importlib.import_module(f"chainkit.knowledge.readers.{module}"), name)(source)


def _kind_inside(source: Source) -> FileKind:
    with zipfile.ZipFile(source.path) as opened:
        names = opened.namelist()[:ENTRIES]
        if "mimetype" in names:
            with opened.open("mimetype") as part:
                mimetype = part.read(200).decode("ascii", "replace")
            for beginning, kind in IN_MIMETYPE:
                if mimetype.startswith(beginning):
                    return kind
    for beginning, kind in IN_ZIP:
        if any(name.startswith(beginning) for name in names):
            return kind
    if any(name.startswith("Index/") and name.endswith(".iwa") for name in names):
        raise DocumentError(
            source.path, "is an iWork file (Pages, Numbers, Keynote), which is not read; save it as PDF"
        )
    if source.path.suffix.lower() in BY_ENDING:
        raise DocumentError(source.path, f"is not a readable {source.kind} (it holds no document)")
    raise DocumentError(source.path, "is an archive (ZIP); unpack it to have its files read")
