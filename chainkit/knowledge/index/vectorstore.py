"""LangChain's side of an index: a vector store of texts, and a retriever."""

from __future__ import annotations

import hashlib
import json
import uuid
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from pydantic import ConfigDict, Field

from chainkit.knowledge.index.search import Hit, Searchable
from chainkit.knowledge.index.store import Row, Store, Stored
from chainkit.knowledge.readers.blocks import storable
from chainkit.knowledge.readers.split import Passage

if TYPE_CHECKING:
    from chainkit.knowledge.index.encoder import Encoder
    from chainkit.knowledge.index.filters import Filter

FUSED = "fused"


class PassageStore(VectorStore):
    """The methods that LangChain expects, over the passages of an index.

    A text that is added here is one passage with the id and metadata that it came with; it is not split, and it is
    no file, so that updates leave it alone.
    """

    _store: Store
    _encoder: Encoder

    @abstractmethod
    def find(self, question: str, k: int = 6, *, filter: Filter | None = None) -> list[Hit]:  # noqa: A002
        """By meaning and words."""

    @abstractmethod
    def nearest(self, vector: Sequence[float], k: int = 4, *, filter: Filter | None = None) -> list[Hit]:  # noqa: A002
        """By meaning alone."""

    @property
    def embeddings(self) -> Embeddings:
        """The embedding model."""
        return self._encoder.embeddings

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """An index of these texts; `path=` names its file."""
        store = cls(kwargs.pop("path", None), embedding, **kwargs)  # pyright: ignore[reportCallIssue]
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, all of them or none; an id that is there already gets the new text.

        Raises:
            ValueError: Texts, metadata and ids differ in number, an id comes twice, or JSON cannot hold the metadata.
        """
        contents = [storable(text) for text in texts]
        names = [name or str(uuid.uuid4()) for name in ids or [None] * len(contents)]
        extras = metadatas or [{} for _ in contents]
        if not len(contents) == len(names) == len(extras):
            raise ValueError(f"there are {len(contents)} texts, {len(extras)} metadata and {len(names)} ids")
        if len(set(names)) < len(names):
            raise ValueError("the ids contain a duplicate")
        if contents:
            self._put(names, contents, extras)
        return names

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Remove texts by their ids; None removes all texts, but no files. True if there was anything to remove."""
        known = self._store.documents()
        chosen = [name for name, one in known.items() if not one.is_file and (ids is None or name in ids)]
        return bool(self._store.remove(chosen))

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The passages with these ids, as far as they are there; those of files are called `path#position`."""
        found = {document.id: document for document in map(_document, self._store.named(ids))}
        return [found[name] for name in ids if name in found]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """By meaning alone, as LangChain's name for it says; `filter=` as in `find`."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        """By meaning alone, with the cosine of each."""
        return self._scored(self.embeddings.embed_query(query), k, **kwargs)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """The passages nearest to a vector."""
        return [document for document, _ in self._scored(embedding, k, **kwargs)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Near to the question and far from each other; `lambda_mult` 1 asks for nearness alone."""
        vector = self.embeddings.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """As `max_marginal_relevance_search`, for a vector."""
        hits = self.nearest(embedding, fetch_k, **kwargs)
        vectors = self._store.vectors([hit.id for hit in hits])
        known = [hit for hit in hits if hit.id in vectors]
        places = maximal_marginal_relevance(
            np.asarray(embedding, np.float32), [vectors[hit.id].tolist() for hit in known], lambda_mult=lambda_mult, k=k
        )
        return [_of_hit(known[at]) for at in places]

    def as_retriever(self, **kwargs: Any) -> BaseRetriever:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A retriever; by meaning and words unless `search_type` is one of LangChain's.

        Args:
            kwargs: `search_type` ("fused", "similarity", "mmr" or "similarity_score_threshold") and `search_kwargs`,
                such as `{"k": 8, "filter": {"path": "docs"}}`.
        """
        if kwargs.get("search_type", FUSED) != FUSED:
            return super().as_retriever(**kwargs)
        kwargs.pop("search_type", None)
        return IndexRetriever(index=cast(Searchable, self), **kwargs)

    def _select_relevance_score_fn(self) -> Any:
        return lambda cosine: max(0.0, cosine)

    def _scored(self, vector: Sequence[float], k: int, **kwargs: Any) -> list[tuple[Document, float]]:
        return [(_of_hit(hit), hit.meaning) for hit in self.nearest(vector, k, filter=kwargs.get("filter"))]

    def _put(self, names: Sequence[str], texts: Sequence[str], metadatas: Sequence[Mapping[str, Any]]) -> None:
        marks = [_mark(text, extra) for text, extra in zip(texts, metadatas, strict=True)]
        self._encoder.recognise(self._store)
        vectors = self._encoder.texts(texts)
        rows = zip(names, texts, vectors, strict=True)
        documents = zip(names, marks, metadatas, strict=True)
        with self._store.staging:
            self._store.stage((Passage(text=text, path=name), vector.tobytes()) for name, text, vector in rows)
            self._store.commit([Stored(name, mark, False, metadata=extra) for name, mark, extra in documents])


class IndexRetriever(BaseRetriever):
    """Passages by meaning and words, as a Runnable.

    Attributes:
        index: Where to look.
        search_kwargs: Arguments of `Index.find`, such as `k` and `filter`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    index: Searchable
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return [_of_hit(hit) for hit in self.index.find(query, **{**self.search_kwargs, **kwargs})]


def _of_hit(hit: Hit) -> Document:
    return _document(Row(hit.id, hit.passage, hit.metadata, hit.is_file))


def _document(row: Row) -> Document:
    passage = row.passage
    if not row.is_file:
        name = f"{passage.path}#{passage.position}" if passage.position else passage.path
        return Document(page_content=passage.text, metadata=dict(row.metadata), id=name)
    places = {"page": passage.page, "first_line": passage.first_line, "last_line": passage.last_line}
    metadata = {"source": passage.path, "headings": list(passage.headings)} | {
        name: number for name, number in places.items() if number is not None
    }
    return Document(
        page_content=passage.text, metadata=metadata | dict(row.metadata), id=f"{passage.path}#{passage.position}"
    )


def _mark(text: str, metadata: Mapping[str, Any]) -> str:
    try:
        stored = json.dumps([text, dict(metadata)], sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata has to be made of what JSON can hold: {error}") from error
    return hashlib.sha256(stored.encode()).hexdigest()
