"""Groups of many vectors: right, independent of the order, from disk."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from chainkit.vectors import clusters
from chainkit.vectors.large import MOST
from chainkit.vectors.number import candidates
from chainkit.vectors.tree import cut_at, neighbour_tree, silhouettes


@pytest.fixture(scope="module")
def many():
    """3,000 vectors around 12 centres, and which centre each belongs to."""
    rng = np.random.default_rng(8)
    centres = rng.normal(size=(12, 24))
    truth = rng.integers(0, 12, MOST + 1000)
    return (centres[truth] + rng.normal(0, 0.35, (len(truth), 24))).astype(np.float32), truth


@pytest.fixture(scope="module")
def found(many):
    return clusters(many[0])


def test_many_vectors_fall_into_their_groups(many, found):
    vectors, truth = many
    assert found.k == 12
    assert adjusted_rand_score(truth, found.labels) > 0.99
    assert sum(found.sizes) == len(vectors)
    assert sorted(found.order) == list(range(len(vectors)))
    runs = np.count_nonzero(np.diff(found.labels[list(found.order)])) + 1
    assert runs == 12


def test_the_order_of_many_vectors_plays_no_part(many, found):
    vectors, _ = many
    shuffled = np.random.default_rng(1).permutation(len(vectors))
    np.testing.assert_array_equal(found.labels[shuffled], clusters(vectors[shuffled]).labels)


def test_an_array_on_disk_gives_the_same_groups(many, found, tmp_path):
    np.save(tmp_path / "v.npy", many[0])
    on_disk = np.load(tmp_path / "v.npy", mmap_mode="r")
    np.testing.assert_array_equal(clusters(on_disk, k=12).labels, found.labels)


def test_a_given_number_of_many_groups(many, found):
    assert found.at(3).k == 3
    with pytest.raises(ValueError, match=r"of 3,000 items at most \d+ groups can be asked for, got k=2500"):
        clusters(many[0], k=2500)


def test_small_groups_count_as_many_as_they_stand_for(many, found):
    """Means of one item and of a hundred take part in the tree as one and as a hundred."""
    small = found.tree.standing
    np.testing.assert_array_equal(small.weights, np.bincount(small.rows))
    assert small.weights.sum() == len(many[0])
    assert small.weights.max() > 1
    weighted, plain = (neighbour_tree(small.vectors, found.tree.distances, w)[0] for w in (small.weights, None))
    np.testing.assert_array_equal(found.tree.linkage, weighted)
    assert not np.allclose(weighted[:, 2], plain[:, 2])


def test_many_equal_vectors_are_one_group():
    assert clusters(np.ones((MOST + 1, 4))).k == 1


def test_all_silhouettes_at_once_agree_with_scikit_learn():
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist, squareform

    vectors = np.random.default_rng(3).normal(size=(70, 5))
    vectors[10] = vectors[11]
    tree, distances = linkage(vectors, "ward"), squareform(pdist(vectors))
    for k, score in silhouettes(tree, distances, candidates(70)).items():
        assert score == pytest.approx(silhouette_score(distances, cut_at(tree, k), metric="precomputed"), abs=1e-12)
