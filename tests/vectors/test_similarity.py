"""Similarity matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import pairwise

from chainkit.base.errors import BadVectors
from chainkit.vectors import similarity
from tests.vectors.conftest import Table

A = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
B = np.random.default_rng(1).normal(size=(3, 7)).astype(np.float32)


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        ("cosine", pairwise.cosine_similarity),
        ("dot", pairwise.linear_kernel),
        ("euclidean", lambda a, b: -pairwise.euclidean_distances(a, b)),
        ("manhattan", lambda a, b: -pairwise.manhattan_distances(a, b)),
    ],
)
def test_every_metric_agrees_with_scikit_learn(metric, reference):
    found = similarity(A, b=B, metric=metric)
    assert found.shape == (5, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(A, B), atol=1e-5)
    np.testing.assert_allclose(similarity(A, metric=metric), reference(A, A), atol=1e-5)


def test_texts_and_vectors_can_be_mixed():
    table = Table({"a": [1, 0], "b": [0, 2]})
    np.testing.assert_allclose(similarity(["b", "a", "b"], [[0, 1]], table), [[1], [0], [1]])


def test_widths_must_agree():
    with pytest.raises(BadVectors, match="a has 7 numbers each, b has 3"):
        similarity(A, b=B[:, :3])


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match="metric must be one of cosine, dot, euclidean, manhattan, got 'hamming'"):
        similarity(A, metric="hamming")


def test_a_vector_of_zeros_is_like_nothing():
    np.testing.assert_array_equal(similarity([[0.0, 0.0], [1.0, 0.0]]), [[0, 0], [0, 1]])


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-10, 10, width=32))
)
def test_cosines_are_symmetric_and_within_bounds(vectors):
    found = similarity(vectors)
    assert np.isfinite(found).all()
    assert (abs(found) <= 1).all()
    np.testing.assert_allclose(found, found.T, atol=1e-6)
