"""Where names have room among points."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_CELLS = 200  # of the grid on which points are counted, in each direction
_COVERED = 10.0  # a name goes so many times the share of points that it would cover out of its way
_OWN = 0.7  # what a point of the name's own group counts beside one of another
_ABOVE = 0.02  # so much nearer a place above the group seems than one below
_POINT = 0.008  # half the height of a point
_SIDEWAYS = (0.0, -0.5, 0.5, -0.25, 0.25, -0.75, 0.75, -1.0, 1.0)  # widths of the name
_LINES = 14  # above and below the group's points


class Spots:
    """Places for names, given away one after another.

    Args:
        points: N x 2, each coordinate from 0 to 1.
        edge: The room around them.
        line: The height of a name.
    """

    def __init__(self, points: Array, edge: float, line: float) -> None:
        self.edge = edge
        self.line = line
        self._counts = self._summed(points)
        self._taken: list[tuple[float, float, float]] = []

    def take(self, points: Array, wide: float) -> tuple[float, float]:
        """The middle of a name of this width for a group of points, M x 2; names that come later keep away from it.

        It is the place that is nearest to the group's highest point, its lowest or its sides, and covers the fewest
        points; where all are taken, the first.
        """
        places = self._tried(points, wide)
        own = self._summed(points)
        covered = self._covered(self._counts, places, wide) - (1 - _OWN) * self._covered(own, places, wide)
        middle = np.median(points, axis=0)
        low, high = np.quantile(points, (0.05, 0.95), axis=0)
        beyond = np.maximum(0, np.abs(places - middle) - (high - low) / 2).sum(axis=1)
        cost = _COVERED * covered / self._counts[-1, -1] + beyond + _ABOVE * (places[:, 1] < middle[1])
        for x, y, half in self._taken:
            beside = (np.abs(places[:, 0] - x) < half + wide / 2) & (np.abs(places[:, 1] - y) < self.line)
            cost[beside] += 10
        best = places[int(np.argmin(np.round(cost, 9)))]
        self._taken.append((float(best[0]), float(best[1]), wide / 2))
        return float(best[0]), float(best[1])

    def _tried(self, points: Array, wide: float) -> Array:
        x, y = np.median(points, axis=0)
        low, high = np.quantile(points[:, 1], (0.02, 0.98), method="nearest")
        above = high + self.line * np.arange(1, _LINES)
        below = low - self.line * np.arange(1, _LINES)
        inside = y + self.line * np.arange(-_LINES, _LINES)
        heights = np.concatenate([above, below, inside])
        places = np.stack(np.meshgrid(x + wide * np.array(_SIDEWAYS), heights), axis=-1).reshape(-1, 2)
        most = self.edge - 0.01
        rim = np.array([wide / 2, self.line / 2])
        least, end = np.minimum(rim - most, 0.5), np.maximum(1 + most - rim, 0.5)
        return np.clip(places, least, end)

    def _summed(self, points: Array) -> Array:
        """How many points lie below and left of each line of the grid."""
        cells = np.clip(((points + self.edge) / (1 + 2 * self.edge) * _CELLS).astype(int), 0, _CELLS - 1)
        counts = np.zeros((_CELLS + 1, _CELLS + 1))
        np.add.at(counts, (cells[:, 0] + 1, cells[:, 1] + 1), 1)
        return counts.cumsum(axis=0).cumsum(axis=1)

    def _covered(self, sums: Array, places: Array, wide: float) -> Array:
        """How many points a name at each of the places would cover."""
        rim = np.array([wide / 2 + _POINT, self.line / 2 + _POINT])
        low, high = (
            np.clip(np.round((corner + self.edge) / (1 + 2 * self.edge) * _CELLS), 0, _CELLS).astype(int)
            for corner in (places - rim, places + rim)
        )
        return (
            sums[high[:, 0], high[:, 1]]
            - sums[low[:, 0], high[:, 1]]
            - sums[high[:, 0], low[:, 1]]
            + sums[low[:, 0], low[:, 1]]
        )
