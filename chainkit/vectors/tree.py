"""Groups of up to a few thousand items: a tree of merges, and where to cut it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainkit.vectors.given import unit

Array = np.ndarray[Any, Any]

SLACK = 0.002
"""Of many items, the fewest groups win whose mean silhouette is at most this much below the best.

Measured on 40 draws of 10 to 19 labelled groups: the same agreement with the labels as the best silhouette (adjusted
Rand index 0.716 and 0.714) with a number of groups nearer to the right one (1.4 instead of 1.7 off). Small sets would
lose by it.
"""

_MANY = 40  # items from which SLACK counts
_TOGETHER = 0.5  # two items alone have no silhouette: one group if their cosine is at least this
_ORDERED_AT_MOST = 800  # optimal leaf ordering takes N^3 steps: a third of a second here, 7 s at 2,000


@dataclass(frozen=True, eq=False)
class Cut:
    """Groups of M different items.

    Attributes:
        labels: The group of each item, M of them, from 0.
        order: The items in an order in which each group is one run and neighbours are alike.
        silhouette: Mean silhouette of the items at unit length, None if there is one group or each item is its own.
    """

    labels: Array
    order: Array
    silhouette: float | None


def cut_tree(
    vectors: Array, k: int | None = None, threshold: float | None = None, *, slack: float | None = None
) -> Cut:
    """Groups by Ward's method, or for a threshold by average linkage.

    Ward's tree cut where the silhouette is best agreed more with the labels of 20 sets of short sentences (adjusted
    Rand index 0.765) than complete linkage (0.741), average linkage (0.725), k-means (0.689) and HDBSCAN (0.633).

    Args:
        vectors: Different vectors, M x D.
        k: Number of groups; without it and a threshold, it is found.
        threshold: Groups are joined as long as their mean cosine is at least this.
        slack: As for `best_k`; None is `SLACK` for more than 40 items, else 0.
    """
    if len(vectors) == 1:
        return Cut(np.zeros(1, int), np.zeros(1, int), None)
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    distances = cosine_distances(vectors)
    cosine = squareform(distances, checks=False)
    lengths = np.sqrt(2 * cosine)  # between the ends of unit vectors
    if threshold is not None:
        tree = linkage(cosine, "average")
        # a merge at exactly the threshold is wanted in spite of rounding
        labels = fcluster(tree, 1 - threshold + 1e-6, "distance")
    else:
        tree = linkage(lengths, "ward")
        slack = (SLACK if len(vectors) > _MANY else 0.0) if slack is None else slack
        labels = _labels(tree, k or best_k(tree, distances, slack))
    if len(vectors) <= _ORDERED_AT_MOST:
        tree = optimal_leaf_ordering(tree, cosine)
    return Cut(labels - 1, leaves_list(tree), silhouette(np.sqrt(2 * distances), labels))


def cosine_distances(vectors: Array) -> Array:
    """1 - cosine, float64, M x M, exactly symmetric and zero on the diagonal."""
    rows = unit(vectors.astype(np.float64))
    distances = np.clip(1 - rows @ rows.T, 0, 2)
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0)
    return distances


def best_k(tree: Array, distances: Array, slack: float) -> int:
    """The number of groups whose silhouette is best, 2 or more; for two items alone, 1 if they are alike.

    Args:
        tree: The linkage matrix of M items.
        distances: Cosine distances, M x M.
        slack: The fewest groups win whose mean silhouette is at most this much below the best.
    """
    count = len(distances)
    if count == 2:
        return 1 if 1 - distances[0, 1] >= _TOGETHER else 2
    lengths, tried = np.sqrt(2 * distances), candidates(count)
    found = silhouettes(tree, lengths, tried)
    place = tried.index(max(found, key=lambda k: found[k]))
    # between the best of the tried numbers and its neighbours, all are tried
    found |= silhouettes(tree, lengths, range(tried[max(place - 1, 0)], tried[min(place + 1, len(tried) - 1)] + 1))
    least = max(found.values()) - slack
    return min(k for k, score in found.items() if score >= least)


def silhouettes(tree: Array, distances: Array, numbers: Sequence[int]) -> dict[int, float]:
    """Mean silhouettes of a tree cut into each of these numbers of groups, each below the number of items.

    The sums of distances from every item to every group are kept from one cut to the next coarser one, so that all cuts
    together cost little more than the first; scikit-learn's `silhouette_score` starts anew for each.
    """
    sums, groups = distances, np.arange(len(distances))
    found: dict[int, float] = {}
    for k in sorted(numbers, reverse=True):
        labels = _labels(tree, k) - 1
        coarser = np.empty(groups.max() + 1, int)
        coarser[groups] = labels
        order = np.argsort(coarser, kind="stable")
        starts = np.flatnonzero(np.diff(coarser[order], prepend=-1))
        sums, groups = np.add.reduceat(sums[:, order], starts, axis=1), labels
        found[k] = _mean_silhouette(sums, labels)
    return found


def _mean_silhouette(sums: Array, labels: Array) -> float:
    sizes = np.bincount(labels)
    rows = np.arange(len(labels))
    inside = sums[rows, labels] / np.maximum(sizes[labels] - 1, 1)
    outside = sums / sizes
    outside[rows, labels] = np.inf
    nearest = outside.min(axis=1)
    larger = np.maximum(inside, nearest)
    scores = (nearest - inside) / np.where(larger == 0, 1, larger)
    return float(np.where(sizes[labels] > 1, scores, 0).mean())


def candidates(count: int) -> list[int]:
    """The numbers of groups that are tried for so many items: all small ones, then in steps of 4%, up to the half.

    >>> candidates(9)
    [2, 3, 4, 5, 6, 7, 8]
    """
    most = count - 1 if count <= 60 else count // 2
    found = [2]
    while (following := max(found[-1] + 1, round(found[-1] * 1.04))) <= most:
        found.append(following)
    return found


def silhouette(distances: Array, labels: Array) -> float | None:
    """Mean silhouette (Rousseeuw 1987), None where it is not defined."""
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(labels)) < len(labels):
        return None
    return float(silhouette_score(distances, labels, metric="precomputed"))


def _labels(tree: Array, k: int) -> Array:
    from scipy.cluster.hierarchy import fcluster

    # merges are numbered, so that of merges at the same height some can be undone and others not: k groups, never fewer
    return fcluster(tree, k, "maxclust_monocrit", monocrit=np.arange(len(tree), dtype=np.float64))
