"""Texts compared by meaning: similarity, groups, pictures."""

from chainkit.vectors.clusters import Clustering, Group, clusters
from chainkit.vectors.given import are_texts
from chainkit.vectors.heatmap import Heatmap, heatmap
from chainkit.vectors.nearest import Match, Pair, pairs, search
from chainkit.vectors.similarity import similarity

__all__ = [
    "Clustering",
    "Group",
    "Heatmap",
    "Match",
    "Pair",
    "are_texts",
    "clusters",
    "heatmap",
    "pairs",
    "search",
    "similarity",
]
