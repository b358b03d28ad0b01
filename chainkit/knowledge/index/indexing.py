"""From files to stored passages: what has not changed is left alone, what breaks is reported, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import DocumentError
from chainkit.knowledge.index.encoder import Encoder
from chainkit.knowledge.index.split import Passage, split
from chainkit.knowledge.index.store import Store, Stored
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.documents import Found, Reading, Remark, fingerprint
from chainkit.knowledge.readers.loaded import blocks_of, fingerprint_of, gathered, metadata_of
from chainkit.knowledge.readers.web import fetch, is_page

if TYPE_CHECKING:
    from langchain_core.documents import Document

Progress = Callable[[str, int, int], None]

BATCH_PASSAGES = 512
SPLITTING = 1  # raise it when documents are read or split differently: then all are indexed anew


@dataclass(slots=True)
class Report:
    """What an update did.

    Attributes:
        indexed: Files that are new or have changed.
        unchanged: Files that were left alone, because their bytes are the same.
        removed: Files that are gone or can no longer be read.
        skipped: Files that could not be read, each with its reason.
        notes: Files that were read with a reservation, such as a guessed encoding.
    """

    indexed: list[str] = field(default_factory=list[str])
    unchanged: list[str] = field(default_factory=list[str])
    removed: list[str] = field(default_factory=list[str])
    skipped: list[Remark] = field(default_factory=list[Remark])
    notes: list[Remark] = field(default_factory=list[Remark])


@dataclass(frozen=True, slots=True)
class _Item:
    """A document that is to be read: a file or page, or what a loader gave."""

    name: str
    mark: str
    blocks: Reading | Callable[[], Iterator[Block]]
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Indexing:
    """One update of a store.

    Files that are complete are stored in one transaction for about every `BATCH_PASSAGES` passages; the passages of a
    file that is still being read wait outside the index. An update that is interrupted at any moment leaves whole
    files, and the next one goes on from there.
    """

    def __init__(self, store: Store, encoder: Encoder, target_tokens: int, progress: Progress | None) -> None:
        self.report = Report()
        self._store = store
        self._encoder = encoder
        self._target_tokens = target_tokens
        self._progress = progress
        self._waiting: list[Passage] = []
        self._complete: list[Stored] = []

    def run(self, found: Found) -> Report:
        """Make the store hold these files and pages, and no others."""
        with self._store.staging, TemporaryDirectory(prefix="chainkit-") as folder:
            return self._run(found, Path(folder))

    def load(self, documents: Iterable[Document]) -> Report:
        """Add documents that a loader gives; those with the same content are left alone."""
        with self._store.staging:
            known = self._store.documents()
            for done, (name, parts) in enumerate(gathered(documents), 1):
                mark = f"{fingerprint_of(parts)}:{SPLITTING}:{self._target_tokens}"
                if name in known and known[name].fingerprint == mark:
                    self.report.unchanged.append(name)
                else:
                    self._add(_Item(name, mark, lambda parts=parts: blocks_of(parts), metadata_of(parts)))
                    self._commit_often()
                self._tell("indexing", done, done)
            self._commit()
            return self.report

    def _run(self, found: Found, folder: Path) -> Report:
        self.report.skipped += found.skipped
        known = self._store.documents()
        here = {*map(str, found.files), *found.pages}
        self._remove([path for path, one in known.items() if one.is_file and path not in here])
        changed = list(self._changed(found, known, folder))
        for done, item in enumerate(changed, 1):
            self._add(item)
            self._commit_often()
            self._tell("indexing", done, len(changed))
        self._commit()
        return self.report

    def _changed(self, found: Found, known: dict[str, Stored], folder: Path) -> Iterator[_Item]:
        total = len(found.files) + len(found.pages)
        for done, name in enumerate([*map(str, found.files), *found.pages], 1):
            stored = known.get(name)
            file = self._file(name, folder, done, stored)
            if file is not None:
                try:
                    mark = f"{fingerprint(file)}:{SPLITTING}:{self._target_tokens}"
                except DocumentError as error:
                    self._skip(error)
                else:
                    if stored and stored.fingerprint == mark:
                        self.report.unchanged.append(name)
                        self.report.notes += [Remark(name, note) for note in stored.notes]
                    else:
                        yield _Item(name, mark, Reading(file))
            self._tell("checking", done, total)

    def _file(self, name: str, folder: Path, number: int, stored: Stored | None) -> Path | None:
        """The file of this name, or one that holds the page; None for a page that cannot be had now."""
        if not is_page(name):
            return Path(name)
        try:
            return fetch(name, folder, str(number))
        except DocumentError as error:
            kept = "; its earlier version is kept" if stored else ""
            self.report.skipped.append(Remark(name, error.reason + kept))
            return None

    def _add(self, item: _Item) -> None:
        self._store.unstage(item.name)  # what an update that failed may have left
        try:
            self._read(item)
        except DocumentError as error:
            self._skip(DocumentError(item.name, error.reason))
            return
        is_file = isinstance(item.blocks, Reading)
        notes = tuple(note.reason for note in item.blocks.notes) if isinstance(item.blocks, Reading) else ()
        self._complete.append(Stored(item.name, item.mark, is_file, notes, item.metadata))
        self.report.notes += [Remark(item.name, note) for note in notes]

    def _read(self, item: _Item) -> None:
        empty = True
        blocks = item.blocks if isinstance(item.blocks, Reading) else item.blocks()
        for passage in split(blocks, path=item.name, target_tokens=self._target_tokens):
            empty = False
            self._waiting.append(passage)
            if len(self._waiting) >= BATCH_PASSAGES:
                self._stage()
        if empty:
            raise DocumentError(item.name, "holds no text")

    def _skip(self, error: DocumentError) -> None:
        self.report.skipped.append(Remark(error.path, error.reason))
        self._waiting = [one for one in self._waiting if one.path != error.path]
        self._store.unstage(error.path)
        self._remove([error.path])

    def _remove(self, paths: Sequence[str]) -> None:
        if paths:
            self.report.removed += self._store.remove(paths)

    def _stage(self) -> None:
        if self._waiting:
            self._encoder.recognise(self._store)
            vectors = self._encoder.texts([passage.context for passage in self._waiting])
            rows = zip(self._waiting, vectors, strict=True)
            self._store.stage((passage, vector.tobytes()) for passage, vector in rows)
            self._waiting.clear()

    def _commit_often(self) -> None:
        if len(self._waiting) >= BATCH_PASSAGES // 2:
            self._commit()

    def _commit(self) -> None:
        self._stage()
        if self._complete:
            self._store.commit(self._complete)
            self.report.indexed += [document.path for document in self._complete]
            self._complete.clear()

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self._progress:
            self._progress(stage, done, total)
