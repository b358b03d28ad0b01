"""How many groups there are: a decision that can be read.

Three measures are taken of a tree at each number of groups, and their product decides: whether halves of the items
agree on the groups (Tibshirani and Walther 2005, "Cluster Validation by Prediction Strength", with the adjusted Rand
index), how well the groups are separated (silhouette), and how many of each item's neighbours are with it (modularity).
The number with the most weight of scores around it is taken, or one near it that scores clearly better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from chainkit.vectors.tree import (
    NEIGHBOURS,
    averaged,
    cosine_distances,
    cut_at,
    merged_columns,
    nearest_rows,
    neighbours_of,
    silhouettes,
    ward,
)

Array = np.ndarray[Any, Any]
_Half = tuple[Array, Array]

WITHIN = 0.9
"""Numbers whose score is at least this share of the chosen one's are possible too."""

_SPLITS = 4
# up to _FEW items the silhouette decides alone; from _MANY on all three measures have full weight
_FEW, _MANY = 40, 160
_NEAR = 0.12  # of the logarithm: the score of a number is the mean of those about 12 % below and above it
# the number is sought by the weight around it, in part from _FEW items on and wholly from _WEIGHED on
_WEIGHED = 100
_AROUND = 0.5  # of the logarithm: how wide the normal curve is that sums the weight around a number
_POWER = 6  # of scores, as weights
_FACTOR = 1.35  # a number so near to the chosen one replaces it where it scores clearly better
_TOGETHER = 0.5  # two items alone have no silhouette: one group if their cosine is at least this
_LEAST = 1e-6


@dataclass(frozen=True, kw_only=True)
class GroupCount:
    """The number of groups found, with the criteria that decided it.

    Attributes:
        k: The number.
        low: The least number that is possible too, see `WITHIN`.
        high: The greatest such number.
        numbers: All numbers that were tried.
        scores: For each, the mean score of it and the numbers near it as a share of the best, 0 to 1; the chosen one
            has the most weight around it and need not be the best.
        stability: For each, how far halves of the items agree on the groups, adjusted Rand index, -1 to 1; empty for
            few items, of which halves say nothing.
        silhouettes: For each, the mean silhouette, -1 to 1.
        modularity: For each, the share of neighbours in an item's own group beyond chance, -1 to 1.
    """

    k: int
    low: int
    high: int
    numbers: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    stability: tuple[float, ...] = ()
    silhouettes: tuple[float, ...] = ()
    modularity: tuple[float, ...] = ()

    @property
    def alternatives(self) -> tuple[int, ...]:
        """Numbers below `low` or above `high` that score better than their neighbours, the best first."""
        edge = (-1.0, *self.scores, -1.0)
        peaks = [
            place
            for place, score in enumerate(self.scores)
            if edge[place] <= score > edge[place + 2] and not self.low <= self.numbers[place] <= self.high
        ]
        return tuple(self.numbers[place] for place in sorted(peaks, key=lambda place: -self.scores[place]))

    def as_svg(self) -> str:
        """The scores over the numbers, on a logarithmic scale, with the chosen one marked; empty for a few items."""
        if len(self.numbers) < 3:
            return ""
        across = np.log(np.array(self.numbers) / self.numbers[0]) / log(self.numbers[-1] / self.numbers[0])
        places = [f"{5 + 290 * x:.1f},{55 - 50 * y:.1f}" for x, y in zip(across, self.scores, strict=True)]
        x, y = places[self.numbers.index(self.k)].split(",")
        return (
            '<svg width="300" height="75" role="img" aria-label="score of each number of groups">'
            f'<polyline points="{" ".join(places)}" fill="none" stroke="#195f90"/>'
            f'<circle cx="{x}" cy="{y}" r="3" fill="#ab1f20"/>'
            f'<text x="5" y="72" font-size="10">{self.numbers[0]}</text>'
            f'<text x="295" y="72" font-size="10" text-anchor="end">{self.numbers[-1]}</text>'
            f'<text x="{x}" y="72" font-size="10" text-anchor="middle" fill="#ab1f20">{self.k}</text></svg>'
        )

    def __str__(self) -> str:
        between = "" if self.low == self.high else f", between {self.low} and {self.high}"
        others = ", ".join(map(str, self.alternatives[:3]))
        return f"{self.k} groups{between}" + (f"; next best: {others}" if others else "")


