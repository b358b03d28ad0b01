"""Search and near-duplicates."""

from __future__ import annotations

import numpy as np
import pytest

from chainkit.base.errors import BadTexts, BadVectors
from chainkit.vectors import nearest, pairs, search, similarity
from chainkit.vectors.nearest import LEVELS
from tests.vectors.conftest import Table

TABLE = Table({"red": [1, 0, 0], "rose": [0.9, 0.1, 0], "sky": [0, 0, 1], "blue": [0, 0.2, 1], "colour": [1, 0.2, 0]})
TEXTS = ["sky", "red", "blue", "rose", "red"]


def test_the_most_alike_come_first_and_equal_ones_in_order():
    found = search("colour", TEXTS, TABLE, k=3)
    assert [(match.row, match.text) for match in found] == [(3, "rose"), (1, "red"), (4, "red")]
    assert found[0].score == pytest.approx(float(similarity(["colour"], ["rose"], TABLE)[0, 0]), abs=1e-6)


def test_fewer_items_than_asked_for_are_all_there_is():
    assert len(search("colour", TEXTS, TABLE, k=99)) == 5
    assert search(np.array([0.0, 1.0]), np.eye(2), k=1)[0].row == 1


@pytest.mark.parametrize("above", [-1, 0.0, 0.5, 0.97, 1])
def test_pairs_are_those_of_the_whole_matrix(above, monkeypatch):
    monkeypatch.setattr(nearest, "_ROWS_AT_ONCE", 4)
    monkeypatch.setattr(nearest, "_COLUMNS_AT_ONCE", 7)
    vectors = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    vectors[20] = vectors[3]
    matrix = np.round(similarity(vectors), 6)
    wanted = {(i, j) for i in range(30) for j in range(i + 1, 30) if matrix[i, j] >= above}
    found = pairs(vectors, above=above)
    assert {(pair.first, pair.second) for pair in found} == wanted
    assert [pair.score for pair in found] == sorted((pair.score for pair in found), reverse=True)
    assert (3, 20) in {(pair.first, pair.second) for pair in found}


def test_equal_texts_are_a_pair():
    assert [(pair.first, pair.second) for pair in pairs(TEXTS, TABLE, above=1)] == [(1, 4)]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: search(" ", TEXTS, TABLE), BadTexts, "the query is blank"),
        (lambda: search("red", [], TABLE), BadTexts, "no texts"),
        (lambda: search("red", TEXTS, TABLE, k=0), ValueError, "k must be 1 or more"),
        (lambda: search([1.0, 0.0], np.eye(3)), BadVectors, "the query has 2 numbers, the items have 3 each"),
        (lambda: search([np.nan, 0.0], np.eye(2)), BadVectors, "not finite"),
        (lambda: pairs(TEXTS, TABLE, above=1.01), ValueError, "above is a cosine"),
        (lambda: pairs([]), BadTexts, "no texts"),
    ],
)
def test_wrong_calls_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_levels_have_names():
    vectors = [[1.0, 0.0], [1.0, 0.25], [1.0, 0.9]]  # cosines of 0.97, 0.88 and 0.74
    found = {level: [(pair.first, pair.second) for pair in pairs(vectors, above=level)] for level in LEVELS}
    assert found == {"duplicate": [(0, 1)], "paraphrase": [(0, 1), (1, 2), (0, 2)]}
    assert pairs(vectors) == pairs(vectors, above="duplicate")
    with pytest.raises(ValueError, match="a cosine or one of duplicate, paraphrase, got 'same'"):
        pairs(vectors, above="same")
