"""Groups of many items in bounded memory: many small groups by k-means, joined by the tree of `tree.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainkit.vectors.given import unit
from chainkit.vectors.tree import Cut, cut_tree

Array = np.ndarray[Any, Any]

LARGE = 3000
"""Different items from which groups are found this way; a tree of so many takes seconds and 200 MB."""

_SMALL_GROUPS = 2000  # M: more find finer groups; the tree over them takes 1 s and 100 MB
_SAMPLE_PER_GROUP = 20
_ROUNDS = 10
_ROWS_AT_ONCE = 16_384


def cut_many(vectors: Array, k: int | None = None, threshold: float | None = None) -> Cut:
    """Groups of N items in about N * 2,000 * D steps; `vectors` may be an array on disk (`numpy.load(mmap_mode="r")`).

    K-means on a sample makes up to 2,000 small groups, Ward's tree over their means says which of them belong together,
    and each item goes to the nearest mean. The sample is drawn by the content of items, so their order plays no part.

    Args:
        vectors: N x D.
        k: As for `cut_tree`; at most half the small groups.
        threshold: As for `cut_tree`, between the means of small groups.

    Raises:
        ValueError: k is too large for this method.
    """
    drawn = sample(vectors, _SMALL_GROUPS * _SAMPLE_PER_GROUP)
    count = min(_SMALL_GROUPS, max(1, len(drawn) // 4))
    if k is not None and k > count // 2:
        raise ValueError(f"of {len(vectors):,} items at most {count // 2} groups can be asked for, got k={k}")
    means = np.unique(_means(drawn, count), axis=0)
    cut = cut_tree(means, k, threshold, slack=0.0)  # means are sharper than items: the best cut is the right one
    place = np.empty(len(means), int)
    place[cut.order] = np.arange(len(means))
    nearest = np.empty(len(vectors), np.int32)
    closeness = np.empty(len(vectors), np.float32)
    for rows, block in _blocks(vectors):
        cosines = block @ means.T
        nearest[rows] = cosines.argmax(axis=1)
        closeness[rows] = cosines.max(axis=1)
    order = np.lexsort((-closeness, place[nearest]))
    return Cut(cut.labels[nearest], order, cut.silhouette)


def _means(drawn: Array, count: int) -> Array:
    """The means of small groups, at unit length."""
    from sklearn.cluster import KMeans

    # scikit-learn's stubs want names where its documentation takes arrays and numbers
    settings: dict[str, Any] = {"init": _start(drawn, count), "n_init": 1, "max_iter": _ROUNDS, "tol": 0}
    found = KMeans(count, random_state=0, **settings).fit(drawn)
    return unit(found.cluster_centers_.astype(np.float32))


def _start(drawn: Array, count: int) -> Array:
    """Items for k-means to start from: random ones, and a quarter that is least like those, for small groups."""
    random = drawn[: count - count // 4]  # the sample is in random order already
    closeness = np.concatenate([(block @ random.T).max(axis=1) for _, block in _blocks(drawn)])
    return np.concatenate([random, drawn[np.argsort(closeness, kind="stable")[: count // 4]]])


def sample(vectors: Array, most: int) -> Array:
    """At most so many different items at unit length, in an order that depends on their content only."""
    keys = np.concatenate([_keys(np.asarray(vectors[rows], np.float32)) for rows in _slices(len(vectors))])
    _, first = np.unique(keys, return_index=True)
    return unit(np.asarray(vectors[first[:most]], np.float32))


def _keys(block: Array) -> Array:
    """A number for each row, the same for the same row wherever it stands, and as good as random."""
    bits = np.ascontiguousarray(block + 0.0).view(np.uint32).astype(np.uint64)  # + 0.0: no minus zero
    odd = np.random.default_rng(11).integers(1, 2**63, bits.shape[1], np.uint64) * 2 + 1
    keys = (bits * odd).sum(axis=1, dtype=np.uint64)
    return (keys ^ (keys >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)


def _blocks(vectors: Array) -> Iterator[tuple[slice, Array]]:
    for rows in _slices(len(vectors)):
        yield rows, unit(np.asarray(vectors[rows], np.float32))


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, count, _ROWS_AT_ONCE))
