from __future__ import annotations

import random
import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge import Index
from chainkit.knowledge.index import search
from chainkit.knowledge.index.search import (
    LEAST_MEANING,
    MOST_MEANING,
    Hit,
    distinct,
    fuse,
    share_of_meaning,
    split_rare,
    standing_out,
    telling,
    terms,
)
from chainkit.knowledge.index.split import Passage


@given(st.text(max_size=60))
def test_no_question_is_a_syntax_error_for_fts5(question):
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE w USING fts5 (t)")
    for term in terms(question):
        db.execute("SELECT * FROM w WHERE w MATCH ?", (term,)).fetchall()
    db.close()


def test_operators_in_a_question_are_words():
    assert terms('NEAR("a", 5) NOT tea*') == ['"near"', '"5"', '"tea"']
    assert terms("?!") == []


def test_words_count_more_the_more_of_the_question_they_cover():
    frequencies = {'"rare"': 1, '"common"': 50, '"absent"': 0}
    shares = [
        share_of_meaning(frequencies, held, 100)
        for held in (set(frequencies), {'"rare"', '"common"'}, {'"rare"'}, {'"common"'}, set())
    ]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == pytest.approx((LEAST_MEANING, MOST_MEANING))


def test_words_that_stand_in_most_passages_are_not_looked_up_unless_there_is_nothing_else():
    assert telling({"a": 50, "b": 51}, 100) == ["a"]
    assert telling({"a": 99, "b": 51}, 100) == ["b", "a"]
    assert telling({}, 100) == []


def test_the_rarest_words_decide_what_is_ranked_but_one_always_does(monkeypatch):
    monkeypatch.setattr(search, "RANKED", 10)
    frequencies = {"a": 8, "b": 2, "c": 1, "d": 90}
    assert split_rare("abcd", frequencies) == (["c", "b"], ["a", "d"])
    assert split_rare("d", frequencies) == (["d"], [])
    assert split_rare("cb", frequencies) == (["c", "b"], [])
    assert split_rare("", {}) == ([], [])


def test_passages_with_a_rare_word_are_ranked_by_all_words(monkeypatch):
    chance = random.Random(4)
    texts = [
        " ".join(chance.choices(["hive", "bee", "wasp", "moth", "ant"], [1, 9, 20, 40, 40], k=6)) for _ in range(300)
    ]
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts(texts, ids=[str(n) for n in range(300)])
        whole, share = index._lookup._by_words("hive bee wasp moth", index._lookup._fresh(), None, None)
        monkeypatch.setattr(search, "RANKED", 20)
        some, same = index._lookup._by_words("hive bee wasp moth", index._lookup._fresh(), None, None)
    rare = [number for number in whole if "hive" in texts[number - 1]]
    assert rare
    assert len(some) < len(whole)
    assert {number: some[number] for number in rare} == pytest.approx({number: whole[number] for number in rare})
    assert share == same


def test_frequent_words_are_counted_by_a_sample(monkeypatch):
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts([f"bee {n}" if n % 3 else f"wasp {n}" for n in range(600)])
        assert index._store.words.frequencies(["bee", "wasp", "moth"]) == {"bee": 400, "wasp": 200, "moth": 0}
        monkeypatch.setattr("chainkit.knowledge.index.lexicon.MANY", 50)
        estimated = index._store.words.frequencies(["bee", "wasp"])
    assert estimated == {"bee": pytest.approx(400, rel=0.05), "wasp": pytest.approx(200, rel=0.05)}


def test_fusion_follows_the_words_where_meaning_says_nothing_and_the_other_way_round():
    flat, rising = np.array([0.3, 0.3, 0.3]), np.array([1.0, 2.0, 3.0])
    assert list(np.argsort(fuse(flat, rising, 0.3))) == [0, 1, 2]
    assert list(np.argsort(fuse(rising, flat, 0.3))) == [0, 1, 2]
    assert list(fuse(rising, flat, share=1)) == [0, 0.5, 1]


def test_fusion_of_nothing_is_nothing():
    assert len(fuse(np.array([]), np.array([]), 0.5)) == 0


def hit(text):
    return Hit(Passage(text=text))


def test_what_says_nearly_the_same_is_left_out():
    long = " ".join(f"word{n}" for n in range(30))
    hits = [hit(long), hit(long + " more"), hit("Something else."), hit("something ELSE")]
    assert [one.passage.text for one in distinct(hits, 4)] == [long, "Something else."]


def test_different_numbers_are_different_texts():
    hits = [hit("The limit is 10 files."), hit("The limit is 20 files.")]
    assert len(distinct(hits, 2)) == 2


@pytest.mark.parametrize("k", [1, 2])
def test_no_more_than_k_are_given(k):
    assert len(distinct([hit("a b"), hit("c d"), hit("e f")], k)) == k


def test_a_passage_found_alone_fits_fully_and_one_without_the_words_not_by_them():
    assert list(fuse(np.array([0.2]), np.array([3.1]), 0.3)) == [1]
    assert list(fuse(np.array([0.2]), np.array([0.0]), 0.3)) == [0.3]


def test_meaning_weighs_the_more_the_further_the_nearest_passage_stands_out():
    noise = np.random.default_rng(1).normal(0.3, 0.05, 500).astype(np.float32)
    weights = [standing_out(np.append(noise, np.float32(top))) for top in (0.3, 0.5, 0.8)]
    assert weights == sorted(weights)
    assert weights[0] < 1
    assert weights[2] == 1
    assert standing_out(noise[:20]) == standing_out(np.full(200, 0.5, np.float32)) == 1
    assert standing_out(np.tile(np.float32([0.1, 0.2]), 100)) == search.LEAST_WEIGHT
