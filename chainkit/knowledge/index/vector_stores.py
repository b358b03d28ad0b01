"""Any LangChain vector store in the place of an index: the same search and the same answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainkit.base.hiding import hides_given_keys
from chainkit.base.stems import stem
from chainkit.knowledge.index.closeness import K1, B
from chainkit.knowledge.index.encoder import Encoder, Matrix, opened_embeddings
from chainkit.knowledge.index.neighbours import supported
from chainkit.knowledge.index.picking import picked
from chainkit.knowledge.index.search import CANDIDATES, DENSE_WEIGHT, Hit, check_wanted, fuse
from chainkit.knowledge.index.vectorstore import IndexRetriever
from chainkit.knowledge.readers.plain import words
from chainkit.knowledge.readers.split import Passage

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore

    from chainkit.knowledge.index.filters import Filter


class VectorStoreIndex:
    """A LangChain vector store that can be searched and asked like an `Index`.

    The store finds the nearest passages by embedding; they are then ranked by hybrid search. The store must use cosine
    similarity. It may have been filled by `Index.copy_to` or by other means: then the metadata `source` is used as the
    path.

    Args:
        store: Made with the embedding model that filled it.
        embeddings: The same model, for questions; None takes the store's, otherwise MiniLM.
        translate: Converts a filter of names and values to the store's format; None passes it on unchanged.
        end: Called by `close`.
    """

    @hides_given_keys
    def __init__(
        self,
        store: VectorStore,
        embeddings: Embeddings | str | None = None,
        *,
        translate: Callable[[Filter], Any] | None = None,
        end: Callable[[], object] | None = None,
    ) -> None:
        self.store = store
        self._encoder = Encoder(opened_embeddings(embeddings or store.embeddings))
        self._translate = translate
        self._end = end

    def __enter__(self) -> VectorStoreIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection, if this object made it."""
        if self._end is not None:
            self._end()

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
        """As `Index.find`; words are compared only in the passages that are nearest by meaning."""
        check_wanted(k, dense_weight)
        if not question.strip():
            return []
        wanted = {"filter": self._translate(filter) if self._translate else filter} if filter else {}
        found = self.store.similarity_search_with_score(question, k=max(CANDIDATES, 4 * k + 10), **wanted)
        if not found:
            return []
        meaning = _cosines([score for _, score in found])
        passages = [passage_of(document) for document, _ in found]
        texts = [passage.context for passage in passages]
        by_words = _bm25(question, texts)
        if dense_weight is None:
            best = texts[int(by_words.argmax())]
            dense_weight = DENSE_WEIGHT * self._encoder.fluency([question, best]) if by_words.any() else 1.0
        scores = fuse(question, texts, meaning, by_words, dense_weight)
        if dense_weight < 1:
            scores = supported(scores, passages)
        ranked = (
            Hit(
                passages[at],
                score=float(scores[at]),
                meaning=float(meaning[at]),
                words=float(by_words[at]),
                metadata=found[at][0].metadata,
            )
            for at in np.argsort(-scores, kind="stable")
        )
        return picked(
            ranked, question, k, min_similarity=min_similarity, join_adjacent=join_adjacent, reranker=reranker
        )

    def fluency(self, texts: Sequence[str]) -> float:
        """How well the embedding model knows the languages of texts, 0 to 1; 1 where it does not say."""
        return self._encoder.fluency(texts)

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Vectors of length 1 as float32 (N, D)."""
        return self._encoder.texts(texts)

    def as_retriever(self, **kwargs: Any) -> IndexRetriever:
        """A retriever by meaning and words; `search_kwargs` are arguments of `find`."""
        return IndexRetriever(index=self, **kwargs)


def passage_of(document: Document) -> Passage:
    """Convert a document of a vector store to a passage."""
    about = document.metadata
    path = about.get("source") or document.id or ""
    if not isinstance(about.get("position"), int):  # not one of ours: page numbers of others may begin with 0
        return Passage(text=document.page_content, path=str(path))
    return Passage(
        text=document.page_content,
        path=str(path),
        headings=tuple(map(str, about.get("headings") or ())),
        position=about["position"],
        page=about.get("page"),
        first_line=about.get("first_line"),
        last_line=about.get("last_line"),
    )


def _cosines(scores: Sequence[float]) -> NDArray[np.float64]:
    """Scores of the nearest first: those that rise are distances."""
    values = np.array(scores, np.float64)
    return 1 - values if values[0] < values[-1] else values


def _bm25(question: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """BM25 of each text, as if there were no others."""
    wanted = dict.fromkeys(stem(word) for word in words(question))
    counts = [Counter(stem(word) for word in words(text)) for text in texts]
    frequencies = {term: sum(term in one for one in counts) for term in wanted}
    lengths = np.array([sum(one.values()) for one in counts], np.float64)
    norms = K1 * (1 - B + B * lengths / max(lengths.mean(), 1.0))
    scores = np.zeros(len(texts))
    for term, number in frequencies.items():
        weight = math.log(1 + (len(texts) - number + 0.5) / (number + 0.5))
        times = np.array([one[term] for one in counts], np.float64)
        scores += weight * times * (K1 + 1) / (times + norms)
    return scores
