"""Matrices as 8-bit numbers: each run of `BLOCK` of them shares one scale.

Both runtimes then turn the states of each token into such numbers before they multiply: one token at a time, so that a
text's vector does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BLOCK = 128  # 32 and 64 are nearer to float32 and slower; the figures are in benchmarks/README.md
CODES = ".codes"
SCALES = ".scales"


def in_blocks(name: str) -> bool:
    """Whether a tensor is kept so: the matrices of the layers, without those that make the values of the attention.

    The values carry most of what rounding would cost, and a twelfth of the work.
    """
    return name.endswith((".dense.weight", ".query.weight", ".key.weight")) and ".layer." in name


def coded(matrix: Array) -> tuple[Array, Array]:
    """Codes, int8, N x blocks x BLOCK, and scales, float32, N x blocks, of a float32 matrix N x K.

    A value is code * scale. Where K is not a multiple of BLOCK the last block is filled up with zeros.
    """
    rows, columns = matrix.shape
    parts = np.pad(matrix, ((0, 0), (0, -columns % BLOCK))).reshape(rows, -1, BLOCK)
    largest = np.maximum(np.abs(parts).max(axis=2), np.float32(1e-30))  # a block of zeros has a scale too
    scales = largest / np.float32(127)
    return np.rint(parts / scales[:, :, None]).astype(np.int8), scales


def with_blocks(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors with `name.codes` and `name.scales` in place of the matrices `in_blocks`, for MatMulNBits.

    That operator wants codes as uint8 that stand for their distance from 128.
    """
    found: dict[str, Array] = {}
    for name, values in tensors.items():
        if in_blocks(name):
            codes, scales = coded(values)
            found[name + CODES], found[name + SCALES] = codes.view(np.uint8) ^ 128, scales
        else:
            found[name] = values
    return found
