"""Many vectors stood for by a few thousand: small groups by k-means, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainkit.vectors.given import unit

Array = np.ndarray[Any, Any]

MOST = 2000
"""Maximum number of vectors in a tree (3 s, 200 MB); more are first merged into this many small groups."""

_SAMPLE_PER_GROUP = 20
_ROUNDS = 8
_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True, eq=False)
class Standing:
    """Vectors that stand for N others.

    Attributes:
        vectors: M x D, float32, at unit length, M at most `MOST`.
        rows: The representative of each of the N, int32.
        closeness: Its cosine to each of the N, float32.
        weights: How many of the N each stands for, M; None for one each.
        drawn: Where small groups stand for the N, at most as many of the N themselves, in an order of their own.
    """

    vectors: Array
    rows: Array
    closeness: Array
    weights: Array | None = None
    drawn: Array | None = None


def standing(vectors: Array) -> Standing:
    """The vectors themselves, or the means of `MOST` small groups of them, in N * M * D steps.

    K-means on a sample makes the groups, and each vector goes to the nearest mean. The sample is drawn by the content
    of vectors, so their order plays no part.

    Args:
        vectors: N x D; an array on disk (`numpy.load(mmap_mode="r")`) is read in pieces.
    """
    if len(vectors) <= MOST:
        return Standing(unit(vectors), np.arange(len(vectors)), np.ones(len(vectors), np.float32))
    drawn = sample(vectors, MOST * _SAMPLE_PER_GROUP)
    means = np.unique(_means(drawn, min(MOST, len(drawn))), axis=0)
    rows = np.empty(len(vectors), np.int32)
    closeness = np.empty(len(vectors), np.float32)
    for part, block in _blocks(vectors):
        rows[part], closeness[part] = _nearest(block, means)
    used, rows = np.unique(rows, return_inverse=True)
    return Standing(means[used], rows, closeness, np.bincount(rows), np.unique(drawn[: len(used)], axis=0))


def _means(drawn: Array, count: int) -> Array:
    """The means of small groups, at unit length: spherical k-means (Dhillon and Modha 2001)."""
    means = _start(drawn, count)
    for _ in range(_ROUNDS):
        nearest = np.concatenate([_nearest(block, means)[0] for _, block in _blocks(drawn)])
        order = np.argsort(nearest, kind="stable")
        found, starts = np.unique(nearest[order], return_index=True)
        moved = means.copy()
        moved[found] = unit(np.add.reduceat(drawn[order], starts, axis=0))
        if (moved == means).all():
            break
        means = moved
    return means


def _nearest(block: Array, means: Array) -> tuple[Array, Array]:
    cosines = block @ means.T
    nearest = cosines.argmax(axis=1)
    return nearest, np.take_along_axis(cosines, nearest[:, None], axis=1)[:, 0]


def _start(drawn: Array, count: int) -> Array:
    """Items for k-means to start from: random ones, and a quarter that is least like those, for small groups."""
    random = drawn[: count - count // 4]  # the sample is in random order already
    closeness = np.concatenate([(block @ random.T).max(axis=1) for _, block in _blocks(drawn)])
    return np.concatenate([random, drawn[np.argsort(closeness, kind="stable")[: count // 4]]])


def sample(vectors: Array, most: int) -> Array:
    """At most `most` different items at unit length, in an order that depends on their content only."""
    keys = np.concatenate([_keys(np.asarray(vectors[rows], np.float32)) for rows in _slices(len(vectors))])
    _, first = np.unique(keys, return_index=True)
    return unit(np.asarray(vectors[first[:most]], np.float32))


def _keys(block: Array) -> Array:
    """A pseudorandom number for each row that depends only on its content."""
    bits = np.ascontiguousarray(block + 0.0).view(np.uint32).astype(np.uint64)  # + 0.0: no minus zero
    odd = np.random.default_rng(11).integers(1, 2**63, bits.shape[1], np.uint64) * 2 + 1
    keys = (bits * odd).sum(axis=1, dtype=np.uint64)
    return (keys ^ (keys >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)


def _blocks(vectors: Array) -> Iterator[tuple[slice, Array]]:
    for rows in _slices(len(vectors)):
        yield rows, unit(np.asarray(vectors[rows], np.float32))


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, count, _ROWS_AT_ONCE))
