"""A tree of merges over up to a few thousand vectors, and the groups from cutting it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainkit.base.errors import MissingLibrary
from chainkit.vectors.given import unit

Array = np.ndarray[Any, Any]

NEIGHBOURS = 10
"""Of 200 vectors or more, each is averaged with the mean of this many neighbours before the tree is made."""

_ALONE = 40  # up to this number vectors are not averaged: among few, a neighbour may be of another group
_VECTORS_PER_NEIGHBOUR = 16
_ORDERED_AT_MOST = 800  # optimal leaf ordering takes N^3 steps: a third of a second here, 7 s at 2,000


def neighbours_of(count: int) -> int:
    """Number of neighbours to average with, for `count` vectors: 0 up to 40, `NEIGHBOURS` from 200 on."""
    return min(NEIGHBOURS, max(0, (count - _ALONE) // _VECTORS_PER_NEIGHBOUR))


def nearest_rows(cosines: Array, count: int) -> Array:
    """For each of M rows, the `count` others with the largest cosine in no order, M x count."""
    others = cosines.copy()
    np.fill_diagonal(others, -np.inf)
    return np.argpartition(-others, min(count, len(others) - 1) - 1, axis=1)[:, :count]


def averaged(vectors: Array, cosines: Array, count: int, weights: Array | None = None) -> Array:
    """Each vector plus the mean of its nearest neighbours, at unit length: near-paraphrases stop being groups.

    Args:
        vectors: M x D, at unit length.
        cosines: M x M.
        count: How many neighbours; 0 leaves the vectors as they are.
        weights: How many items each vector stands for, M; None for one each.
    """
    if count == 0:
        return vectors
    nearest = nearest_rows(cosines, count)
    if weights is None:
        return unit(vectors + vectors[nearest].mean(axis=1))
    shares = weights[nearest] / weights[nearest].sum(axis=1, keepdims=True)
    return unit(vectors + np.einsum("mn,mnd->md", shares, vectors[nearest]).astype(vectors.dtype))


def cosine_distances(vectors: Array) -> Array:
    """1 - cosine, float64, M x M, exactly symmetric and zero on the diagonal."""
    rows = unit(vectors.astype(np.float64))
    distances = np.clip(1 - rows @ rows.T, 0, 2)
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0)
    return distances


def ward(distances: Array, weights: Array | None = None) -> Array:
    """The linkage matrix of Ward's method over vectors of length 1, M - 1 x 4.

    Args:
        distances: 1 - cosine, M x M, symmetric.
        weights: How many items each vector stands for, M; None for one each, which is faster.
    """
    if weights is not None:
        return _weighted_ward(distances, weights)
    hierarchy, squareform = _scipy()
    return hierarchy.linkage(np.sqrt(2 * squareform(distances, checks=False)), "ward")  # between ends of unit vectors


def _weighted_ward(distances: Array, weights: Array) -> Array:
    """Ward's tree over vectors that stand for others: the tree that those would have if they were equal.

    By chains of nearest neighbours (Murtagh 1983), with the update of Lance and Williams; SciPy takes no weights.
    """
    sizes = weights.astype(np.float64)
    costs = 2 * distances * sizes[:, None] * sizes / (sizes[:, None] + sizes)  # what a merge adds to the sum of squares
    np.fill_diagonal(costs, np.inf)
    left = np.ones(len(sizes), bool)
    chain: list[int] = []
    merges: list[tuple[float, int, int]] = []
    while len(merges) < len(sizes) - 1:
        if not chain:
            chain.append(int(left.argmax()))
        while True:
            last = chain[-1]
            nearest = int(costs[last].argmin())
            if len(chain) > 1 and costs[last, chain[-2]] <= costs[last, nearest]:
                break
            chain.append(nearest)
        first, second = chain.pop(), chain.pop()
        cost, both = costs[first, second], sizes[first] + sizes[second]
        merges.append((float(cost), first, second))
        joined = (sizes[first] + sizes) * costs[first] + (sizes[second] + sizes) * costs[second] - sizes * cost
        costs[first] = costs[:, first] = joined / (both + sizes)
        costs[second] = costs[:, second] = np.inf
        costs[first, first] = np.inf
        sizes[first] = both
        left[second] = False
    return _as_linkage(sorted(merges, key=lambda merge: merge[0]), len(sizes))


def _as_linkage(merges: Sequence[tuple[float, int, int]], count: int) -> Array:
    """Merges in the order of their cost, each named by a vector of either side, as a linkage matrix."""
    nodes, sizes, parents = list(range(count)), [1] * count, list(range(count))
    found = np.empty((len(merges), 4))
    for row, (cost, *ends) in enumerate(merges):
        for place, end in enumerate(ends):
            while parents[end] != end:
                parents[end] = parents[parents[end]]
                end = parents[end]
            ends[place] = end
        first, second = ends
        sizes[first] += sizes[second]
        found[row] = (*sorted((nodes[first], nodes[second])), np.sqrt(2 * cost), sizes[first])
        parents[second], nodes[first] = first, count + row
    return found


def neighbour_tree(vectors: Array, distances: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Ward's tree over vectors averaged with their neighbours, and 1 - cosine of these, M x M.

    Args:
        vectors: M x D, at unit length.
        distances: 1 - cosine, M x M.
        weights: How many items each vector stands for, M; None for one each.
    """
    cosines = (1 - distances).astype(np.float32)
    compared = cosine_distances(averaged(vectors, cosines, neighbours_of(len(vectors)), weights))
    return ward(compared, weights), compared


