"""Texts that mean the same, in groups; the number of groups need not be known."""

from __future__ import annotations

from langchain_core.language_models import BaseChatModel

from chainkit.base.hiding import hides_given_keys
from chainkit.vectors.clustering import Clustering, grouped
from chainkit.vectors.given import Items, Source, are_texts, read_given
from chainkit.vectors.group_tree import grow
from chainkit.vectors.large import MOST
from chainkit.vectors.naming import named


@hides_given_keys
def clusters(
    items: Items,
    embeddings: Source = None,
    k: int | None = None,
    threshold: float | None = None,
    *,
    min_size: int = 1,
    names: BaseChatModel | str | None = None,
) -> Clustering:
    """Put texts that mean the same into groups; the same set gives the same groups in any order.

    >>> found = clusters([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    >>> found.labels.tolist(), found.sizes
    ([1, 1, 0, 0], (2, 2))

    Args:
        items: Texts, or vectors (N x D), also from an array on disk. Equal items count as one when groups are formed.
            For more than `large.MOST` different ones, that many small groups are clustered, in bounded memory.
        embeddings: What turns texts into vectors: an Embeddings object or a spec, None is "minilm"; or the vectors of
            the texts.
        k: The number of groups; None finds it, see `number.count_groups`: 2 or more for three or more items.
        threshold: Instead of k: items are together as long as the mean cosine between two groups is at least this.
        min_size: Items of smaller groups become outliers, label -1.
        names: A chat model, or its spec, that names each group; None names them by their keywords.

    Raises:
        BadTexts: No texts, blank ones, or things that are not texts.
        BadVectors: Vectors that are not finite or differ in length.
        ValueError: k and threshold together, or out of range; names for vectors without texts.
    """
    _check(k, threshold, min_size)
    if names is not None and not are_texts(items):
        raise ValueError("groups of vectors have no texts to name them by")
    given = read_given(items, embeddings, MOST)
    texts = None if given.texts is None else tuple(str(text) for text in items)
    tree = grow(given.vectors, "average" if threshold is not None else "ward")
    count = None
    if threshold is not None:
        k = tree.groups_above(threshold)
    elif k is None:
        count = tree.count()
        k = count.k
    tree.check(k, len(given.rows))
    found = grouped(texts, given, tree, tree.cut(k), count=count, min_size=min_size)
    return found if names is None else named(found, names)


def _check(k: int | None, threshold: float | None, min_size: int) -> None:
    if k is not None and threshold is not None:
        raise ValueError("give k or threshold, not both")
    if k is not None and k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"threshold is a cosine and must be between -1 and 1, got {threshold}")
    if min_size < 1:
        raise ValueError(f"min_size must be 1 or more, got {min_size}")
