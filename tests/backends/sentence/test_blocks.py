"""Matrices as 8-bit numbers."""

from __future__ import annotations

import numpy as np
import pytest

from chainkit.backends.sentence.blocks import BLOCK, coded, in_blocks, with_blocks


def decoded(codes: np.ndarray, scales: np.ndarray, columns: int) -> np.ndarray:
    return (codes * scales[:, :, None]).reshape(len(codes), -1)[:, :columns]


@pytest.mark.parametrize("columns", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_no_number_is_off_by_more_than_half_a_step_of_its_block(columns):
    matrix = np.random.default_rng(0).normal(size=(5, columns)).astype(np.float32)
    matrix[2, 0] = -100  # one block of large numbers does not make the others coarse
    codes, scales = coded(matrix)
    assert codes.shape == (5, -(-columns // BLOCK), BLOCK)
    steps = np.repeat(scales, BLOCK, axis=1)[:, :columns]
    assert (np.abs(decoded(codes, scales, columns) - matrix) <= steps / 2 * 1.001).all()
    assert codes.min() >= -127


def test_zeros_stay_zeros():
    codes, scales = coded(np.zeros((2, 3), np.float32))
    assert not codes.any()
    assert np.isfinite(scales).all()


def test_only_matrices_of_the_layers_are_coded_and_not_those_of_the_values():
    layer = "bert.encoder.layer.0."
    names = ["attention.self.query", "attention.self.key", "attention.output.dense", "intermediate.dense"]
    assert all(in_blocks(f"{layer}{name}.weight") for name in [*names, "output.dense"])
    kept = [f"{layer}attention.self.value.weight", f"{layer}output.dense.bias", f"{layer}output.LayerNorm.weight"]
    for name in [*kept, "pooler.dense.weight", "embeddings.word_embeddings.weight"]:
        assert not in_blocks(name)


def test_what_the_operator_reads_is_centred_on_128():
    matrix, bias = np.array([[1, -1, 0]], np.float32), np.zeros(1, np.float32)
    name = "encoder.layer.0.output.dense"
    found = with_blocks({f"{name}.weight": matrix, f"{name}.bias": bias})
    assert found[f"{name}.weight.codes"][0, 0, :4].tolist() == [255, 1, 128, 128]
    assert set(found) == {f"{name}.weight.codes", f"{name}.weight.scales", f"{name}.bias"}
