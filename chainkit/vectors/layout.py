"""Places in a plane for many vectors, so that neighbours stay neighbours."""

from __future__ import annotations

import importlib
import warnings
from typing import Any, Literal, get_args

import numpy as np

from chainkit.base.errors import MissingLibrary
from chainkit.vectors.given import unit
from chainkit.vectors.large import sample

Array = np.ndarray[Any, Any]
Method = Literal["tsne", "pca", "umap"]

LAID_OUT_AT_MOST = 3000
"""Vectors that t-SNE and UMAP lay out themselves, 20 s of CPU; further ones go between the nearest of these."""

_NEAREST = 4
_ROWS_AT_ONCE = 8192


def layout(vectors: Array, method: Method = "tsne") -> Array:
    """A place for each vector, float32, N x 2, each coordinate from 0 to 1; the same vectors get the same places.

    Args:
        vectors: N x D, in an order that does not depend on how they were given.
        method: "tsne" (van der Maaten and Hinton 2008) keeps neighbours together, distances between groups mean
            little; "umap" (McInnes et al. 2018) likewise; "pca" keeps the two directions of the largest spread.

    Raises:
        ValueError: An unknown method.
        MissingLibrary: umap-learn is not installed.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if method == "pca" or len(vectors) < 5:
        return _framed(_pca(vectors))
    if len(vectors) <= LAID_OUT_AT_MOST:
        return _framed(_near(unit(vectors), method))
    chosen = sample(vectors, LAID_OUT_AT_MOST)
    return _framed(_between(vectors, chosen, _near(chosen, method)))


def _near(vectors: Array, method: Method) -> Array:
    if method == "umap":
        return _umap(vectors)
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingLibrary("scikit-learn", extra="plot") from error
    perplexity = min(30.0, max(2.0, (len(vectors) - 1) / 4))
    # the directions of the largest spread are enough for neighbours, and cost a tenth
    return TSNE(2, init="pca", perplexity=perplexity, random_state=0).fit_transform(_pca(vectors, 50))


def _umap(vectors: Array) -> Array:
    try:
        umap: Any = importlib.import_module("umap")
    except ImportError as error:
        raise MissingLibrary("umap-learn", extra="umap") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap tells that a seed means one thread
        found = umap.UMAP(n_neighbors=min(15, len(vectors) - 1), metric="cosine", random_state=0)
        return np.asarray(found.fit_transform(vectors), np.float32)


def _pca(vectors: Array, most: int = 2) -> Array:
    """The vectors in the directions of their largest spread, N x `most`, those with less spread last."""
    rows = unit(vectors)
    count = min(most, *rows.shape)
    if (rows == rows[0]).all():  # no direction has a spread
        return np.zeros((len(rows), max(2, count)), np.float32)
    centred = rows - rows.mean(axis=0)
    _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))  # ascending
    chosen = directions[:, ::-1][:, :count]
    # an eigenvector has two signs: the one whose largest part is above zero
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(count)])
    places = centred @ chosen.astype(np.float32)
    return np.pad(places, ((0, 0), (0, max(0, 2 - count))))


def _between(vectors: Array, chosen: Array, places: Array) -> Array:
    """Places among the nearest of the chosen vectors, the more like one the nearer to it."""
    found = np.empty((len(vectors), 2), np.float32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        cosines = unit(np.asarray(vectors[rows], np.float32)) @ chosen.T
        nearest = np.argpartition(cosines, -_NEAREST, axis=1)[:, -_NEAREST:]
        weights = np.maximum(np.take_along_axis(cosines, nearest, axis=1), 1e-6) ** 16
        weights /= weights.sum(axis=1, keepdims=True)
        found[rows] = np.einsum("nk,nkc->nc", weights, places[nearest])
    return found


def _framed(places: Array) -> Array:
    low, high = places.min(axis=0), places.max(axis=0)
    spread = np.where(high - low < 1e-9, 1.0, high - low)
    return np.where(high - low < 1e-9, 0.5, (places - low) / spread).astype(np.float32)
