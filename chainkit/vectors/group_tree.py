"""The tree of merges over items, or over the vectors that stand for them, and where it is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chainkit.vectors.large import Standing, standing
from chainkit.vectors.number import GroupCount, count_groups
from chainkit.vectors.tree import (
    average_linkage,
    cosine_distances,
    cut_at,
    groups_below,
    leaves,
    neighbour_tree,
    silhouette,
)

Array = np.ndarray[Any, Any]
Linkage = Literal["ward", "average"]


@dataclass(frozen=True, eq=False)
class GroupTree:
    """How N items join into groups.

    Attributes:
        standing: The M vectors that are the leaves, and the leaf that represents each item.
        distances: 1 - cosine of the leaves, float64, M x M.
        linkage: The merges, M - 1 x 4, as SciPy's.
        order: The items in an order in which each branch of the tree is one run and neighbours are alike.
    """

    standing: Standing
    distances: Array
    linkage: Array
    order: Array

    def count(self) -> GroupCount:
        """The number of groups, of single items where means stand for them: means show finer groups than there are."""
        drawn = self.standing.drawn
        if drawn is None or len(drawn) < 2:
            return count_groups(self.linkage, self.standing.vectors, self.distances)
        distances = cosine_distances(drawn)
        return count_groups(neighbour_tree(drawn, distances)[0], drawn, distances)

    def cut(self, k: int) -> Array:
        """The group of each leaf, from 0, when there are k."""
        return cut_at(self.linkage, k) if len(self.linkage) else np.zeros(1, int)

    def groups_above(self, cosine: float) -> int:
        """How many groups are left when those with at least this mean cosine are joined; for average linkage."""
        return groups_below(self.linkage, 1 - cosine + 1e-6)  # a merge at the threshold is wanted in spite of rounding

    def silhouette(self, labels: Array) -> float | None:
        """The mean silhouette of the leaves, None for one group or as many as leaves."""
        return silhouette(np.sqrt(2 * self.distances), labels)

    def check(self, k: int, items: int) -> None:
        """Refuse a number of groups that the tree cannot be cut into.

        Raises:
            ValueError: It is below 1, or above the number of leaves.
        """
        most = len(self.standing.vectors)
        if k < 1:
            raise ValueError(f"k must be 1 or more, got {k}")
        if k <= most:
            return
        if most < len(self.standing.rows):
            raise ValueError(f"of {items:,} items at most {most} groups can be asked for, got k={k}")
        raise ValueError(f"k is {k}, but only {most} of the {items} items are different")


def grow(vectors: Array, linkage: Linkage) -> GroupTree:
    """The tree of N different vectors.

    "ward": Ward's method over vectors averaged with their neighbours, each weighed by what it stands for; "average":
    the mean cosine between groups.

    Args:
        vectors: N x D, in an order that does not depend on how they were given.
        linkage: How groups are compared.
    """
    found = standing(vectors)
    distances = cosine_distances(found.vectors)
    if len(found.vectors) == 1:
        return GroupTree(found, distances, np.empty((0, 4)), np.arange(len(vectors)))
    if linkage == "average":
        compared, tree = distances, average_linkage(distances)
    else:
        tree, compared = neighbour_tree(found.vectors, distances, found.weights)
    place = np.empty(len(distances), int)
    place[leaves(tree, compared)] = np.arange(len(distances))
    order = np.lexsort((-found.closeness, place[found.rows]))
    return GroupTree(found, distances, tree, order)