def count_groups(tree: Array, vectors: Array, distances: Array) -> GroupCount:
    """The number of groups of M items, 2 or more for three items or more.

    Args:
        tree: The linkage matrix.
        vectors: M x D, at unit length, in an order that does not depend on how they were given.
        distances: 1 - cosine of the vectors, M x M.
    """
    count = len(vectors)
    if count <= 2:
        k = 2 if count == 2 and 1 - distances[0, 1] < _TOGETHER else 1
        return GroupCount(k=k, low=k, high=k)
    numbers = candidates(count)
    logs, measures = _weighed(tree, vectors, distances, numbers)
    near = _smoothed(logs, numbers)
    scores = np.exp(near - np.max(near))
    best = _chosen(logs, near, numbers, count)
    low, high = _around(scores, best)
    plain = [tuple(np.round(values, 4).tolist()) for values in measures]
    silhouette, stability, modularity = plain if len(plain) == 3 else (*plain, (), ())
    return GroupCount(
        k=numbers[best],
        low=numbers[low],
        high=numbers[high],
        numbers=tuple(numbers),
        scores=tuple(np.round(scores, 4).tolist()),
        stability=stability,
        silhouettes=silhouette,
        modularity=modularity,
    )


def _weighed(tree: Array, vectors: Array, distances: Array, numbers: Sequence[int]) -> tuple[Array, list[Array]]:
    """The log score of each number of groups, and its parts: silhouette, stability and modularity."""
    weight = min(1.0, max(0.0, (len(vectors) - _FEW) / (_MANY - _FEW)))
    separated = silhouettes(tree, np.sqrt(2 * distances), numbers)
    measures = [np.array([separated[k] for k in numbers])]
    if weight > 0:
        measures += [_stability(vectors, numbers), _modularity(tree, 1 - distances, numbers)]
    logs = np.zeros(len(numbers))
    for power, values in zip((1.0, weight, weight), measures, strict=False):
        logs += power * np.log(np.maximum(values, _LEAST))
    return logs, measures


def _smoothed(values: Array, numbers: Sequence[int]) -> Array:
    """The mean of the values around each number, weighed by a normal curve over the logarithm of the number."""
    logs = np.log(numbers)
    weights = np.exp(-0.5 * ((logs[:, None] - logs) / _NEAR) ** 2)
    return (weights @ values) / weights.sum(axis=1)


def _chosen(logs: Array, near: Array, numbers: Sequence[int], count: int) -> int:
    """The place of the number that is most likely right within a factor, or of a clearly better one near it.

    Scores to the power `_POWER` are taken for the likelihood of numbers, a constant one of their logarithm for the
    prior. Of a few items the best score decides alone.

    Args:
        logs: The logarithm of each number's score.
        near: Those smoothed.
        numbers: Ascending.
        count: How many items there are.
    """
    places = np.log(numbers)
    steps = np.gradient(places) if len(numbers) > 1 else np.ones(1)
    likely = np.exp(_POWER * (logs - logs.max())) * steps
    around = np.exp(-0.5 * ((places[:, None] - places) / _AROUND) ** 2) @ likely
    share = min(1.0, max(0.0, (count - _FEW) / (_WEIGHED - _FEW)))
    best = int(np.argmax((1 - share) * near + share * np.log(around) / _POWER))
    better = int(np.argmax(np.where(np.abs(places - places[best]) <= log(_FACTOR), near, -np.inf)))
    return better if near[best] < near[better] + log(WITHIN) else best


