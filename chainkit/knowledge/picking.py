"""From ranked passages to the few that are shown: the floor, near-duplicates, another order, neighbours joined."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from chainkit.base import opening
from chainkit.knowledge.neighbours import joined
from chainkit.knowledge.rerank import reranked
from chainkit.knowledge.search import Hit, distinct

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor


def picked(
    ranked: Iterable[Hit],
    question: str,
    k: int,
    *,
    least_meaning: float = -1.0,
    merge: bool = False,
    reranker: BaseDocumentCompressor | str | None = None,
) -> list[Hit]:
    """The `k` hits to show; `Index.find` explains the arguments.

    Raises:
        ValueError: `least_meaning` is not between -1 and 1, or the reranker gave a document that it was not given.
    """
    if not -1 <= least_meaning <= 1:
        raise ValueError(f"least_meaning is a cosine between -1 and 1, got {least_meaning}")
    hits = (hit for hit in ranked if hit.meaning >= least_meaning)
    if reranker is not None:
        hits = reranked(distinct(hits, 4 * k + 10), question, opening.reranker(reranker))
    return joined(distinct(hits, 2 * k), k) if merge else distinct(hits, k)
