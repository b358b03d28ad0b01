"""How alike texts are, all against all."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from langchain_core.embeddings import Embeddings

from chainkit.base.errors import BadVectors
from chainkit.base.hiding import hides_given_keys
from chainkit.vectors.given import Items, unit, vectors_of

Array = np.ndarray[Any, Any]
Metric = Literal["cosine", "dot", "euclidean", "manhattan"]


@hides_given_keys
def similarity(
    a: Items,
    b: Items | Embeddings | str | None = None,
    embeddings: Embeddings | str | None = None,
    metric: Metric = "cosine",
) -> Array:
    """How alike each item of `a` is to each of `b`, float32, N x M; more is more alike in every metric.

    >>> similarity([[1.0, 0.0], [1.0, 1.0]]).round(2)
    array([[1.  , 0.71],
           [0.71, 1.  ]], dtype=float32)

    Args:
        a: Texts, or vectors (N x D).
        b: Texts or vectors (M x D); without them, `a` is compared with itself. A model or a spec here is taken as
            `embeddings`, so that `similarity(texts, model)` reads as `clusters(texts, model)` does.
        embeddings: What turns texts into vectors: an Embeddings object or a spec; None is "minilm".
        metric: "cosine" is between -1 and 1 (0 for a vector of zeros), "dot" is unlimited, "euclidean" and
            "manhattan" are distances with a minus sign.

    Raises:
        BadTexts: No texts were given, blank ones, or things that are not texts.
        BadVectors: Vectors that are not finite, or differ in length.
        ValueError: An unknown metric, or two models.
    """
    if isinstance(b, str | Embeddings):
        if embeddings is not None:
            raise ValueError("b is a model or a text, and embeddings is given too; write b as a list of texts: [text]")
        b, embeddings = None, b
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {', '.join(get_args(Metric))}, got {metric!r}")
    left = vectors_of(a, embeddings)
    right = left if b is None else vectors_of(b, embeddings)
    if left.shape[1] != right.shape[1]:
        raise BadVectors(f"vectors differ in length: a has {left.shape[1]} numbers each, b has {right.shape[1]}")
    return _compared(left, right, metric)


def _compared(left: Array, right: Array, metric: Metric) -> Array:
    if metric == "cosine":
        return np.clip(unit(left) @ unit(right).T, -1, 1)
    if metric == "dot":
        return left @ right.T
    found = np.empty((len(left), len(right)), np.float32)
    for row, vector in enumerate(left.astype(np.float64)):  # |a|^2 + |b|^2 - 2ab would give equal vectors a distance
        apart = np.abs(right - vector)
        found[row] = apart.sum(axis=1) if metric == "manhattan" else np.sqrt((apart * apart).sum(axis=1))
    return -found
