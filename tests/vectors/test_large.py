"""Groups of many vectors: right, independent of the order, from disk."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from chainkit.vectors import clusters
from chainkit.vectors.large import LARGE, cut_many
from chainkit.vectors.tree import _labels, candidates, silhouette, silhouettes


@pytest.fixture(scope="module")
def many():
    """4,000 vectors around 12 centres, and which centre each belongs to."""
    rng = np.random.default_rng(8)
    centres = rng.normal(size=(12, 24))
    truth = rng.integers(0, 12, LARGE + 1000)
    return (centres[truth] + rng.normal(0, 0.35, (len(truth), 24))).astype(np.float32), truth


def test_many_vectors_fall_into_their_groups(many):
    vectors, truth = many
    found = clusters(vectors)
    assert found.k == 12
    assert adjusted_rand_score(truth, found.labels) > 0.99
    assert sum(found.sizes) == len(vectors)
    assert sorted(found.order) == list(range(len(vectors)))
    runs = np.count_nonzero(np.diff(found.labels[list(found.order)])) + 1
    assert runs == 12


def test_the_order_of_many_vectors_plays_no_part(many):
    vectors, _ = many
    shuffled = np.random.default_rng(1).permutation(len(vectors))
    first, second = cut_many(vectors).labels, cut_many(vectors[shuffled]).labels
    np.testing.assert_array_equal(first[shuffled], second)


def test_an_array_on_disk_gives_the_same_groups(many, tmp_path):
    np.save(tmp_path / "v.npy", many[0])
    on_disk = np.load(tmp_path / "v.npy", mmap_mode="r")
    np.testing.assert_array_equal(clusters(on_disk, k=12).labels, clusters(many[0], k=12).labels)


def test_a_given_number_of_many_groups(many):
    assert clusters(many[0], k=3).k == 3
    with pytest.raises(ValueError, match=r"of 4,000 items at most \d+ groups can be asked for, got k=3000"):
        clusters(many[0], k=3000)


def test_many_equal_vectors_are_one_group():
    assert clusters(np.ones((LARGE + 1, 4))).k == 1


def test_all_silhouettes_at_once_agree_with_scikit_learn():
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist, squareform

    vectors = np.random.default_rng(3).normal(size=(70, 5))
    vectors[10] = vectors[11]
    tree, distances = linkage(vectors, "ward"), squareform(pdist(vectors))
    for k, score in silhouettes(tree, distances, candidates(70)).items():
        assert score == pytest.approx(silhouette(distances, _labels(tree, k)), abs=1e-12)
