"""Vectors in eight bits: a quick look at all of them, before the exact cosines of the few that come near."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Whole = NDArray[np.int64]
Codes = NDArray[np.int8]

_SCALE_BYTES = 4
_BLOCK_ROWS = 2_048  # as float32 they stay in the processor's cache
_GROUP = 64


class CodeSource(Protocol):
    """Where the codes are kept: the store of an index."""

    def codes(self, after: int, width: int) -> tuple[list[tuple[int, int]], Matrix, Codes]:
        """First passage and number of passages of all runs; scales and codes of the runs above `after`."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """The codes of one moment; row i belongs to the passage `ids[i]`, and ids rise.

    Attributes:
        version: Of the store.
        runs: The run that each row was stored in, named by its first passage.
        scales: Scale of the codes of each row, float32 (N,).
        codes: int8 (N, D), a quarter of the size of float32 vectors.
    """

    version: tuple[int, int]
    ids: Whole
    runs: Whole
    scales: Matrix
    codes: Codes

    def cosines(self, vector: Matrix) -> Matrix:
        """About the cosine of each row with a vector of length 1, float32 (N,); off by less than 0.01."""
        return _products(self.codes, vector) * self.scales

    def places(self, numbers: Whole) -> NDArray[np.intp]:
        """Where the passages with these ids stand, as far as they are there."""
        places = np.searchsorted(self.ids, numbers)
        inside = places < len(self.ids)
        return places[inside][self.ids[places[inside]] == numbers[inside]]

    def refreshed(self, store: CodeSource, version: tuple[int, int], width: int) -> View:
        """The current view: deleted rows dropped, new ones loaded."""
        last = int(self.runs[-1]) if len(self.runs) else 0
        listing, scales, codes = store.codes(last, width)
        firsts, counts = np.array(listing, np.int64).reshape(-1, 2).T
        new = firsts > last
        runs = np.repeat(firsts[new], counts[new])
        ids = spread(firsts[new], counts[new])
        if not last:
            return View(version, ids, runs, scales, codes)
        kept = np.isin(self.runs, firsts)
        return View(
            version,
            np.concatenate([self.ids[kept], ids]),
            np.concatenate([self.runs[kept], runs]),
            np.concatenate([self.scales[kept], scales]),
            np.concatenate([self.codes[kept], codes]),
        )


_NONE = np.empty(0, np.int64)
NOTHING = View((-1, -1), _NONE, _NONE, np.empty(0, np.float32), np.empty((0, 0), np.int8))


def spread(firsts: Whole, counts: Whole) -> Whole:
    """The numbers of all runs, each named by its first number and how many follow each other.

    >>> spread(np.array([3, 8]), np.array([2, 1])).tolist()
    [3, 4, 8]
    """
    starts = np.cumsum(counts) - counts
    return np.repeat(firsts - starts, counts) + np.arange(counts.sum())


def packed(vectors: Sequence[bytes]) -> bytes:
    """Vectors, each the bytes of float32 (D,), as one blob: the scales of all, then their codes."""
    if not vectors:
        return b""
    matrix = np.frombuffer(b"".join(vectors), np.float32).reshape(len(vectors), -1)
    scales = np.abs(matrix).max(axis=1) / np.float32(127)
    codes = np.rint(matrix / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
    return scales.astype(np.float32).tobytes() + codes.tobytes()


def unpacked(blobs: Iterable[bytes], rows: int, width: int) -> tuple[Matrix, Codes]:
    """The scales (`rows`,) and codes (`rows`, `width`) of blobs that `packed` made, read one at a time."""
    scales = np.empty(rows, np.float32)
    codes = np.empty((rows, width), np.int8)
    start = 0
    for blob in blobs:
        count = len(blob) // (_SCALE_BYTES + width)
        end = start + count
        scales[start:end] = np.frombuffer(blob, np.float32, count)
        codes[start:end] = np.frombuffer(blob, np.int8, offset=_SCALE_BYTES * count).reshape(count, width)
        start = end
    return scales, codes


def best(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """The places of the `count` largest scores, the largest first."""
    count = min(count, len(scores))
    if count == 0:
        return np.empty(0, np.intp)
    places = _promising(scores, count)
    some = scores[places]
    top = np.argpartition(-some, count - 1)[:count]
    return places[top[np.argsort(-some[top], kind="stable")]]


def _promising(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Places that hold the `count` largest scores for certain: at least that many groups have one as large."""
    groups = len(scores) // _GROUP
    if groups < 4 * count:
        return np.arange(len(scores))
    tops = scores[: groups * _GROUP].reshape(groups, _GROUP).max(axis=1)
    least = np.partition(tops, groups - count)[groups - count]
    return np.flatnonzero(scores >= least)


def _products(codes: Codes, vector: Matrix) -> Matrix:
    """Each row times the vector: in integers where SimSIMD is installed, else block by block in floating point."""
    simsimd = _simsimd()
    if simsimd is None:
        found = np.empty(len(codes), np.float32)
        for start in range(0, len(codes), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            found[block] = codes[block].astype(np.float32) @ vector
        return found
    scale = float(np.abs(vector).max()) / 127 or 1.0
    coded = np.rint(vector / scale).astype(np.int8)[None]
    # one thread: it starts its threads anew for each call, which took longer than the work
    products: Any = simsimd.cdist(coded, codes, metric="dot", threads=1)
    return cast(Matrix, (np.asarray(products, np.float32) * np.float32(scale)).reshape(-1))


@cache
def _simsimd() -> Any:
    """The library, or None; asked once, since Python repeats the search for a missing module."""
    try:
        import simsimd
    except ImportError:
        return None
    return simsimd
