"""Texts compared by meaning: similarity, groups, pictures."""

from chainkit.vectors.cached import CachedEmbeddings
from chainkit.vectors.clustering import Clustering, Group
from chainkit.vectors.clusters import clusters
from chainkit.vectors.given import are_texts
from chainkit.vectors.heatmap import Heatmap, heatmap
from chainkit.vectors.map import ClusterMap, cluster_map
from chainkit.vectors.naming import NotNamed, named
from chainkit.vectors.nearest import Match, Pair, pairs, search
from chainkit.vectors.similarity import similarity

__all__ = [
    "CachedEmbeddings",
    "ClusterMap",
    "Clustering",
    "Group",
    "Heatmap",
    "Match",
    "NotNamed",
    "Pair",
    "are_texts",
    "cluster_map",
    "clusters",
    "heatmap",
    "named",
    "pairs",
    "search",
    "similarity",
]


def __dir__() -> list[str]:
    return sorted(__all__)