def candidates(count: int) -> list[int]:
    """Numbers of groups to try for `count` items: all small ones, then in steps of 4%.

    Of up to 60 items all numbers, of more up to a third: a group of fewer than three is hardly one.

    >>> candidates(9)
    [2, 3, 4, 5, 6, 7, 8]
    """
    most = count - 1 if count <= 60 else max(59, count // 3)
    found = [2]
    while (following := max(found[-1] + 1, round(found[-1] * 1.04))) <= most:
        found.append(following)
    return found


def adjusted_rand(first: Array, second: Array) -> float:
    """How far two groupings of the same items agree (Hubert and Arabie 1985): 1 wholly, 0 as by chance.

    >>> adjusted_rand(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
    1.0
    """
    width = int(second.max()) + 1
    table = np.bincount(first * width + second, minlength=width * (int(first.max()) + 1)).reshape(-1, width)
    both, one, other = (_pairs(values) for values in (table, table.sum(axis=1), table.sum(axis=0)))
    chance = one * other / max(_pairs(np.array([len(first)])), 1)
    most = (one + other) / 2
    return 1.0 if most == chance else float((both - chance) / (most - chance))


def _pairs(sizes: Array) -> float:
    return float((sizes.astype(np.float64) * (sizes - 1)).sum() / 2)


def _around(scores: Array, best: int) -> tuple[int, int]:
    """The first and last place of the run around the chosen one whose scores are near to its own, or better."""
    low = high = best
    least = WITHIN * scores[best]
    while low > 0 and scores[low - 1] >= least:
        low -= 1
    while high < len(scores) - 1 and scores[high + 1] >= least:
        high += 1
    return low, high


def _modularity(tree: Array, cosines: Array, numbers: Sequence[int]) -> Array:
    nearest = nearest_rows(cosines, min(NEIGHBOURS, len(cosines) - 1))
    found: list[float] = []
    for k in numbers:
        labels = cut_at(tree, k)
        shares = np.bincount(labels) / len(labels)
        found.append(float((labels[nearest] == labels[:, None]).mean() - (shares**2).sum()))
    return np.array(found)


def _stability(vectors: Array, numbers: Sequence[int]) -> Array:
    """For each number, how far the groups of one half agree with those that the other half would make of it."""
    random = np.random.default_rng(0)
    half = len(vectors) // 2
    found = np.zeros((2 * _SPLITS, len(numbers)))
    for split in range(_SPLITS):
        order = random.permutation(len(vectors))
        first, second = (_half(vectors[np.sort(rows)]) for rows in (order[:half], order[half:]))
        cosines = first[0] @ second[0].T
        found[2 * split] = _agreements(first, second, cosines.T, numbers)
        found[2 * split + 1] = _agreements(second, first, cosines, numbers)
    return found.mean(axis=0)


def _half(vectors: Array) -> _Half:
    """Vectors averaged with the neighbours that the half has, and their tree."""
    vectors = averaged(vectors, vectors @ vectors.T, neighbours_of(2 * len(vectors)) // 2)
    return vectors, ward(cosine_distances(vectors))


def _agreements(
    teacher: tuple[Array, Array], pupil: tuple[Array, Array], cosines: Array, numbers: Sequence[int]
) -> Array:
    """For each number, the pupil's own groups against those of the teacher with the nearest mean.

    Args:
        teacher: A vectors with their tree.
        pupil: B vectors with their tree.
        cosines: B x A.
        numbers: Numbers of groups, ascending.
    """
    vectors, tree = teacher
    found = np.zeros(len(numbers))
    sums, fine = cosines, np.arange(len(vectors))
    means = vectors
    for place in range(len(numbers) - 1, -1, -1):
        k = numbers[place]
        if k >= min(len(vectors), len(pupil[0])):
            continue
        labels = cut_at(tree, k)
        sums = merged_columns(sums, fine, labels)
        means = merged_columns(means.T, fine, labels).T
        fine = labels
        lengths = np.maximum(np.linalg.norm(means, axis=1), _LEAST)
        found[place] = adjusted_rand((sums / lengths).argmax(axis=1), cut_at(pupil[1], k))
    return found
