"""From files to stored passages: what has not changed is left alone, what breaks is reported, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chainkit.base.errors import DocumentError
from chainkit.knowledge.documents import Found, Reading, Remark, fingerprint
from chainkit.knowledge.encoder import Encoder
from chainkit.knowledge.split import Passage, split
from chainkit.knowledge.store import Store, Stored

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
        """Make the store hold these files and no others."""
        with self._store.staging:
            return self._run(found)

    def _run(self, found: Found) -> Report:
        self.report.skipped += found.skipped
        known = self._store.documents()
        here = {str(file) for file in found.files}
        self._remove([path for path, one in known.items() if one.is_file and path not in here])
        changed = list(self._changed(found, known))
        for done, (file, mark) in enumerate(changed, 1):
            self._add(file, mark)
            if len(self._waiting) >= BATCH_PASSAGES // 2:
                self._commit()
            self._tell("indexing", done, len(changed))
        self._commit()
        return self.report

    def _changed(self, found: Found, known: dict[str, Stored]) -> Iterator[tuple[Path, str]]:
        for done, file in enumerate(found.files, 1):
            path = str(file)
            stored = known.get(path)
            try:
                mark = f"{fingerprint(file)}:{SPLITTING}:{self._target_tokens}"
            except DocumentError as error:
                self._skip(error)
            else:
                if stored and stored.fingerprint == mark:
                    self.report.unchanged.append(path)
                    self.report.notes += [Remark(path, note) for note in stored.notes]
                else:
                    yield file, mark
            self._tell("checking", done, len(found.files))

    def _add(self, file: Path, mark: str) -> None:
        reading = Reading(file)
        self._store.unstage(str(file))  # what an update that failed may have left
        try:
            self._read(reading)
        except DocumentError as error:
            self._skip(error)
            return
        self._complete.append(Stored(str(file), mark, True, tuple(note.reason for note in reading.notes)))
        self.report.notes += reading.notes

    def _read(self, reading: Reading) -> None:
        empty = True
        for passage in split(reading, path=str(reading.path), target_tokens=self._target_tokens):
            empty = False
            self._waiting.append(passage)
            if len(self._waiting) >= BATCH_PASSAGES:
                self._stage()
        if empty:
            raise DocumentError(reading.path, "holds no text")

    def _skip(self, error: DocumentError) -> None:
        self.report.skipped.append(Remark(error.path, error.reason))
        self._waiting = [passage for passage in self._waiting if passage.path != error.path]
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
            self._store.stage((passage, None, vector.tobytes()) for passage, vector in rows)
            self._waiting.clear()

    def _commit(self) -> None:
        self._stage()
        if self._complete:
            self._store.commit(self._complete)
            self.report.indexed += [document.path for document in self._complete]
            self._complete.clear()

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self._progress:
            self._progress(stage, done, total)
