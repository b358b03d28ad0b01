"""Indexes made by visitors: each in a separate folder, with limits, deleted when the server stops."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainkit.base.errors import of_system
from chainkit.knowledge.index.index import Index
from chainkit.server.catalogue import Catalogue, ServedModel
from chainkit.server.faults import RequestFault
from chainkit.server.speakers.documents import DocumentsSpeaker

_NAME_BYTES = 200
_INDEX = ".index.sqlite"


@dataclass(frozen=True, kw_only=True)
class OwnLimits:
    """Limits on indexes made by visitors.

    Attributes:
        indexes: Indexes at a time; a new one takes the place of the longest unused.
        documents: Files in one index.
        bytes: Bytes of the files in one index.
        all_bytes: Bytes of all indexes with their files; they lie in the folder for temporary files.
        idle_seconds: How long an index is surely kept that nobody uses.
    """

    indexes: int = 32
    documents: int = 100
    bytes: int = 256 << 20
    all_bytes: int = 2 << 30
    idle_seconds: float = 900.0


class OwnDocuments(DocumentsSpeaker):
    """One visitor's documents, in a temporary folder.

    Args:
        embeddings: Finds passages by meaning.
        model: Writes the answers; None quotes the best sentences.
        limits: Its limits.

    Attributes:
        name: Under which it answers; who knows it may use it.
        folder: Where its files lie.
    """

    index: Index

    def __init__(self, embeddings: Any, model: Any, limits: OwnLimits) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="chainkit-own-", ignore_cleanup_errors=True)
        self.folder = Path(self._home.name)
        self.name = f"own-{secrets.token_urlsafe(18)}"
        self.used = time.monotonic()
        self.lock = asyncio.Lock()
        self._limits = limits
        super().__init__(Index(self.folder / _INDEX, embeddings), model)

    def close(self) -> None:
        """Forget everything."""
        super().close()
        self._home.cleanup()

    def files(self) -> list[Path]:
        """The documents, by name."""
        return sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))

    def place(self, name: str) -> Path:
        """Where a document of this name lies, or would lie.

        Raises:
            RequestFault: It is not the name of a visible file.
        """
        bad = not name.strip() or name.startswith(".") or "/" in name or "\\" in name or not name.isprintable()
        if bad or len(name.encode("utf-8", "replace")) > _NAME_BYTES:
            raise RequestFault(
                400,
                f"a document is named like a file: printable, without slashes or a leading dot, at most "
                f"{_NAME_BYTES} bytes long; got {name[:80]!r}",
                code="invalid_name",
            )
        try:
            os.fsencode(name)
        except UnicodeEncodeError as error:
            raise RequestFault(
                400,
                f"this server names files in {error.encoding} alone, which cannot write {name[:80]!r}; start it with "
                "PYTHONUTF8=1 in its environment",
                code="invalid_name",
            ) from error
        return self.folder / name

    def room(self, place: Path) -> int:
        """How many bytes a document may have, the former one of its name not counted."""
        return self._limits.bytes - sum(path.stat().st_size for path in self.files() if path != place)

    def require_place_for(self, place: Path) -> None:
        """Refuse a document beyond the limit.

        Raises:
            RequestFault: As many documents are there as may be.
        """
        if not place.exists() and len(self.files()) >= self._limits.documents:
            message = f"there are {self._limits.documents} documents, as many as there may be; remove one first"
            raise RequestFault(413, message, code="too_many_documents")

    def take(self, received: Path, place: Path) -> list[str]:
        """Index a file that was received; what its readers should know of it.

        Raises:
            RequestFault: It cannot be read.
        """
        try:
            received.replace(place)
        except OSError as error:
            received.unlink(missing_ok=True)
            raise RequestFault(
                400, f"{place.name!r} cannot be stored: {of_system(error)}", code="invalid_name"
            ) from None
        report = self.index.add(place)
        for remark in report.skipped:
            if remark.path == str(place):
                self.remove(place)
                message = f"{place.name!r} cannot be read: {remark.reason}"
                raise RequestFault(422, message, code="unreadable_document")
        return [note.reason for note in report.notes if note.path == str(place)]

    def remove(self, place: Path) -> None:
        """Take a document out."""
        place.unlink(missing_ok=True)
        if str(place) in self.index.sources:
            self.index.remove(place)


class OwnShelf:
    """All indexes of visitors.

    Args:
        limits: What they may hold.

    Attributes:
        limits: The same.
        indexing: A turn to change an index: reading and embedding keep a processor busy.
    """

    def __init__(self, limits: OwnLimits) -> None:
        self.limits = limits
        self._all: dict[str, OwnDocuments] = {}
        self.indexing = asyncio.Semaphore(2)

    async def made(self, embeddings: Any, model: Any, catalogue: Catalogue) -> OwnDocuments:
        """A new one, served under its name.

        Raises:
            RequestFault: There are as many as may be, and all are in use.
        """
        await self._make_room(catalogue)
        made = await asyncio.to_thread(OwnDocuments, embeddings, model, self.limits)
        self._all[made.name] = made
        catalogue.add(
            ServedModel(made.name, "documents", {"chat": lambda: made}, opened={"chat": made}, listed=False)
        )  # fmt: skip
        return made

    def find(self, name: str) -> OwnDocuments:
        """The one of a name.

        Raises:
            RequestFault: There is none.
        """
        found = self._all.get(name)
        if found is None:
            raise RequestFault(404, "these documents are not kept any more; upload them again", code="unknown_index")
        found.used = time.monotonic()
        return found

    async def drop(self, name: str, catalogue: Catalogue) -> None:
        """Forget one."""
        found = self._all.pop(name, None)
        if found is not None:
            catalogue.remove(name)
            async with found.lock:
                await asyncio.to_thread(found.close)

    def room(self) -> int:
        """How many bytes all visitors together may still bring."""
        folders = [own.folder for own in self._all.values()]
        taken = sum(path.stat().st_size for folder in folders for path in folder.iterdir() if path.is_file())
        return max(0, self.limits.all_bytes - taken)

    async def _make_room(self, catalogue: Catalogue) -> None:
        if len(self._all) < self.limits.indexes:
            return
        served = {model.name: model for model in catalogue}
        idle = [
            own
            for own in self._all.values()
            if not served[own.name].busy
            and time.monotonic() - max(own.used, served[own.name].used) >= self.limits.idle_seconds
        ]
        if not idle:
            raise RequestFault(
                429, f"{self.limits.indexes} visitors keep documents here, as many as may; try again later",
                kind="rate_limit_error", code="too_many_indexes", retry_after=60,
            )  # fmt: skip
        await self.drop(min(idle, key=lambda own: own.used).name, catalogue)
