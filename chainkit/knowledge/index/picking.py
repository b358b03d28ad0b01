"""From ranked passages to the few that are shown: the floor, near-duplicates, another order, neighbours joined."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from chainkit.base import opening
from chainkit.knowledge.index.neighbours import joined
from chainkit.knowledge.index.rerank import reranked
from chainkit.knowledge.index.search import Hit, distinct

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor


def picked(
    ranked: Iterable[Hit],
    question: str,
    k: int,
    *,
    min_similarity: float = -1.0,
    join_adjacent: bool = False,
    reranker: BaseDocumentCompressor | str | None = None,
) -> list[Hit]:
    """The `k` hits to show; `Index.find` explains the arguments.

    Raises:
        ValueError: `min_similarity` is not between -1 and 1, or the reranker gave a document that it was not given.
    """
    if not -1 <= min_similarity <= 1:
        raise ValueError(f"min_similarity is a cosine between -1 and 1, got {min_similarity}")
    hits = (hit for hit in ranked if hit.meaning >= min_similarity)
    if reranker is not None:
        hits = reranked(distinct(hits, 4 * k + 10), question, opening.reranker(reranker))
    return joined(distinct(hits, 2 * k), k) if join_adjacent else distinct(hits, k)
