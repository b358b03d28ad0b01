"""From the states of tokens to one vector for each text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def pooled(states: Array, mask: Array, ways: Sequence[str]) -> Array:
    """One vector for each row: states B x T x D and mask B x T give B x (D * number of ways).

    `ways` are those of sentence-transformers: mean, cls (the first token), max, lasttoken, mean_sqrt_len_tokens.
    """
    return np.concatenate([_POOLINGS[way](states, mask) for way in ways], axis=1)


def _sum(states: Array, mask: Array) -> Array:
    return np.einsum("btd,bt->bd", states, mask.astype(states.dtype))


def _mean(states: Array, mask: Array) -> Array:
    return _sum(states, mask) / mask.sum(axis=1, keepdims=True).astype(states.dtype)


def _mean_sqrt(states: Array, mask: Array) -> Array:
    return _sum(states, mask) / np.sqrt(mask.sum(axis=1, keepdims=True)).astype(states.dtype)


def _max(states: Array, mask: Array) -> Array:
    return np.where(mask[:, :, None] == 1, states, -np.inf).max(axis=1).astype(states.dtype)


def _last(states: Array, mask: Array) -> Array:
    return states[np.arange(len(states)), mask.sum(axis=1) - 1]


_POOLINGS = {
    "mean": _mean,
    "cls": lambda states, mask: states[:, 0],
    "max": _max,
    "lasttoken": _last,
    "mean_sqrt_len_tokens": _mean_sqrt,
}
