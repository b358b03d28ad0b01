"""A BERT encoder in plain numpy, read off the paper, to compare the graph with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

_erf = np.vectorize(math.erf)


def states(weights: Mapping[str, np.ndarray], ids: list[int], heads: int, layers: int, first_position: int = 0):
    """Token states, T x D, of one text."""

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    places = np.arange(len(ids)) + first_position
    x = (
        weights["embeddings.word_embeddings.weight"][ids].astype(np.float64)
        + weights["embeddings.position_embeddings.weight"][places]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    x = norm(x, "embeddings.LayerNorm")
    width = x.shape[1] // heads
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        parts = {part: linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value")}
        mixed = []
        for head in range(heads):
            q, k, v = (parts[part][:, head * width : (head + 1) * width] for part in ("query", "key", "value"))
            scores = np.exp(q @ k.T / math.sqrt(width))
            mixed.append(scores / scores.sum(axis=1, keepdims=True) @ v)
        x = norm(
            linear(np.concatenate(mixed, axis=1), f"{name}.attention.output.dense") + x,
            f"{name}.attention.output.LayerNorm",
        )
        inner = linear(x, f"{name}.intermediate.dense")
        inner = inner * (1 + _erf(inner / math.sqrt(2))) / 2
        x = norm(linear(inner, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
    return x
