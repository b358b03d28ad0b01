"""The index: documents embedded once, kept up to date by the hash of each file, searched by meaning and words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainkit.base.errors import DocumentError
from chainkit.knowledge.documents import Paths, absolute, find, listed
from chainkit.knowledge.encoder import Encoder, Matrix, default_embeddings, one_of
from chainkit.knowledge.filters import Filter
from chainkit.knowledge.indexing import Indexing, Progress, Report
from chainkit.knowledge.search import CANDIDATES, Hit, best, distinct, fuse, share_of_meaning, telling, terms
from chainkit.knowledge.split import TARGET_TOKENS
from chainkit.knowledge.store import Store
from chainkit.knowledge.vectorstore import PassageStore

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings


@dataclass(frozen=True, slots=True)
class _View:
    """The vectors of one moment: row i of `matrix` (N, D) belongs to the passage `ids[i]`; ids rise."""

    version: tuple[int, int]
    ids: NDArray[np.int64]
    matrix: Matrix


_NOTHING = _View((-1, -1), np.empty(0, np.int64), np.empty((0, 0), np.float32))


class Index(PassageStore):
    """Documents that can be searched, in one SQLite file; also a LangChain vector store.

    Several threads and processes may use one file: readers never wait, writers wait for each other, and what a
    process has stored survives its end at any moment.

    Args:
        path: The file, made if absent; None keeps the index in memory.
        embeddings: Any LangChain embeddings; None takes MiniLM.
        target_tokens: The size of a passage, 10 or more; MiniLM reads up to 256 tokens.

    Raises:
        BrokenIndex: The file is no index, is damaged, or comes from another version.
        IndexFileError: The file cannot be opened or written.
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
        if target_tokens < 10:
            raise ValueError(f"target_tokens must be 10 or more, got {target_tokens}")
        self.target_tokens = target_tokens
        self._encoder = Encoder(embeddings if embeddings is not None else default_embeddings())
        self._store = Store(Path(path) if path is not None else None)
        self._view = _NOTHING

    @classmethod
    def open(cls, path: str | os.PathLike[str], embeddings: Embeddings | None = None, **settings: Any) -> Index:
        """An index that is there already.

        Raises:
            DocumentError: There is no such file.
        """
        if not Path(path).is_file():
            raise DocumentError(path, "there is no such index; make one with Index(path).add(...)")
        return cls(path, embeddings, **settings)

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
        """The paths of all documents, and the ids of texts that are no files."""
        return list(self._store.documents())

    @property
    def sources(self) -> list[str]:
        """The files, folders and patterns that the index follows, absolute."""
        return self._store.sources()

    def close(self) -> None:
        """Let go of the file; the index cannot be used afterwards."""
        self._store.close()

    def add(self, paths: Paths, *, progress: Progress | None = None) -> Report:
        """Follow more files, folders or patterns such as `docs/**/*.md`, and bring the index up to date.

        Args:
            progress: Called with a stage ("checking", "indexing"), how many files are done, and how many there are.
        """
        self._store.add_sources(absolute(path) for path in listed(paths))
        return self.update(progress=progress)

    def update(self, *, progress: Progress | None = None) -> Report:
        """Make the index hold what is behind its sources now.

        Files whose bytes have not changed are not embedded again, those that are gone are removed. Each file is stored
        whole or not at all, so an update that was interrupted goes on where it stopped.
        """
        return Indexing(self._store, self._encoder, self.target_tokens, progress).run(find(self.sources))

    def remove(self, paths: Paths) -> Report:
        """Follow these sources no longer, and remove the files that no other source holds.

        Raises:
            DocumentError: A path is not one of the sources.
        """
        known = self.sources
        for path in listed(paths):
            if absolute(path) not in known:
                raise DocumentError(path, f"is not a source of this index; sources: {', '.join(known) or 'none'}")
        self._store.remove_sources(absolute(path) for path in listed(paths))
        return self.update()

    def find(
        self,
        question: str,
        k: int = 6,
        *,
        filter: Filter | None = None,  # noqa: A002 - LangChain's word for it
        meaning_share: float | None = None,
    ) -> list[Hit]:
        """The `k` passages that fit a question best by meaning and words, the best first, near-duplicates left out.

        Args:
            filter: Only passages with this path (file, folder or pattern), page or metadata; a list means any of them.
            meaning_share: 1 searches by meaning alone, 0 by words alone; None decides by how much of the question
                the best passage by words holds.
        """
        _check(k)
        if meaning_share is not None and not 0 <= meaning_share <= 1:
            raise ValueError(f"meaning_share must be between 0 and 1, got {meaning_share}")
        view = self._fresh()
        if not len(view.ids) or not question.strip():
            return []
        cosines = view.matrix @ self._encoder.question(question, view.matrix.shape[1])
        by_words, share = self._by_words(question, view.ids, filter)
        near = self._nearest(cosines, CANDIDATES, view, filter)
        places = np.union1d(near, np.fromiter(by_words, np.intp, len(by_words)))
        bm25 = np.array([by_words.get(int(at), 0.0) for at in places])
        scores = fuse(cosines[places].astype(np.float64), bm25, share if meaning_share is None else meaning_share)
        order = np.argsort(-scores, kind="stable")[: 4 * k + 10]
        rows = self._store.passages([int(view.ids[places[at]]) for at in order])
        hits = (
            Hit(
                row.passage,
                row.id,
                float(scores[at]),
                float(cosines[places[at]]),
                float(bm25[at]),
                row.metadata,
                row.is_file,
            )
            for at in order
            if (row := rows.get(int(view.ids[places[at]])))
        )
        return distinct(hits, k)

    def nearest(
        self,
        vector: Sequence[float],
        k: int = 4,
        *,
        filter: Filter | None = None,  # noqa: A002 - LangChain's word for it
    ) -> list[Hit]:
        """The `k` passages whose vectors are nearest to this one, by cosine, exactly."""
        _check(k)
        view = self._fresh()
        if not len(view.ids):
            return []
        cosines = view.matrix @ one_of(vector, view.matrix.shape[1])
        places = self._nearest(cosines, k, view, filter)
        rows = self._store.passages([int(view.ids[at]) for at in places])
        return [
            Hit(row.passage, row.id, float(cosines[at]), float(cosines[at]), 0.0, row.metadata, row.is_file)
            for at in places
            if (row := rows.get(int(view.ids[at])))
        ]

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Vectors of length 1 as float32 (N, D).

        Raises:
            BadVectors: The model gave something that is not one finite vector for each text.
        """
        return self._encoder.texts(texts)

    def _nearest(self, cosines: Matrix, count: int, view: _View, wanted: Filter | None) -> NDArray[np.intp]:
        if not wanted:
            return best(cosines, count)
        places = _places(self._store.matching(wanted), view.ids)
        return places[best(cosines[places], count)]

    def _by_words(self, question: str, ids: NDArray[np.int64], wanted: Filter | None) -> tuple[dict[int, float], float]:
        """Place in the matrix -> BM25 for the passages that match best, and the share that meaning should have."""
        frequencies = self._store.frequencies(terms(question))
        kept = telling(frequencies, len(ids))
        found = self._store.match(" OR ".join(kept), CANDIDATES, wanted) if kept else []
        if not found:
            return {}, 1.0
        share = share_of_meaning(frequencies, self._store.held(frequencies, found[0][0]), len(ids))
        scores = dict(found)
        return {int(at): scores[int(ids[at])] for at in _places(scores, ids)}, share

    def _fresh(self) -> _View:
        """The vectors as the file has them now; only those that are new are loaded."""
        view, version = self._view, self._store.version()
        if version == view.version:
            return view
        self._encoder.recognise(self._store)
        last = int(view.ids[-1]) if len(view.ids) else 0
        ids, new = self._store.snapshot(last, int(self._store.meta("width")))
        matrix = np.concatenate([view.matrix[np.isin(view.ids, ids, assume_unique=True)], new]) if last else new
        self._view = _View(version, ids, matrix)
        return self._view


def _places(wanted: Iterable[int], ids: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where in the rising `ids` the wanted ones stand, as far as they are there."""
    numbers = np.fromiter(wanted, np.int64)
    places = np.searchsorted(ids, numbers)
    inside = places < len(ids)
    return places[inside][ids[places[inside]] == numbers[inside]]


def _check(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
