"""The embedding model of an index: vectors of length 1, checked, and recognised when it is not the one it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chainkit.base import opening
from chainkit.base.errors import BadVectors, EmbeddingsMismatch
from chainkit.base.vectors import fluency_of
from chainkit.knowledge.index.codes import Matrix
from chainkit.knowledge.index.store import Store

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

_PROBE = "The quick brown fox jumps over the lazy dog; 12 bees hum."
_SAME_MODEL = 0.99


class Encoder:
    """Texts to vectors by any LangChain embeddings.

    With an `embed_array` method (texts to float32 (N, D)) that one is used, which saves turning numbers into Python
    objects and back.
    """

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings
        self._recognised = False

    @property
    def name(self) -> str:
        """What the model is called in messages."""
        return model_name(self.embeddings)

    def texts(self, texts: Sequence[str]) -> Matrix:
        """Vectors of length 1 as float32 (N, D).

        Raises:
            BadVectors: The model gave something that is not one finite vector for each text.
        """
        if not texts:
            return np.empty((0, 0), np.float32)
        by_array = getattr(self.embeddings, "embed_array", None)
        vectors: Any = by_array(texts) if by_array else self.embeddings.embed_documents(list(texts))
        return unit(vectors, len(texts))

    def question(self, question: str, width: int) -> Matrix:
        """The vector of a question, float32 (`width`,).

        Raises:
            BadVectors: It is not finite or of another width.
        """
        return one_of(self.embeddings.embed_query(question), width)

    def fluency(self, texts: Sequence[str]) -> float:
        """How well the model knows the languages of these texts, 0 to 1, where it says so, else 1."""
        return fluency_of(self.embeddings, texts)

    def recognise(self, store: Store) -> None:
        """Compare the vector of a fixed text with the stored one: that shows another model whatever it is called.

        Raises:
            EmbeddingsMismatch: The store was filled with another model.
        """
        if self._recognised:
            return
        probe = self.texts([_PROBE])[0]
        if store.meta("probe") is None:
            store.set_first({"model": self.name, "width": len(probe), "probe": probe.tobytes()})
        stored = np.frombuffer(store.meta("probe"), np.float32)
        if len(stored) != len(probe) or float(stored @ probe) < _SAME_MODEL:
            raise EmbeddingsMismatch(
                store.path or "index in memory",
                f"was made with {store.meta('model')} ({len(stored)} numbers a text), not with {self.name} "
                f"({len(probe)}); open it with that model, or index anew into another file",
            )
        self._recognised = True


def opened_embeddings(given: Embeddings | str | None) -> Embeddings:
    """The embeddings that were given or named; without any MiniLM, which needs no key and no torch."""
    if given is not None:
        return opening.embeddings(given)
    from chainkit.backends.sentence import SentenceEmbeddings

    return SentenceEmbeddings(model="")


def model_name(embeddings: Embeddings) -> str:
    """What an embedding model is called in messages."""
    kind = type(embeddings).__name__
    name = getattr(embeddings, "model", None) or getattr(embeddings, "model_name", None)
    return f"{kind}({name})" if isinstance(name, str) else kind


def one_of(vector: Sequence[float], width: int) -> Matrix:
    """One vector, checked and of length 1."""
    found = unit([vector], 1)[0]
    if len(found) != width:
        raise BadVectors(f"a question has {len(found)} numbers, the passages have {width}")
    return cast(Matrix, found)


def unit(vectors: Any, count: int) -> Matrix:
    """Vectors checked and stretched to length 1; those of length 0 stay as they are."""
    array = np.asarray(vectors, np.float32)
    if array.ndim != 2 or len(array) != count or not array.shape[1]:
        raise BadVectors(f"the embedding model gave an array of shape {array.shape} for {count} texts")
    if not np.isfinite(array).all():
        raise BadVectors("the embedding model gave numbers that are not finite")
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    return cast(Matrix, np.ascontiguousarray(array / np.where(lengths > 0, lengths, 1), np.float32))
