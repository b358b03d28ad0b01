"""Models that read a question with a passage and say how well it answers: what their backends have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field


class Reranker(BaseDocumentCompressor):
    """A cross-encoder; LangChain's retrievers and `chainkit.ask(..., reranker=...)` take it.

    Attributes:
        top_n: Number of passages to keep; None keeps all.
        least_score: Keep those with at least this score.
    """

    model_config = ConfigDict(extra="forbid")

    top_n: int | None = Field(default=None, ge=1)
    least_score: float | None = None

    @abstractmethod
    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers, in their order: from 0 to 1, or as the model says it.

        Raises:
            ContextOverflow: A text is too long to be read with the question; nothing has been computed then.
        """

    @abstractmethod
    def token_counts(self, query: str, texts: Sequence[str]) -> list[int]:
        """How many tokens the model reads for each text, the question included."""

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The documents in the order of their scores, the best first; equal ones stay in their order.

        Each is a copy with its score in the metadata, as `relevance_score`.
        """
        if not documents:
            return []
        scores = self.scores(query, [document.page_content for document in documents])
        order = sorted(range(len(scores)), key=lambda number: -scores[number])
        kept = [place for place in order if self.least_score is None or scores[place] >= self.least_score]
        return [_scored(documents[place], scores[place]) for place in kept[: self.top_n]]


def _scored(document: Document, score: float) -> Document:
    return document.model_copy(update={"metadata": document.metadata | {"relevance_score": score}})
