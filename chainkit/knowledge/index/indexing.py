"""From files to stored passages: unchanged files are skipped, broken ones are reported and do not stop the rest."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import DocumentError
from chainkit.knowledge.index.embedded import Embedded
from chainkit.knowledge.index.encoder import Encoder
from chainkit.knowledge.index.exclusive import alone
from chainkit.knowledge.index.store import Store, Stored, refused
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.documents import Found, Remark, absolute
from chainkit.knowledge.readers.loaded import blocks_of, fingerprint_of, gathered, metadata_of
from chainkit.knowledge.readers.reading import Reading, Unavailable, fingerprint
from chainkit.knowledge.readers.split import Passage, split
from chainkit.knowledge.readers.web import fetch, is_page

if TYPE_CHECKING:
    from langchain_core.documents import Document

Progress = Callable[[str, int, int], None]

BATCH_PASSAGES = 512
SPLITTING = 2  # raise it when documents are read or split differently: then all are indexed anew


@dataclass(slots=True)
class Report:
    """The report of an update.

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
    file that is still being read wait outside the index. An update interrupted at any moment leaves whole files, and
    the next one continues from there.

    Args:
        addresses: Of pages that are stored without the secrets in their addresses.
    """

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        target_tokens: int,
        progress: Progress | None,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        self.report = Report()
        self._store = store
        self._encoder = encoder
        self._target_tokens = target_tokens
        self._progress = progress
        self._waiting: list[Passage] = []
        self._complete: list[Stored] = []
        self._embedded = Embedded(store)
        self._addresses = addresses or {}

    def run(self, look: Callable[[], Found]) -> Report:
        """Make the store hold the files and pages that `look` finds, and no others.

        Updates of one index wait for each other, and only then look: otherwise two processes would read and embed the
        same files, and one of them would bring back what the other has removed.
        """
        with (
            self._store.staging,
            alone(self._store, lambda: self._tell("waiting", 0, 1)),
            TemporaryDirectory(prefix="chainkit-") as folder,
        ):
            return self._run(look(), Path(folder))

    def load(self, documents: Iterable[Document]) -> Report:
        """Add documents that a loader gives; those with the same content are left alone."""
        with self._store.staging, alone(self._store, lambda: self._tell("waiting", 0, 1)):
            known = self._store.documents()
            for done, (name, parts) in enumerate(gathered(documents), 1):
                mark = f"{fingerprint_of(parts)}:{SPLITTING}:{self._target_tokens}"
                if name in known and known[name].fingerprint == mark:
                    self.report.unchanged.append(name)
                else:
                    self._embedded.remember([name] if name in known else [])
                    self._add(_Item(name, mark, lambda parts=parts: blocks_of(parts), metadata_of(parts)))
                    self._commit_often()
                self._tell("indexing", done, done)
            self._commit()
            return self.report

    def _run(self, found: Found, folder: Path) -> Report:
        found = self._with_unplugged(found)
        known = self._store.documents()
        here = {*map(str, found.files), *found.pages}
        gone = [path for path, one in known.items() if one.is_file and path not in here]
        kept = Counter(away for path in gone if (away := found.keeps(path)) is not None)
        gone = [path for path in gone if found.keeps(path) is None]
        self.report.skipped += _remarks(found, kept)
        changed = list(self._changed(found, known, folder))
        self._embedded.remember([*gone, *(item.name for item in changed if item.name in known)])
        for done, item in enumerate(changed, 1):
            self._add(item)
            self._commit_often()
            self._tell("indexing", done, len(changed))
        self._commit()
        removed = self._store.remove(gone)  # last, so that renamed or moved files find their vectors
        self.report.removed += [path for path in removed if not known[path].is_refused]
        return self.report

    def _with_unplugged(self, found: Found) -> Found:
        """Take a folder that is empty and no longer on the disk that it was on for the place of one that is away."""
        for folder, device, empty in found.folders:
            before = self._store.meta(f"device of {folder}")
            if empty and before not in (None, device):
                remark = Remark(folder, "is empty, and another disk was there before")
                found = replace(found, away=(*found.away, folder), skipped=(*found.skipped, remark))
            elif not empty and before != device:
                self._store.set(f"device of {folder}", device)
        return found

    def _changed(self, found: Found, known: dict[str, Stored], folder: Path) -> Iterator[_Item]:
        total = len(found.files) + len(found.pages)
        for done, name in enumerate([*map(str, found.files), *found.pages], 1):
            file = self._file(name, folder, done, known.get(name))
            if file is not None and (item := self._item(name, file, known.get(name))):
                yield item
            self._tell("checking", done, total)

    def _item(self, name: str, file: Path, stored: Stored | None) -> _Item | None:
        """The file to read; None if it has not changed or is unavailable."""
        try:
            mark = f"{fingerprint(file)}:{SPLITTING}:{self._target_tokens}"
        except DocumentError as error:
            self._skip(name, error, stored)
            return None
        if stored is None or stored.fingerprint not in (mark, refused(mark)):
            return _Item(name, mark, Reading(file))
        if stored.is_refused:
            self.report.skipped += [Remark(name, note) for note in stored.notes]
        else:
            self.report.unchanged.append(name)
            self.report.notes += [Remark(name, note) for note in stored.notes]
        return None

    def _file(self, name: str, folder: Path, number: int, stored: Stored | None) -> Path | None:
        """The file of this name, or one that holds the page; None for a page that cannot be had now."""
        if not is_page(name):
            return Path(name)
        try:
            return fetch(self._addresses.get(name, name), folder, str(number))
        except DocumentError as error:
            kept = "; its earlier version is kept" if stored else ""
            self.report.skipped.append(Remark(name, error.reason + kept))
            return None

    def _add(self, item: _Item) -> None:
        self._store.unstage(item.name)  # what an update that failed may have left
        try:
            self._read(item)
        except DocumentError as error:
            self._skip(item.name, error, self._store.document(item.name), item.mark)
            return
        is_file = isinstance(item.blocks, Reading)
        notes = tuple(note.reason for note in item.blocks.notes) if isinstance(item.blocks, Reading) else ()
        self._complete.append(Stored(item.name, item.mark, is_file, notes, item.metadata))
        self.report.notes += [Remark(item.name, note) for note in notes]

    def _read(self, item: _Item) -> None:
        empty = True
        if isinstance(item.blocks, Reading):
            passages = item.blocks.passages(self._target_tokens, item.name)
        else:
            passages = split(item.blocks(), path=item.name, target_tokens=self._target_tokens)
        for passage in passages:
            empty = False
            self._waiting.append(passage)
            if len(self._waiting) >= BATCH_PASSAGES:
                self._stage()
        if empty:
            raise DocumentError(item.name, "holds no text")

    def _skip(self, name: str, error: DocumentError, stored: Stored | None, mark: str = "") -> None:
        """Say why a document is left out; one that only cannot be had now keeps its earlier version.

        The outcome is stored, so that a file that takes long to fail does so only once.
        """
        self._waiting = [one for one in self._waiting if one.path != name]
        self._store.unstage(name)
        earlier = stored is not None and not stored.is_refused
        if isinstance(error, Unavailable):
            kept = "; its earlier version is kept" if earlier else ""
            self.report.skipped.append(Remark(name, error.reason + kept))
            return
        self.report.skipped.append(Remark(name, error.reason))
        removed = self._store.remove([name])
        self.report.removed += removed if earlier else []
        if mark and not is_page(name):
            self._complete.append(Stored(name, refused(mark), notes=(error.reason,)))

    def _stage(self) -> None:
        if self._waiting:
            self._encoder.recognise(self._store)
            vectors = self._embedded.vectors(self._waiting, self._encoder)
            self._store.stage(zip(self._waiting, vectors, strict=True))
            self._waiting.clear()

    def _commit_often(self) -> None:
        if len(self._waiting) >= BATCH_PASSAGES // 2:
            self._commit()

    def _commit(self) -> None:
        self._stage()
        if self._complete:
            self._store.commit(self._complete)
            self.report.indexed += [document.path for document in self._complete if not document.is_refused]
            self._complete.clear()

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self._progress:
            self._progress(stage, done, total)


def _remarks(found: Found, kept: Mapping[str, int]) -> Iterator[Remark]:
    """Remarks on paths not found, with the number of documents that stay in the index."""
    left = dict(kept)
    for remark in found.skipped:
        folder = found.keeps(os.path.join(absolute(remark.path), "x"))
        count = left.pop(folder, 0) if folder else 0
        stay = f"; its {count} documents are kept" if count != 1 else "; its document is kept"
        yield Remark(remark.path, remark.reason + (stay if count else ""))
