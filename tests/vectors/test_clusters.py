"""Groups: right, the same in any order, described."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.preprocessing import normalize

from chainkit.vectors import clusters
from chainkit.vectors.keywords import keywords, words
from chainkit.vectors.number import candidates
from chainkit.vectors.tree import cosine_distances
from tests.vectors.conftest import Table
from tests.vectors.nine import NINE


def as_sets(found, items):
    return {frozenset(items[row] for row in group.members) for group in found.groups}


def test_the_nine_sentences_fall_into_three_groups_in_any_order(minilm):
    wanted = {frozenset(NINE[:3]), frozenset(NINE[3:6]), frozenset(NINE[6:])}
    first = clusters(NINE, minilm)
    for seed in range(20):
        texts = random.Random(seed).sample(NINE, 9)
        found = clusters(texts, minilm)
        assert as_sets(found, texts) == wanted
        assert [texts[row] for row in found.order] == [NINE[row] for row in first.order]
        assert [group.name for group in found.groups] == [group.name for group in first.groups]
        assert [texts[group.representative] for group in found.groups] == [
            NINE[group.representative] for group in first.groups
        ]
        assert found.silhouette == first.silhouette


def test_separated_groups_are_found_with_their_number(blobs):
    vectors, truth = blobs
    found = clusters(vectors)
    assert found.k == 4
    assert adjusted_rand_score(truth, found.labels) == 1
    assert found.sizes == (30, 15, 10, 5)
    assert found.silhouette == pytest.approx(silhouette_score(normalize(vectors), truth), abs=1e-6)


def test_labels_members_and_order_say_the_same(blobs):
    vectors, _ = blobs
    found = clusters(np.concatenate([vectors, vectors[:7]]))
    assert sorted(found.order) == list(range(67))
    runs = [
        label
        for place, label in enumerate(found.labels[list(found.order)])
        if place == 0 or label != found.labels[found.order[place - 1]]
    ]
    assert sorted(runs) == list(range(found.k))
    for group in found.groups:
        assert sorted(group.members) == np.flatnonzero(found.labels == group.label).tolist()
        assert group.representative == group.members[0]


@pytest.mark.parametrize("k", [1, 2, 5, 49, 50])
def test_a_given_number_of_few_groups_agrees_with_scikit_learn(blobs, k):
    vectors = blobs[0][:50]
    reference = AgglomerativeClustering(n_clusters=k, linkage="ward").fit_predict(normalize(vectors))
    found = clusters(vectors, k=k)
    assert found.k == k
    assert adjusted_rand_score(reference, found.labels) == 1


@pytest.mark.parametrize("threshold", [-1, 0.3, 0.8, 0.99, 1])
def test_a_threshold_is_a_mean_cosine(blobs, threshold):
    vectors, _ = blobs
    distances = cosine_distances(vectors)
    reference = fcluster(linkage(distances[np.triu_indices(60, 1)], "average"), 1 - threshold + 1e-6, "distance")
    found = clusters(vectors, threshold=threshold)
    assert adjusted_rand_score(reference, found.labels) == 1


def test_one_item_is_one_group():
    found = clusters([[1.0, 2.0]])
    assert (found.k, found.labels.tolist(), found.order, found.silhouette) == (1, [0], (0,), None)


def test_items_that_are_all_the_same_are_one_group():
    found = clusters(["again"] * 5, Table({"again": [1, 2]}))
    assert (found.k, found.sizes, found.silhouette) == (1, (5,), None)
    assert found.groups[0].members == (0, 1, 2, 3, 4)


def test_two_items_are_together_if_they_are_alike():
    assert clusters([[1.0, 0.0], [1.0, 0.2]]).k == 1
    assert clusters([[1.0, 0.0], [0.2, 1.0]]).k == 2


def test_vectors_of_zeros_do_no_harm():
    assert clusters([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]).k in {2, 3}


def test_equal_items_are_together_whatever_is_between():
    table = Table({"a": [1, 0], "b": [0.9, 0.1], "c": [0, 1]})
    found = clusters(["a", "c", "b", "a", "c"], table, k=3)
    assert found.labels.tolist() == [0, 1, 2, 0, 1]


def test_small_groups_can_be_outliers():
    vectors = [[1.0, 0.0], [1.0, 0.05], [1.0, 0.02], [0.0, 1.0]]
    found = clusters(vectors, k=2, min_size=2)
    assert (found.k, found.outliers, found.labels.tolist()) == (1, (3,), [0, 0, 0, -1])
    assert clusters(vectors, k=2, min_size=9).k == 0


def test_a_group_is_named_by_its_words_and_shown_by_its_middle(minilm):
    found = clusters(
        ["The cat sleeps", "A cat purrs", "Cats chase mice", "Tax is due in May", "Pay your tax"], minilm, k=2
    )
    cats, tax = found.groups
    assert cats.keywords[0] == "cat"
    assert tax.keywords[0] == "tax"
    assert tax.name.startswith("tax")
    assert cats.representative in cats.members


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 2, "threshold": 0.5}, "k or threshold, not both"),
        ({"k": 0}, "k must be 1 or more"),
        ({"k": 4}, "k is 4, but only 3 of the 4 items are different"),
        ({"threshold": 1.5}, "between -1 and 1, got 1.5"),
        ({"threshold": float("nan")}, "between -1 and 1"),
        ({"min_size": 0}, "min_size must be 1 or more"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        clusters([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], **settings)


def test_the_result_can_be_written_as_json_and_as_text(minilm):
    found = clusters(NINE, minilm)
    plain = json.loads(json.dumps(found.as_dict()))
    assert plain["labels"] == found.labels.tolist()
    assert plain["groups"][0]["texts"] == [NINE[row] for row in found.groups[0].members]
    assert plain["groups"][0]["size"] == 3
    text = str(found)
    assert all(sentence in text for sentence in NINE)
    assert str(clusters([[1.0, 0.0], [0.0, 1.0]])).splitlines()[0] == "0  group 0 (1)"


def test_all_small_numbers_of_groups_are_tried_and_large_ones_in_steps():
    assert candidates(3) == [2]
    assert candidates(60) == sorted(set(candidates(60)))
    assert 55 <= candidates(61)[-1] <= 59
    assert candidates(2000)[-1] <= 667
    assert len(candidates(2000)) < 120


def test_a_group_without_a_telling_word_is_named_after_its_middle():
    texts = ["12 + 34", "12 + 35", "the other one is not this one and not that one"]
    table = Table(dict(zip(texts, ([1, 0], [1, 0.1], [0, 1]), strict=True)))
    assert [group.name for group in clusters(texts, table, k=2).groups] == [
        "12 + 34",
        "the other one is not this one and not t…",
    ]
    assert [group.name for group in clusters(np.eye(2)).groups] == ["group 0", "group 1"]


def test_keywords_are_frequent_here_and_rare_elsewhere():
    assert keywords([["the red wine", "a white wine"], ["the red car"], ["12 34"]], count=2) == [
        ["wine", "white"],
        ["car", "red"],
        [],
    ]
    assert keywords([["..."], ["!"]]) == [[], []]


def test_forms_of_a_word_count_together_and_fillers_do_not_count():
    cards = ["I want new cards please", "Can you send a card?", "the card has not come", "Card, card and card"]
    cars = ["I want a car please", "can you sell cars?"]
    assert [found[0] for found in keywords([cards, cars])] == ["card", "car"]
    assert not {"want", "please", "cards"} & set(keywords([cards, cars])[0])


def test_phrases_of_two_words_replace_their_words():
    rates = ["what is the exchange rate", "exchange rate today", "exchange rates of the euro"]
    top_ups = ["my top-up failed", "how do I top up", "top up by card"]
    first, second = keywords([rates, top_ups])
    assert first[0] == "exchange rate"
    assert not {"exchange", "rate"} & set(first)
    assert second[0] == "top up"


def test_texts_in_scripts_without_spaces_are_named_by_what_they_share():
    refunds = ["我想申请退款", "请问怎么申请退款", "申请退款需要多久", "退款什么时候到账"]
    parcels = ["快递还没有到", "我的快递在哪里", "快递送错了"]
    assert [found[0] for found in keywords([refunds, parcels])] == ["退款", "快递"]
    refunds = ["返金をお願いします", "返金はいつですか"]
    passwords = ["パスワードを忘れました", "パスワードが違います"]
    assert [found[0] for found in keywords([refunds, passwords])] == ["返金", "パスワード"]
    refunds = ["ฉันต้องการขอคืนเงิน", "ขอคืนเงินอย่างไร"]
    passwords = ["ลืมรหัสผ่าน", "เปลี่ยนรหัสผ่าน"]
    assert [found[0] for found in keywords([refunds, passwords])] == ["ขอคืนเงิน", "รหัสผ่าน"]


def test_words_of_scripts_without_spaces():
    assert words("旅行用のネックピローとバックパック") == ["旅行用", "ネックピロー", "バックパック"]
    assert words("IHクッキング対応の調理器具") == ["ih", "クッキング", "対応", "調理器具"]
    assert words("5th mother-in-law's 3d") == ["mother-in-law's"]
    assert words("Größe Ärger naïve привет") == ["größe", "ärger", "naïve", "привет"]


def test_asked_for_numbers_are_met_where_all_items_are_equally_far_apart():
    assert [clusters(np.eye(6), k=k).k for k in range(1, 7)] == [1, 2, 3, 4, 5, 6]


def test_a_name_of_several_texts_holds_more_than_three_keywords_while_they_fit():
    words = ["wheel", "brake", "clutch", "engine"]
    cars = [f"{first} {second}" for first in words for second in words if first != second]
    long = [f"{first[::-1]}abcdefghijk {second[::-1]}abcdefghijk" for first, second in map(str.split, cars)]
    few = ["red wine", "white grape", "sweet bottle"]
    vectors = np.repeat([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], [12, 12, 3], axis=0)
    vectors[:, 0] += np.linspace(0, 0.1, len(vectors))
    for group, shown in zip(clusters([*cars, *long, *few], vectors, k=3).groups, (4, 3, 3), strict=True):
        assert group.name.split(", ") == list(group.keywords[:shown])
        assert len(group.keywords) > 3
