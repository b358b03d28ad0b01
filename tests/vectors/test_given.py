"""What is accepted as texts and vectors, and what is refused by name."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from chainkit.base.errors import BadTexts, BadVectors
from chainkit.vectors import cluster_map, clusters, heatmap, pairs, search, similarity
from chainkit.vectors.given import UnknownLanguage, read_given
from tests.vectors.conftest import Table

AB = Table({"a": [1, 0], "b": [0, 2], " ": [1, 1]})


@pytest.mark.parametrize("compare", [similarity, clusters])
@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        ([], BadTexts, "no texts were given"),
        ("a text", BadTexts, "a list of texts is wanted"),
        (["a", 5], BadTexts, "text 1 is of type int"),
        (["a", None], BadTexts, "text 1 is of type NoneType"),
        ([b"bytes"], BadTexts, "text 0 is of type bytes"),
        ([[1.0, 2.0], [1.0]], BadVectors, "vector 0 has 2 numbers, vector 1 has 1; were they made by different models"),
        ([[1.0, 2.0], "a"], BadVectors, "vector 1 is of type str"),
        ([[1.0, float("nan")], [1.0, 2.0]], BadVectors, "vector 0 has a value that is not finite"),
        ([[1.0, 2.0], [float("inf"), 2.0]], BadVectors, "vector 1 has a value that is not finite"),
        ([["x", "y"]], BadVectors, "must hold real numbers"),
        ([[]], BadVectors, "shape \\(1, 0\\)"),
        (np.zeros((0, 3)), BadVectors, "shape \\(0, 3\\)"),
        (np.zeros(3), BadVectors, "shape \\(3,\\)"),
        (np.zeros((2, 2), complex), BadVectors, "real numbers, got complex"),
        (np.full((2, 2), np.inf), BadVectors, "not finite"),
    ],
)
def test_wrong_items_are_named(compare, items, error, message):
    with pytest.raises(error, match=message):
        compare(items, AB)


def test_large_finite_values_are_no_fault():
    assert similarity(np.full((2, 2), 3e38, np.float32)).shape == (2, 2)


EVERY = [
    similarity,
    clusters,
    heatmap,
    cluster_map,
    pairs,
    lambda items, embeddings: search("a", items, embeddings),
    lambda items, embeddings: similarity(["a"], items, embeddings),
]


@pytest.mark.parametrize("function", EVERY)
def test_blank_texts_have_no_meaning_to_compare_anywhere(function):
    with pytest.raises(BadTexts, match="leave them out: texts 1, 2$"):
        function(["a", " ", "\n\t"], AB)
    with pytest.raises(BadTexts, match="texts 0, 1, 2, 3, 4 and 3 more"):
        function([""] * 8, AB)


@pytest.mark.parametrize("function", EVERY)
def test_what_is_no_list_of_texts_is_named_everywhere(function):
    for items, kind in (((text for text in "ab"), "generator"), ({"a": 1}, "dict"), ({"a", "b"}, "set"), (5, "int")):
        with pytest.raises(BadTexts, match=rf"a list of texts or of vectors is wanted, got {kind}; write list"):
            function(items, AB)
    with pytest.raises(BadTexts, match="text 1 has half of a surrogate pair"):
        function(["a", "b\ud800"], AB)


def test_embeddings_that_give_too_few_vectors_are_named():
    class Short(Table):
        def embed_documents(self, texts):
            return super().embed_documents(texts)[1:]

    with pytest.raises(BadVectors, match="Short gave 1 vectors for 2 texts"):
        similarity(["a", "b"], Short(AB.vectors))


def test_each_text_is_embedded_once_and_in_the_same_order():
    table = Table({"a": [1, 0], "b": [0, 2]})
    given = read_given(["b", "a", "b"], table, large=9)
    assert table.asked == ["a", "b"]
    assert given.texts == ["a", "b"]
    assert given.rows.tolist() == [1, 0, 1]


def test_the_array_method_is_used_where_there_is_one():
    class Direct(Table):
        def embed_array(self, texts):
            return np.array([self.vectors[text] for text in texts], np.float32)

        def embed_documents(self, texts):
            raise AssertionError("the slow way")

    np.testing.assert_array_equal(similarity(["a", "b"], Direct(AB.vectors)), np.eye(2))


def test_the_vectors_of_texts_can_be_given():
    found = clusters(["x", "y", "x"], [[1, 0], [0, 1], [1, 0]], k=2)
    assert found.labels.tolist() == [0, 1, 0]
    with pytest.raises(BadVectors, match="2 texts and 3 vectors"):
        clusters(["x", "y"], [[1, 0], [0, 1], [1, 0]])


def test_an_array_of_texts_is_taken_for_texts():
    assert similarity(np.array(["a", "b"]), AB).shape == (2, 2)
    assert similarity(np.array(["a", "b"], object), AB).shape == (2, 2)


THAI = ["แมวนอนบนโซฟา", "สุนัขวิ่งในสวน", "วันนี้ฝนตก", "ก๋วยเตี๋ยวอร่อย"]
JAPANESE = ["猫がソファで眠っている。", "犬が公園を走る。", "今日は雨が降る。"]
FRENCH = ["Le chat dort sur le canapé", "Le chien court dans le parc", "Il pleut aujourd'hui"]


@pytest.mark.parametrize("texts", [THAI, JAPANESE, [*THAI, *FRENCH[:1]]])
def test_texts_in_a_language_that_the_model_does_not_know_are_warned_of(minilm, texts: list[str]) -> None:
    assert minilm.fluency(texts[:3]) == 0
    with pytest.warns(UnknownLanguage, match="multilingual"):
        similarity(texts, minilm)


@pytest.mark.parametrize("texts", [FRENCH, ["naïve café", "x1", "B-52"], [*FRENCH, *THAI[:2]], ["A", "B", "C"]])
def test_other_texts_are_compared_without_a_warning(minilm, texts: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        similarity(texts, minilm)
