"""Probabilities that are as often right as they say: fitted on labelled examples, and shown in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

Floats = NDArray[np.float64]
Method = Literal["auto", "vector", "temperature", "isotonic"]

_STEPS, _PARTS = 50, 5
_LEAST = 1e-3  # the smallest inverse temperature
_PRIOR = 0.3  # the inverse of the variance that offsets are expected to have


class Calibration(BaseModel):
    """What makes the scores of one question's options into probabilities.

    Attributes:
        method: "auto": "temperature" or "vector", whichever finds the right answers of examples that it was not fitted
            to likelier.
            "temperature": all scores are divided by one number (C. Guo et al., "On Calibration of Modern Neural
            Networks", 2017, section 4.2). "vector": and each option has an offset, which removes the bias of a small
            model for one word. "isotonic": each option's probability is a rising step function of the raw one
            (B. Zadrozny and C. Elkan, "Transforming classifier scores into accurate multiclass probability
            estimates", 2002); it wants several hundred examples.
        temperature: Scores are divided by it.
        offsets: Added to the scores, by option.
        steps: For each option, where its function rises, and to what.
    """

    method: Method = "vector"
    temperature: float = 1.0
    offsets: list[float] = []
    steps: list[tuple[list[float], list[float]]] = []

    @classmethod
    def fit(cls, scores: Sequence[Sequence[float]], right: Sequence[int], method: Method = "auto") -> Self:
        """Learn from examples.

        Args:
            scores: For each example the log-probabilities of the options, [N, K].
            right: For each example which option is right, [N].
            method: How; see the class.

        Raises:
            ValueError: There are no examples, or numbers that do not belong together.
        """
        table, labels = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.int64)
        if table.ndim != 2 or not len(table) or len(table) != len(labels):
            raise ValueError(
                f"calibration needs a row of scores for each right answer, got {len(table)}, {len(labels)}"
            )
        if method == "auto":
            method = min(("temperature", "vector"), key=lambda one: _unseen_loss(cls, table, labels, one))
        if method == "isotonic":
            shares, hits = softmax(table), np.eye(table.shape[1])[labels]
            return cls(method=method, steps=[_rising(shares[:, one], hits[:, one]) for one in range(table.shape[1])])
        temperature, offsets = _fitted(_centred(table), labels, free=method == "vector")
        return cls(method=method, temperature=temperature, offsets=offsets.tolist())

    def probabilities(self, scores: Sequence[float]) -> list[float]:
        """The probabilities of options with these log-probabilities; they sum to 1."""
        row = np.asarray(scores, dtype=np.float64)
        if self.method == "isotonic":
            shares = softmax(row[None])[0]
            known = [np.interp(share, *steps) for share, steps in zip(shares, self.steps, strict=True)]
            found = np.maximum(np.asarray(known, dtype=np.float64), 1e-6)
            return (found / found.sum()).tolist()
        offsets = np.asarray(self.offsets) if self.offsets else 0.0
        return softmax(_centred(row[None]) / self.temperature + offsets)[0].tolist()


class Reliability(BaseModel):
    """How often a model is right where it says how sure it is.

    Attributes:
        count: Examples.
        accuracy: The share whose likeliest option is right.
        error: The expected calibration error of that option, 0 to 1 (M. P. Naeini et al., 2015).
        noise: The error that is to be expected of so few examples where all probabilities are exactly right.
        brier: The mean squared error of all probabilities, 0 to 2.
        bins: For each range of confidence: its bounds, the examples in it, their mean confidence and their accuracy.
    """

    count: int
    accuracy: float
    error: float
    noise: float
    brier: float
    bins: list[tuple[float, float, int, float, float]]

    def __str__(self) -> str:
        lines = ["confidence    examples  said   right"]
        for low, high, count, said, right in self.bins:
            bar = "#" * round(20 * right)
            lines.append(f"{low:.2f} to {high:.2f} {count:8d}  {said:.3f}  {right:.3f} {bar}".rstrip())
        summary = f"{self.count} examples, accuracy {self.accuracy:.3f}, calibration error {self.error:.3f}"
        noise = f"(by chance alone {self.noise:.3f})"
        return "\n".join([*lines, f"{summary} {noise}, Brier score {self.brier:.3f}"])


def reliability(probabilities: Sequence[Sequence[float]], right: Sequence[int], bins: int = 10) -> Reliability:
    """The reliability curve of probabilities as numbers.

    Args:
        probabilities: For each example those of the options, [N, K].
        right: For each example which option is right, [N].
        bins: Ranges of confidence of equal width.

    Raises:
        ValueError: There are no examples.
    """
    table, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(right, dtype=np.int64)
    if not len(table):
        raise ValueError("a reliability curve needs examples")
    confidence, hits = table.max(axis=1), table.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows: list[tuple[float, float, int, float, float]] = []
    for one in sorted(set(place.tolist())):
        inside = place == one
        said, is_right = float(confidence[inside].mean()), float(hits[inside].mean())
        rows.append((one / bins, (one + 1) / bins, int(inside.sum()), said, is_right))
    error = sum(count * abs(said - is_right) for _, _, count, said, is_right in rows) / len(table)
    spread = np.bincount(place, confidence * (1 - confidence))
    noise = float(np.sqrt(2 / np.pi * spread).sum() / len(table))
    brier = float(((table - np.eye(table.shape[1])[labels]) ** 2).sum(axis=1).mean())
    return Reliability(count=len(table), accuracy=float(hits.mean()), error=error, noise=noise, brier=brier, bins=rows)


def softmax(scores: Floats) -> Floats:
    """Probabilities of scores, [N, K]."""
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _centred(scores: Floats) -> Floats:
    """Scores shifted so that the highest is 0, clipped at -50."""
    return np.maximum(scores - scores.max(axis=1, keepdims=True), -50)


def _unseen_loss(kind: type[Calibration], scores: Floats, right: NDArray[np.int64], method: Method) -> float:
    """The log loss on fifths of the examples, each by what the other four gave.

    It is judged by this and not by the calibration error, which says little of a hundred examples.
    """
    part, found = np.arange(len(right)) % _PARTS, np.zeros_like(scores)
    for one in range(min(_PARTS, len(right))):
        rest = part != one if len(right) > 1 else part == one
        fitted = kind.fit(scores[rest].tolist(), right[rest].tolist(), method)
        found[part == one] = [fitted.probabilities(row) for row in scores[part == one].tolist()]
    return -float(np.log(np.maximum(found[np.arange(len(right)), right], 1e-12)).mean())


def _fitted(scores: Floats, right: NDArray[np.int64], *, free: bool) -> tuple[float, Floats]:
    """The temperature and the offsets of the likeliest fit; a prior keeps offsets small.

    One example more, whose answer may be any, keeps probabilities from 1 where all answers are right (J. Platt,
    "Probabilistic outputs for support vector machines", 1999, section 2.2).
    """
    count, options = scores.shape
    hits = (count * np.eye(options)[right] + 1 / options) / (count + 1)
    values = np.zeros(options + 1)  # the first is 1 / temperature
    values[0] = 1 / max(1.0, float(scores.std()))
    values = _lowest(scores, hits, values, np.arange(options + 1 if free else 1))
    if values[0] < _LEAST:  # the scores speak against the answers
        values[0] = _LEAST
        values = _lowest(scores, hits, values, np.arange(1, options + 1 if free else 1))
    return float(1 / values[0]), values[1:]


def _lowest(scores: Floats, hits: Floats, values: Floats, moved: NDArray[np.int64]) -> Floats:
    """The values of which some were moved to where the loss is lowest, by Newton's method; the loss is convex."""
    loss = _loss(scores, hits, values)
    for _ in range(_STEPS if len(moved) else 0):
        slope, bend = _slope(scores, hits, values)
        step = np.zeros_like(values)
        step[moved] = np.linalg.solve(bend[np.ix_(moved, moved)], slope[moved])
        for _ in range(20):
            tried = values - step
            found = _loss(scores, hits, tried)
            if found <= loss:
                break
            step /= 2
        else:
            return values
        gained, values, loss = loss - found, tried, found
        if gained < 1e-9 * len(scores):
            break
    return values


def _loss(scores: Floats, hits: Floats, values: Floats) -> float:
    given = scores * values[0] + values[1:]
    highest = given.max(axis=1)
    total = highest + np.log(np.exp(given - highest[:, None]).sum(axis=1))
    return float((total - (hits * given).sum(axis=1)).sum() + _PRIOR / 2 * (values[1:] ** 2).sum())


def _slope(scores: Floats, hits: Floats, values: Floats) -> tuple[Floats, Floats]:
    """The first derivatives of the loss, [1 + K], and the second, [1 + K, 1 + K]."""
    shares = softmax(scores * values[0] + values[1:])
    off = shares - hits
    slope = np.concatenate([[(off * scores).sum()], off.sum(axis=0) + _PRIOR * values[1:]])
    curved = shares * (scores - (shares * scores).sum(axis=1, keepdims=True))
    bend = np.diag(np.concatenate([[(curved * scores).sum()], shares.sum(axis=0) + _PRIOR]))
    bend[0, 1:] = bend[1:, 0] = curved.sum(axis=0)
    bend[1:, 1:] -= shares.T @ shares
    return slope, bend + 1e-9 * np.eye(len(bend))


def _rising(shares: Floats, hits: Floats) -> tuple[list[float], list[float]]:
    """The best rising function of the shares, by pooling neighbours that fall."""
    order = np.argsort(shares, kind="stable")
    pools: list[list[float]] = []  # the sum of shares, the sum of hits, the number
    for share, hit in zip(shares[order], hits[order], strict=True):
        pools.append([share, hit, 1.0])
        while len(pools) > 1 and pools[-2][1] / pools[-2][2] >= pools[-1][1] / pools[-1][2]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    return [one[0] / one[2] for one in pools], [one[1] / one[2] for one in pools]
