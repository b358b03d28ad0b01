"""The index: documents embedded once, kept up to date by the hash of each file, searched by meaning and words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from chainkit.base.errors import BadVectors, DocumentError, EmbeddingsMismatch
from chainkit.knowledge.documents import Found, Paths, Reading, Remark, find, fingerprint
from chainkit.knowledge.search import CANDIDATES, MEANING_SHARE, Hit, best, distinct, fts_query, fuse
from chainkit.knowledge.split import TARGET_TOKENS, Passage, split
from chainkit.knowledge.store import Store, Stored

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

Progress = Callable[[str, int, int], None]
Matrix = NDArray[np.float32]

BATCH_PASSAGES = 512
SPLITTING = 1  # raise it when documents are read or split differently: then all are indexed anew
_PROBE = "The quick brown fox jumps over the lazy dog; 12 bees hum."
_SAME_MODEL = 0.99


@dataclass(slots=True)
class Report:
    """What an update did.

    Attributes:
        indexed: Files that are new or have changed.
        unchanged: Files that were left alone, because their bytes are the same.
        removed: Files that are gone.
        skipped: Files that could not be read, each with its reason.
        notes: Files that were read with a reservation, such as a guessed encoding.
    """

    indexed: list[str] = field(default_factory=list[str])
    unchanged: list[str] = field(default_factory=list[str])
    removed: list[str] = field(default_factory=list[str])
    skipped: list[Remark] = field(default_factory=list[Remark])
    notes: list[Remark] = field(default_factory=list[Remark])


@dataclass(frozen=True, slots=True)
class _View:
    """The vectors of one moment: row i of `matrix` (N, D) belongs to the passage `ids[i]`; ids rise."""

    version: int
    ids: NDArray[np.int64]
    matrix: Matrix


_NOTHING = _View(-1, np.empty(0, np.int64), np.empty((0, 0), np.float32))


class Index:
    """Documents that can be searched.

    Args:
        path: One SQLite file, made if absent; None keeps the index in memory.
        embeddings: Any LangChain embeddings; None takes MiniLM. With an `embed_array` method (texts to float32
            (N, D)), that is used, which saves turning numbers into Python objects and back.
        target_tokens: The size of a passage, 10 or more; MiniLM reads up to 256 tokens.

    Raises:
        IndexFileError: The file is no index, is damaged, or cannot be written.
        EmbeddingsMismatch: The file was made with another embedding model; raised when vectors are first needed.
        MissingLibrary: The library of the embeddings is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        embeddings: Embeddings | None = None,
        *,
        target_tokens: int = TARGET_TOKENS,
    ) -> None:
        self.embeddings = embeddings if embeddings is not None else default_embeddings()
        self.target_tokens = target_tokens
        self._store = Store(Path(path) if path is not None else None)
        self._checked = False
        self._view = _NOTHING

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._store.count()

    @property
    def path(self) -> Path | None:
        """The file, or None for an index in memory."""
        return self._store.path

    @property
    def documents(self) -> list[str]:
        """The paths of all documents."""
        return list(self._store.documents())

    def close(self) -> None:
        """Let go of the file; the index cannot be used afterwards."""
        self._store.close()

    def update(self, paths: Paths, *, progress: Progress | None = None) -> Report:
        """Make the index hold what is behind these paths now, and no other file.

        Files whose bytes have not changed are not embedded again. Each file is stored whole or not at all, so an
        update that was interrupted goes on where it stopped.

        Args:
            paths: Files, folders and patterns such as `docs/**/*.md`.
            progress: Called with a stage ("checking", "indexing"), how many files are done, and how many there are.
        """
        found = find(paths)
        report = Report(skipped=list(found.skipped))
        changed = self._changed(found, report, progress)
        known = self._store.documents()
        here = {str(file) for file in found.files}
        self._remove([path for path, one in known.items() if one.is_file and path not in here], report)
        self._add(changed, report, progress)
        return report

    def search(self, question: str, k: int = 6, *, meaning_share: float = MEANING_SHARE) -> list[Hit]:
        """The `k` passages that fit a question best, the best first, near-duplicates left out.

        Args:
            meaning_share: 1 searches by meaning alone, 0 by words alone.
        """
        if k < 1:
            raise ValueError(f"k must be 1 or more, got {k}")
        view = self._fresh()
        if not len(view.ids) or not question.strip():
            return []
        cosines = view.matrix @ self._embed_query(question, view.matrix.shape[1])
        by_words = self._by_words(question, view.ids)
        places = np.union1d(best(cosines, CANDIDATES), np.fromiter(by_words, np.intp, len(by_words)))
        bm25 = np.array([by_words.get(int(at), 0.0) for at in places])
        scores = fuse(cosines[places].astype(np.float64), bm25, meaning_share)
        order = np.argsort(-scores, kind="stable")[: 4 * k + 10]
        rows = self._store.passages([int(view.ids[places[at]]) for at in order])
        hits = [
            Hit(row.passage, row.id, float(scores[at]), float(cosines[places[at]]), float(bm25[at]))
            for at in order
            if (row := rows.get(int(view.ids[places[at]])))
        ]
        return distinct(hits, k)

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Vectors of length 1 as float32 (N, D).

        Raises:
            BadVectors: The model gave something that is not one finite vector for each text.
        """
        return embed(self.embeddings, texts)

    def _by_words(self, question: str, ids: NDArray[np.int64]) -> dict[int, float]:
        """Place in the matrix -> BM25, for the passages that match best."""
        query = fts_query(question)
        if query is None:
            return {}
        found = self._store.match(query, CANDIDATES)
        places = np.searchsorted(ids, [number for number, _ in found])
        return {
            int(at): score
            for at, (number, score) in zip(places, found, strict=True)
            if at < len(ids) and ids[at] == number
        }

    def _embed_query(self, question: str, width: int) -> Matrix:
        vector = _unit(np.asarray([self.embeddings.embed_query(question)], np.float32), 1)[0]
        if len(vector) != width:
            raise BadVectors(f"a question has {len(vector)} numbers, the passages have {width}")
        return vector

    def _changed(self, found: Found, report: Report, progress: Progress | None) -> list[tuple[Path, str]]:
        known = self._store.documents()
        changed: list[tuple[Path, str]] = []
        for done, file in enumerate(found.files, 1):
            path = str(file)
            try:
                mark = f"{fingerprint(file)}:{SPLITTING}:{self.target_tokens}"
            except DocumentError as error:
                report.skipped.append(Remark(path, error.reason))
                self._remove([path], report)
                continue
            stored = known.get(path)
            if stored and stored.fingerprint == mark:
                report.unchanged.append(path)
                report.notes += [Remark(path, note) for note in stored.notes]
            else:
                changed.append((file, mark))
            if progress:
                progress("checking", done, len(found.files))
        return changed

    def _remove(self, paths: Iterable[str], report: Report) -> None:
        gone = self._store.remove(paths)
        if gone:
            report.removed += gone
            self._view = replace(self._view, version=-1)

    def _add(self, files: Sequence[tuple[Path, str]], report: Report, progress: Progress | None) -> None:
        waiting: list[Passage] = []
        complete: list[Stored] = []
        for done, (file, mark) in enumerate(files, 1):
            try:
                reading = Reading(file)
                for passage in self._passages(reading):
                    waiting.append(passage)
                    if len(waiting) >= BATCH_PASSAGES:
                        self._stage(waiting)
                complete.append(Stored(str(file), mark, True, tuple(note.reason for note in reading.notes)))
                report.notes += reading.notes
            except DocumentError as error:
                report.skipped.append(Remark(str(file), error.reason))
                waiting[:] = [passage for passage in waiting if passage.path != str(file)]
                self._store.unstage(str(file))
                self._remove([str(file)], report)
            if complete and (len(waiting) >= BATCH_PASSAGES // 2 or done == len(files)):
                self._commit(waiting, complete, report)
            if progress:
                progress("indexing", done, len(files))
        self._commit(waiting, complete, report)

    def _passages(self, reading: Reading) -> Iterator[Passage]:
        empty = True
        for passage in split(reading, path=str(reading.path), target_tokens=self.target_tokens):
            empty = False
            yield passage
        if empty:
            raise DocumentError(reading.path, "holds no text")

    def _stage(self, waiting: list[Passage]) -> None:
        if not waiting:
            return
        self._check_model()
        vectors = self.embed([passage.context for passage in waiting])
        self._store.stage((passage, None, vector.tobytes()) for passage, vector in zip(waiting, vectors, strict=True))
        waiting.clear()

    def _commit(self, waiting: list[Passage], complete: list[Stored], report: Report) -> None:
        self._stage(waiting)
        if complete:
            self._store.commit(complete)
            report.indexed += [document.path for document in complete]
            complete.clear()
            self._view = replace(self._view, version=-1)

    def _fresh(self) -> _View:
        """The vectors as the file has them now; only those that are new are loaded."""
        view, version = self._view, self._store.version()
        if version == view.version:
            return view
        self._check_model()
        last = int(view.ids[-1]) if len(view.ids) else 0
        ids, new = self._store.snapshot(last, int(self._store.meta("width")))
        matrix = np.concatenate([view.matrix[np.isin(view.ids, ids, assume_unique=True)], new]) if last else new
        self._view = _View(version, ids, matrix)
        return self._view

    def _check_model(self) -> None:
        """Compare the vector of a fixed text with the stored one: it shows a different model whatever it is called."""
        if self._checked:
            return
        probe = self.embed([_PROBE])[0]
        name = model_name(self.embeddings)
        stored = self._store.meta("probe")
        if stored is None:
            self._store.set_meta({"probe": probe.tobytes(), "width": len(probe), "model": name})
        else:
            self._compare(np.frombuffer(stored, np.float32), probe, name)
        self._checked = True

    def _compare(self, stored: Matrix, probe: Matrix, name: str) -> None:
        if len(stored) == len(probe) and float(stored @ probe) >= _SAME_MODEL:
            return
        raise EmbeddingsMismatch(
            self.path or "index in memory",
            f"was made with {self._store.meta('model')} ({len(stored)} numbers a text), not with {name} "
            f"({len(probe)}); open it with that model, or index anew into another file",
        )


def default_embeddings() -> Embeddings:
    """MiniLM, which needs no key and no torch."""
    from chainkit.backends.sentence import SentenceEmbeddings

    return SentenceEmbeddings(model="")


def embed(embeddings: Embeddings, texts: Sequence[str]) -> Matrix:
    """Vectors of length 1 as float32 (N, D), by the model's fastest way."""
    if not texts:
        return np.empty((0, 0), np.float32)
    by_array = getattr(embeddings, "embed_array", None)
    vectors: Any = by_array(texts) if by_array else embeddings.embed_documents(list(texts))
    return _unit(np.asarray(vectors, np.float32), len(texts))


def model_name(embeddings: Embeddings) -> str:
    """What an embedding model is called in messages."""
    kind = type(embeddings).__name__
    name = getattr(embeddings, "model", None) or getattr(embeddings, "model_name", None)
    return f"{kind}({name})" if isinstance(name, str) else kind


def _unit(vectors: Matrix, count: int) -> Matrix:
    if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:
        raise BadVectors(f"the embedding model gave an array of shape {vectors.shape} for {count} texts")
    if not np.isfinite(vectors).all():
        raise BadVectors("the embedding model gave numbers that are not finite")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return cast(Matrix, np.ascontiguousarray(vectors / np.where(lengths > 0, lengths, 1), np.float32))
