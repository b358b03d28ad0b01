"""Texts compared by meaning, with a model that a string may name: the functions of the top package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel

from chainkit import registry, vectors
from chainkit.vectors.given import Items, Vectors
from chainkit.vectors.layout import Method
from chainkit.vectors.similarity import Metric

Source = Embeddings | Vectors | str | None
"""What turns texts into vectors: an object, a spec such as "minilm", None for "minilm"; or the vectors themselves."""


def similarity(
    a: Items,
    b: Items | Embeddings | str | None = None,
    embeddings: Embeddings | str | None = None,
    metric: Metric = "cosine",
) -> np.ndarray[Any, Any]:
    """How alike each text of `a` is to each of `b`, float32, N x M; more is more alike in every metric.

    >>> import chainkit
    >>> chainkit.similarity(["a red car", "a red car"], ["a red car"], "fake:").round(2).tolist()
    [[1.0], [1.0]]

    Args:
        a: Texts, or vectors (N x D).
        b: Texts or vectors (M x D); without them, `a` is compared with itself. A model or a spec here is taken as
            `embeddings`, so that `similarity(texts, model)` reads as `clusters(texts, model)` does.
        embeddings: What turns texts into vectors: an Embeddings object or a spec; None is "minilm".
        metric: "cosine" is between -1 and 1, "dot" is unlimited, "euclidean" and "manhattan" are distances with a
            minus sign.

    Raises:
        BadTexts: No texts were given, blank ones, or things that are no texts.
        BadVectors: Vectors that are not finite, or differ in length.
        ValueError: Two models were given.
    """
    if isinstance(b, (str, Embeddings)):
        if embeddings is not None:
            raise ValueError("b is a model or a text, and embeddings is given too; write b as a list of texts: [text]")
        b, embeddings = None, b
    texts = [items for items in (a, b) if items is not None and vectors.are_texts(items)]
    return vectors.similarity(a, _resolved(embeddings) if texts else None, b, metric)


def clusters(
    items: Items,
    embeddings: Source = None,
    k: int | None = None,
    threshold: float | None = None,
    *,
    min_size: int = 1,
    names: BaseChatModel | str | None = None,
) -> vectors.Clustering:
    """Put texts that mean the same into groups; the same set gives the same groups in any order.

    Args:
        items: Texts, or vectors (N x D). Equal items count as one when groups are formed.
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
    if names is not None and not vectors.are_texts(items):
        raise ValueError("groups of vectors have no texts to name them by")
    found = vectors.clusters(items, _source(items, embeddings), k, threshold, min_size=min_size)
    if names is None:
        return found
    return vectors.named(found, registry.chat_model(names) if isinstance(names, str) else names)


def heatmap(
    items: Items | vectors.Clustering,
    embeddings: Source = None,
    path: str | Path | None = None,
    *,
    k: int | None = None,
    threshold: float | None = None,
    title: str = "",
) -> vectors.Heatmap:
    """Draw how alike texts are, groups as blocks.

    Args:
        items: Up to 500 texts or vectors, or groups that `clusters` found.
        embeddings: As for `clusters`.
        path: Where to write the picture (.png, .svg, .pdf, .html); None writes nothing.
        k: As for `clusters`.
        threshold: As for `clusters`.
        title: What stands above the picture.

    Raises:
        BadTexts: As for `clusters`.
        BadVectors: As for `clusters`.
        ValueError: More than 500 items.
        MissingLibrary: matplotlib is not installed; .html does without.
    """
    source = None if isinstance(items, vectors.Clustering) else _source(items, embeddings)
    return vectors.heatmap(items, source, path, k=k, threshold=threshold, title=title)


def cluster_map(
    items: Items | vectors.Clustering,
    embeddings: Source = None,
    path: str | Path | None = None,
    *,
    k: int | None = None,
    threshold: float | None = None,
    method: Method = "tsne",
    title: str = "",
) -> vectors.ClusterMap:
    """Draw texts as points in a plane, groups in colours; for more texts than a heatmap can hold.

    Args:
        items: Texts or vectors, or groups that `clusters` found.
        embeddings: As for `clusters`.
        path: Where to write the picture (.png, .svg, .pdf, .html); None writes nothing.
        k: As for `clusters`.
        threshold: As for `clusters`.
        method: "tsne" and "umap" keep neighbours together, "pca" keeps the two directions of the largest spread.
        title: What stands above the picture.

    Raises:
        BadTexts: As for `clusters`.
        BadVectors: As for `clusters`.
        ValueError: An unknown method.
        MissingLibrary: matplotlib (.html does without) or umap-learn is not installed.
    """
    source = None if isinstance(items, vectors.Clustering) else _source(items, embeddings)
    return vectors.cluster_map(items, source, path, k=k, threshold=threshold, method=method, title=title)


def search(
    query: str | np.ndarray[Any, Any], items: Items, embeddings: Embeddings | str | None = None, k: int = 5
) -> list[vectors.Match]:
    """The k items most like the query, the best first.

    Args:
        query: A text, or its vector (D).
        items: Texts, or vectors (N x D).
        embeddings: What turns texts into vectors: an Embeddings object or a spec; None is "minilm".
        k: At most so many.

    Raises:
        BadTexts: The query or an item is blank, or the items are no texts.
        BadVectors: Vectors that are not finite, or differ in length.
    """
    needed = isinstance(query, str) or vectors.are_texts(items)
    return vectors.search(query, items, _resolved(embeddings) if needed else None, k)


def pairs(items: Items, embeddings: Embeddings | str | None = None, above: float = 0.9) -> list[vectors.Pair]:
    """All pairs of items whose cosine is at least `above`, the most alike first, found without an N x N matrix.

    Args:
        items: Texts, or vectors (N x D).
        embeddings: What turns texts into vectors: an Embeddings object or a spec; None is "minilm".
        above: The least cosine, -1 to 1.

    Raises:
        BadTexts: No texts, blank ones, or things that are no texts.
        BadVectors: Vectors that are not finite, or differ in length.
    """
    return vectors.pairs(items, _resolved(embeddings) if vectors.are_texts(items) else None, above)


def _source(items: Items, embeddings: Source) -> Embeddings | Vectors | None:
    if embeddings is not None and not isinstance(embeddings, (str, Embeddings)):
        return embeddings
    return _resolved(embeddings) if vectors.are_texts(items) else None


def _resolved(embeddings: Embeddings | str | None) -> Embeddings:
    if isinstance(embeddings, Embeddings):
        return embeddings
    return registry.embeddings(embeddings or "minilm")