def average_linkage(distances: Array) -> Array:
    """The linkage matrix of the mean of `distances` between groups, M - 1 x 4."""
    hierarchy, squareform = _scipy()
    return hierarchy.linkage(squareform(distances, checks=False), "average")


def cut_at(tree: Array, k: int) -> Array:
    """The group of each of M vectors, from 0, when the last merges of the tree are undone until there are k."""
    hierarchy, _ = _scipy()
    # merges are numbered, so that of merges at the same height some can be undone and others not: k groups, never fewer
    return hierarchy.fcluster(tree, k, "maxclust_monocrit", monocrit=np.arange(len(tree), dtype=np.float64)) - 1


def groups_below(tree: Array, height: float) -> int:
    """How many groups are left when all merges up to this height are made."""
    return len(tree) + 1 - int(np.count_nonzero(tree[:, 2] <= height))


def leaves(tree: Array, distances: Array) -> Array:
    """The M vectors in an order in which each branch of the tree is one run; of few, neighbours are alike too.

    Args:
        tree: The linkage matrix.
        distances: 1 - cosine, M x M.
    """
    hierarchy, squareform = _scipy()
    if len(distances) <= _ORDERED_AT_MOST:
        tree = hierarchy.optimal_leaf_ordering(tree, squareform(distances, checks=False))
    return hierarchy.leaves_list(tree)


def silhouettes(tree: Array, distances: Array, numbers: Sequence[int]) -> dict[int, float]:
    """Mean silhouettes (Rousseeuw 1987) of a tree cut into each of these numbers of groups, each below M.

    The sums of distances from every item to every group are kept from one cut to the next coarser one, so that all cuts
    together cost little more than the first; scikit-learn's `silhouette_score` starts anew for each.

    Args:
        tree: The linkage matrix of M items.
        distances: M x M.
        numbers: Numbers of groups, 2 or more.
    """
    sums, groups = distances, np.arange(len(distances))
    found: dict[int, float] = {}
    for k in sorted(numbers, reverse=True):
        labels = cut_at(tree, k)
        sums = merged_columns(sums, groups, labels)
        groups = labels
        found[k] = _mean_silhouette(sums, labels)
    return found


def silhouette(distances: Array, labels: Array) -> float | None:
    """Mean silhouette of groups numbered from 0, None where it is not defined: one group, or each item its own."""
    if not 2 <= labels.max() + 1 < len(labels):
        return None
    return _mean_silhouette(merged_columns(distances, np.arange(len(labels)), labels), labels)


def merged_columns(sums: Array, fine: Array, coarse: Array) -> Array:
    """Columns of finer groups added up to those of coarser ones: N x fine groups to N x coarse groups.

    Args:
        sums: N x F.
        fine: The finer group of each of M items, from 0 to F - 1.
        coarse: The coarser group of each; every finer group lies in one of them.
    """
    coarser = np.empty(sums.shape[1], int)
    coarser[fine] = coarse
    order = np.argsort(coarser, kind="stable")
    starts = np.flatnonzero(np.diff(coarser[order], prepend=-1))
    return np.add.reduceat(sums[:, order], starts, axis=1)


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


def _scipy() -> tuple[Any, Any]:
    try:
        from scipy.cluster import hierarchy
        from scipy.spatial.distance import squareform
    except ImportError as error:
        raise MissingLibrary("scipy", extra="cluster") from error
    return hierarchy, squareform
