"""The number of groups: found among near-paraphrases too, and a decision that can be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from chainkit.vectors import clusters
from chainkit.vectors.given import unit
from chainkit.vectors.number import GroupCount, _chosen, _smoothed, adjusted_rand, candidates, count_groups
from chainkit.vectors.tree import averaged, cosine_distances, cut_at, neighbours_of, silhouettes, ward


def paraphrased(groups: int, sentences: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of groups with sentences in them, each twice but for a little noise, and the group of each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, 64)) * 0.8
    truth = np.repeat(np.arange(groups), 2 * sentences)
    meanings = np.repeat(rng.normal(size=(groups * sentences, 64)), 2, axis=0)
    return (centres[truth] + meanings + rng.normal(size=meanings.shape) * 0.25).astype(np.float32), truth


def test_near_paraphrases_are_not_taken_for_groups():
    vectors, truth = paraphrased(groups=5, sentences=20)
    distances = cosine_distances(vectors)
    by_silhouette = silhouettes(ward(distances), np.sqrt(2 * distances), range(2, 120))
    assert max(by_silhouette, key=lambda k: by_silhouette[k]) > 80  # what the silhouette alone makes of them: pairs
    found = clusters(vectors)
    assert found.k == 5
    assert adjusted_rand_score(truth, found.labels) > 0.9


def test_the_decision_can_be_read():
    found = clusters(paraphrased(groups=5, sentences=20)[0])
    count = found.count
    assert count is not None
    assert count.k == found.k
    assert max(count.scores) == 1
    least = 0.9 * count.scores[count.numbers.index(count.k)]
    inside = [
        score for number, score in zip(count.numbers, count.scores, strict=True) if count.low <= number <= count.high
    ]
    assert count.low <= count.k <= count.high
    assert min(inside) >= least - 1e-4
    assert len(count.numbers) == len(count.scores) == len(count.stability) == len(count.silhouettes)
    assert not any(count.low <= number <= count.high for number in count.alternatives)
    assert set(count.alternatives) <= set(count.numbers)
    assert str(count).startswith("5 groups")


def test_alternatives_are_the_other_peaks_the_best_first():
    count = GroupCount(k=4, low=3, high=4, numbers=(2, 3, 4, 5, 6, 7), scores=(0.8, 0.3, 1.0, 0.5, 0.9, 0.9))
    assert count.alternatives == (6, 2) or count.alternatives == (7, 2)
    assert str(GroupCount(k=2, low=2, high=2)) == "2 groups"


def test_a_broad_hill_counts_for_more_than_a_narrow_peak():
    numbers = candidates(200)
    hill = np.exp(-0.5 * (np.log(np.array(numbers) / 12) / 0.3) ** 2)
    hill[numbers.index(40)] = 1.1
    smoothed = _smoothed(hill, numbers)
    assert numbers[int(np.argmax(hill))] == 40
    assert 10 <= numbers[int(np.argmax(smoothed))] <= 14
    np.testing.assert_allclose(_smoothed(np.ones(len(numbers)), numbers), 1)


def chosen(scores: np.ndarray, numbers: list[int], count: int) -> int:
    logs = np.log(scores)
    return numbers[_chosen(logs, _smoothed(logs, numbers), numbers, count)]


def test_the_number_is_sought_where_most_of_the_score_is():
    numbers = candidates(200)
    places = np.log(np.array(numbers))
    plateau = np.where(np.abs(places - np.log(12)) < 0.5, 0.9, 0.1)
    scores = plateau + np.exp(-0.5 * ((places - np.log(59)) / 0.15) ** 2)
    assert numbers[int(np.argmax(_smoothed(np.log(scores), numbers)))] > 50
    assert 10 <= chosen(scores, numbers, 200) <= 15
    assert chosen(scores, numbers, 40) > 50  # of few items the best score decides


def test_a_clear_peak_is_met_exactly():
    numbers = candidates(200)
    for wanted in (5, 9, 21):
        scores = np.where(np.array(numbers) == wanted, 0.9, 0.3 * (np.array(numbers) < 30) + 0.05)
        assert chosen(scores, numbers, 200) == wanted


def test_a_given_number_was_not_found():
    assert clusters(np.eye(4), k=2).count is None
    assert clusters(np.eye(4), threshold=0.5).count is None


def test_other_numbers_come_from_the_same_tree():
    found = clusters(paraphrased(groups=4, sentences=15)[0])
    coarser, finer = found.at(2), found.at(9)
    assert (coarser.k, finer.k) == (2, 9)
    for fine, coarse in ((finer, found), (found, coarser)):
        inside = {(int(a), int(b)) for a, b in zip(fine.labels, coarse.labels, strict=True)}
        assert len(inside) == fine.k  # each finer group lies in one coarser one
    np.testing.assert_array_equal(found.at(found.k).labels, found.labels)
    with pytest.raises(ValueError, match="k must be 1 or more"):
        found.at(0)
    with pytest.raises(ValueError, match="only 120 of the 120 items"):
        found.at(121)


def test_outliers_stay_outliers_at_another_number():
    vectors = [[1.0, 0.0], [1.0, 0.05], [1.0, 0.02], [0.0, 1.0]]
    found = clusters(vectors, k=1, min_size=2).at(2)
    assert (found.k, found.outliers) == (1, (3,))


def test_the_order_of_items_plays_no_part_in_the_number():
    vectors, _ = paraphrased(groups=5, sentences=20)
    order = np.random.default_rng(4).permutation(len(vectors))
    first, second = clusters(vectors), clusters(vectors[order])
    assert first.count == second.count
    np.testing.assert_array_equal(first.labels[order], second.labels)


def test_few_items_are_not_averaged_and_many_with_ten():
    assert [neighbours_of(count) for count in (2, 40, 56, 120, 200, 2000)] == [0, 0, 1, 5, 10, 10]
    vectors = np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(averaged(vectors, vectors, 0), vectors)


def test_a_vector_is_averaged_with_its_nearest():
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], np.float32)
    found = averaged(vectors, vectors @ vectors.T, 1)
    wanted = vectors + vectors[[1, 2, 1]]
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)


def test_a_tree_of_weighted_vectors_is_that_of_as_many_equal_ones():
    random = np.random.default_rng(4)
    vectors, weights = unit(random.normal(size=(40, 6))), random.integers(1, 5, 40)
    distances, rows = cosine_distances(vectors), np.repeat(np.arange(40), weights)
    repeated, weighted = ward(distances[rows][:, rows]), ward(distances, weights)
    np.testing.assert_allclose(weighted[:, 2], repeated[-39:, 2])
    for k in (2, 5, 17, 39):
        found, wanted = cut_at(weighted, k)[rows], cut_at(repeated, k)
        assert len({*zip(found.tolist(), wanted.tolist(), strict=True)}) == k
    np.testing.assert_allclose(ward(distances, np.ones(40)), ward(distances), atol=1e-12)


def test_a_neighbour_that_stands_for_more_counts_more():
    vectors = unit(np.array([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [0.9, 0.0, 0.3]]))
    cosines = vectors @ vectors.T
    plain, weighted = (averaged(vectors, cosines, 2, weights)[0] for weights in (None, np.array([1, 3, 1])))
    assert plain[1] == pytest.approx(plain[2])
    assert weighted[1] == pytest.approx(3 * weighted[2])


def test_two_and_one_items():
    assert count_groups(np.empty((0, 4)), np.ones((1, 2)), np.zeros((1, 1))).k == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30))
def test_agreement_is_the_adjusted_rand_index(pairs):
    first, second = (np.unique(column, return_inverse=True)[1] for column in zip(*pairs, strict=True))
    assert adjusted_rand(first, second) == pytest.approx(adjusted_rand_score(first, second))


def test_notebooks_show_groups_and_the_curve():
    found = clusters([f"<b>{row}" for row in range(200)], paraphrased(groups=5, sentences=20)[0])
    html = found._repr_html_()
    assert html.count("<tr>") == 6
    assert "<polyline" in html
    assert "&lt;b&gt;" in html
    assert "<b>1" not in html
    assert "between" in html or "5 groups" in html
    assert "<svg" not in found.at(2)._repr_html_()
