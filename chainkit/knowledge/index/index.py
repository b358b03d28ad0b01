"""The index: documents embedded once, kept up to date by the hash of each file, searched by meaning and words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.document_loaders import BaseLoader
from langchain_core.runnables.config import run_in_executor

from chainkit.base.errors import DocumentError
from chainkit.base.hiding import hides_given_keys
from chainkit.knowledge.index.copying import Carried, Copied, copy
from chainkit.knowledge.index.encoder import Encoder, Matrix, opened_embeddings
from chainkit.knowledge.index.filters import Filter
from chainkit.knowledge.index.indexing import Indexing, Progress, Report
from chainkit.knowledge.index.lookup import Lookup
from chainkit.knowledge.index.picking import picked
from chainkit.knowledge.index.search import Hit, check_wanted
from chainkit.knowledge.index.store import Store
from chainkit.knowledge.index.store_urls import is_store, open_store, without_password
from chainkit.knowledge.index.vector_stores import VectorStoreIndex
from chainkit.knowledge.index.vectorstore import PassageStore
from chainkit.knowledge.readers.documents import Paths, absolute, find, listed
from chainkit.knowledge.readers.split import TARGET_TOKENS, Passage

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore


class Index(PassageStore):
    """Documents that can be searched, in one SQLite file; also a LangChain vector store.

    Several threads and processes may use one file: readers never wait, writers wait for each other, and what a
    process has stored survives its end at any moment.

    Args:
        path: The file, made if absent; None keeps the index in memory.
        embeddings: Any LangChain embeddings, or a spec such as "minilm"; None takes MiniLM.
        target_tokens: The size of a passage, 10 or more; MiniLM reads up to 256 tokens.
        follow_links: Whether links that lead out of a source folder are followed; None leaves it as the index was made,
            which is not to.

    Raises:
        BrokenIndex: The file is not an index, is damaged, or comes from another version.
        IndexFileError: The file cannot be opened or written.
        EmbeddingsMismatch: The file was made with another embedding model; raised when vectors are first needed.
        MissingLibrary: The library of the embeddings is not installed.
    """

    @hides_given_keys
    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        embeddings: Embeddings | str | None = None,
        *,
        target_tokens: int = TARGET_TOKENS,
        follow_links: bool | None = None,
    ) -> None:
        if target_tokens < 10:
            raise ValueError(f"target_tokens must be 10 or more, got {target_tokens}")
        self.target_tokens = target_tokens
        self._encoder = Encoder(opened_embeddings(embeddings))
        self._store = Store(Path(path) if path is not None else None)
        self._addresses: dict[str, str] = {}  # with the secrets that are not stored
        if follow_links is not None:
            self._store.set("follow_links", int(follow_links))
        self._lookup = Lookup(self._store, self._encoder)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], embeddings: Embeddings | str | None = None, **settings: Any
    ) -> Index | VectorStoreIndex:
        """An index that is there already: a file, or a vector store such as `qdrant://localhost:6333/notes`.

        `chainkit.knowledge.index.store_urls.open_store` explains how stores are named.

        Raises:
            DocumentError: There is no such file.
            SpecError: There is no such vector store.
            MissingLibrary: The package of the vector store is not installed.
        """
        if is_store(os.fspath(path)):
            embeddings = opened_embeddings(embeddings)
            opened = open_store(os.fspath(path), embeddings)
            return VectorStoreIndex(opened.store, embeddings, translate=opened.translate, end=opened.end)
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
        """The paths of all documents, and the ids of texts that are not files."""
        return [path for path, one in self._store.documents().items() if not one.is_refused]

    def passages(self, document: str) -> list[Passage]:
        """The passages of a document, by its path or id, in their order; none for one that is not here."""
        return self._store.of_document(document)

    @property
    def sources(self) -> list[str]:
        """The files, folders and patterns that the index follows, absolute."""
        return self._store.sources()

    def close(self) -> None:
        """Let go of the file; the index cannot be used afterwards."""
        self._store.close()

    def add(self, paths: Paths, *, progress: Progress | None = None) -> Report:
        """Follow more files, folders, patterns such as `docs/**/*.md`, and web pages; bring the index up to date.

        Pages are fetched anew at every update, each with a limit of 20 MB and 30 seconds, and nothing they refer to.
        Secrets in their addresses are not stored: those pages are fetched only as long as this object lives.

        Args:
            progress: Called with a stage ("checking", "indexing"), how many files are done, and how many there are.
        """
        self._addresses |= {absolute(path): path for path in listed(paths)}
        self._store.add_sources(absolute(path) for path in listed(paths))
        return self.update(progress=progress)

    def load(self, documents: BaseLoader | Iterable[Document], *, progress: Progress | None = None) -> Report:
        """Add what a LangChain document loader gives, split and embedded; the same content is not embedded again.

        Documents that follow each other with the same `source` are one. They are not files: updates leave them alone,
        `load` again brings them up to date, and `delete` removes them by their source.

        Raises:
            DocumentError: A document has neither a source nor an id.
        """
        given = documents.lazy_load() if isinstance(documents, BaseLoader) else documents
        return Indexing(self._store, self._encoder, self.target_tokens, progress).load(given)

    def update(self, *, progress: Progress | None = None) -> Report:
        """Bring the index up to date with its sources.

        Files whose bytes have not changed are not read again, passages that have not changed are not embedded again.
        Deleted files are removed, those of an unavailable folder (an unplugged disk) are kept. Each
        file is stored whole or not at all, so an interrupted update resumes where it stopped. Updates of one
        index wait for each other.
        """
        links = bool(self._store.meta("follow_links"))
        indexing = Indexing(self._store, self._encoder, self.target_tokens, progress, self._addresses)
        return indexing.run(lambda: find(self.sources, follow_links=links))

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

    def copy_to(
        self, target: str | VectorStore, *, name: str | None = None, progress: Progress | None = None
    ) -> Copied:
        """Copy this index to a vector store; vectors are reused, and only new passages are sent.

        Args:
            target: Such as `qdrant://localhost:6333/notes`; `chainkit.knowledge.index.store_urls.open_store` explains
                the names; or a store made with `chainkit.knowledge.index.copying.Carried(embeddings)` as embeddings.
            name: What the store is called in the notes of the index; by default what `target` says.

        Raises:
            SpecError: The string cannot be understood.
            MissingLibrary: The package of the vector store is not installed.
            ValueError: A store was given that was not made with `Carried`.
        """
        self._encoder.recognise(self._store)
        if not isinstance(target, str):
            if not isinstance(target.embeddings, Carried):
                raise ValueError("make the vector store with Carried(embeddings) from chainkit.knowledge.index.copying")
            return copy(self._store, target, target.embeddings, name or type(target).__name__, progress)
        carried = Carried(self.embeddings)
        opened = open_store(target, carried, width=int(self._store.meta("width")))
        try:
            return copy(self._store, opened.store, carried, name or without_password(target), progress)
        finally:
            opened.end()

    def find(
        self,
        question: str,
        k: int = 6,
        *,
        filter: Filter | None = None,  # noqa: A002 - LangChain's word for it
        dense_weight: float | None = None,
        min_similarity: float = -1.0,
        join_adjacent: bool = False,
        reranker: BaseDocumentCompressor | str | None = None,
    ) -> list[Hit]:
        """The `k` passages that fit a question best by meaning and words, the best first, near-duplicates left out.

        Args:
            filter: Only passages with this path (file, folder or pattern), page or metadata; a list means any of them.
            dense_weight: 1 searches by meaning alone, 0 by words alone; None takes 0.5, and less for a language that
                the embedding model hardly knows.
            min_similarity: A floor: passages whose cosine with the question is below it are left out.
            join_adjacent: Join adjacent passages of a document into one hit.
            reranker: Reranks the best few dozen passages before `k` of them are taken: one of
                LangChain's document compressors, or `ModelReranker`.
        """
        check_wanted(k, dense_weight)
        hits = self._lookup.ranked(question, 4 * k + 10, filter, dense_weight)
        return picked(hits, question, k, min_similarity=min_similarity, join_adjacent=join_adjacent, reranker=reranker)

    def nearest(
        self,
        vector: Sequence[float],
        k: int = 4,
        *,
        filter: Filter | None = None,  # noqa: A002 - LangChain's word for it
    ) -> list[Hit]:
        """The `k` passages whose vectors are nearest to this one, by cosine."""
        check_wanted(k)
        return self._lookup.nearest(vector, k, filter)

    def fluency(self, texts: Sequence[str]) -> float:
        """How well the embedding model knows the languages of texts, 0 to 1; 1 where it does not say."""
        return self._encoder.fluency(texts)

    def rarity(self, words: Sequence[str]) -> dict[str, float]:
        """How much each word tells, above 0: its inverse document frequency among the passages."""
        return self._lookup.rarity(words)

    async def afind(self, question: str, k: int = 6, **settings: Any) -> list[Hit]:
        """As `find`, without blocking the event loop."""
        return await run_in_executor(None, self.find, question, k, **settings)

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Vectors of length 1 as float32 (N, D).

        Raises:
            BadVectors: The model gave something that is not one finite vector for each text.
        """
        return self._encoder.texts(texts)
