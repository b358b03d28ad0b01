"""Texts that mean the same, in groups; the number of groups need not be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.language_models import BaseChatModel

from chainkit.vectors.clustering import OUTLIER, Clustering, Group
from chainkit.vectors.given import Given, Items, Source, are_texts, read_given, unit
from chainkit.vectors.keywords import keywords
from chainkit.vectors.labels import label as shortened
from chainkit.vectors.large import LARGE, cut_many
from chainkit.vectors.naming import named
from chainkit.vectors.tree import Cut, cut_tree

Array = np.ndarray[Any, Any]

_ROWS_AT_ONCE = 16_384
_NAME_COLUMNS = 40


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
            More than `LARGE` different ones are grouped by `large.cut_many`, in bounded memory.
        embeddings: What turns texts into vectors: an Embeddings object or a spec, None is "minilm"; or the vectors of
            the texts.
        k: The number of groups; None finds it: where the silhouette is best, 2 or more for three or more items.
        threshold: Instead of k: items are together as long as the mean cosine between two groups is at least this.
        min_size: Items of smaller groups become outliers, label -1.
        names: A chat model, or its spec, that names each group; None names them by their keywords.

    Raises:
        BadTexts: No texts, blank ones, or things that are no texts.
        BadVectors: Vectors that are not finite or differ in length.
        ValueError: k and threshold together, or out of range; names for vectors without texts.
    """
    _check(k, threshold, min_size)
    if names is not None and not are_texts(items):
        raise ValueError("groups of vectors have no texts to name them by")
    given = read_given(items, embeddings, LARGE)
    if k is not None and k > len(given.vectors):
        raise ValueError(f"k is {k}, but only {len(given.vectors)} of the {len(given.rows)} items are different")
    cut = (cut_tree if len(given.vectors) <= LARGE else cut_many)(given.vectors, k, threshold)
    found = _clustering(items if given.texts is not None else None, given, cut, min_size)
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


def _clustering(texts: Any, given: Given, cut: Cut, min_size: int) -> Clustering:
    counts = np.bincount(given.rows, minlength=len(given.vectors))
    places = _groups_of(cut.labels, counts, min_size)
    central = [_by_closeness(given.vectors, place, counts) for place in places]
    telling = _keywords(given, places)
    labels = np.full(len(given.vectors), OUTLIER)
    for label, place in enumerate(places):
        labels[place] = label
    rows_of = _rows_of(given.rows, len(given.vectors))
    groups = tuple(
        Group(
            label=label,
            name=", ".join(telling[label][:3]) or _named_after(order[0], label, given.texts),
            members=tuple(row for place in order for row in rows_of[place]),
            representative=rows_of[order[0]][0],
            keywords=tuple(telling[label]),
        )
        for label, order in enumerate(central)
    )
    return Clustering(
        texts=None if texts is None else tuple(texts),
        labels=labels[given.rows],
        groups=groups,
        order=tuple(row for place in cut.order for row in rows_of[place]),
        silhouette=cut.silhouette,
        given=given,
    )


def _named_after(representative: int, label: int, texts: Sequence[str] | None) -> str:
    return f"group {label}" if texts is None else shortened(texts[representative], _NAME_COLUMNS)


def _groups_of(labels: Array, counts: Array, min_size: int) -> list[Array]:
    """The places of each group's items, the largest group first; of equal ones, that with the first place."""
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    groups = [group for group in groups if counts[group].sum() >= min_size]
    return sorted(groups, key=lambda group: (-int(counts[group].sum()), int(group[0])))


def _by_closeness(vectors: Array, places: Array, counts: Array) -> list[int]:
    blocks = [places[start : start + _ROWS_AT_ONCE] for start in range(0, len(places), _ROWS_AT_ONCE)]
    mean = sum((counts[block] @ unit(vectors[block]) for block in blocks), np.zeros(vectors.shape[1]))
    mean = (mean / (np.linalg.norm(mean) or 1)).astype(np.float32)
    closeness = np.round(
        np.concatenate([unit(vectors[block]) @ mean for block in blocks]), 5
    )  # what is equal but for rounding goes by content
    return [int(places[i]) for i in np.lexsort((places, -closeness))]


def _keywords(given: Given, groups: Sequence[Array]) -> list[list[str]]:
    if given.texts is None or not groups:
        return [[] for _ in groups]
    counts = np.bincount(given.rows)
    texts = given.texts
    return keywords([[texts[place] for place in group for _ in range(counts[place])] for group in groups])


def _rows_of(rows: Array, count: int) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(count)]
    for row, place in enumerate(rows.tolist()):
        found[place].append(row)
    return found
