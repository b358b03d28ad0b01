from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.knowledge.search import Hit, best, distinct, fts_query, fuse
from chainkit.knowledge.split import Passage


@given(st.text(max_size=60))
def test_no_question_is_a_syntax_error_for_fts5(question):
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE w USING fts5 (t)")
    query = fts_query(question)
    if query is not None:
        db.execute("SELECT * FROM w WHERE w MATCH ?", (query,)).fetchall()
    db.close()


def test_operators_in_a_question_are_words():
    assert fts_query('NEAR("a", 5) NOT tea*') == '"near" OR "5" OR "tea"'
    assert fts_query("?!") is None


def test_fusion_follows_the_words_where_meaning_says_nothing_and_the_other_way_round():
    flat, rising = np.array([0.3, 0.3, 0.3]), np.array([1.0, 2.0, 3.0])
    assert list(np.argsort(fuse(flat, rising))) == [0, 1, 2]
    assert list(np.argsort(fuse(rising, flat))) == [0, 1, 2]
    assert list(fuse(rising, flat, share=1)) == [0, 0.5, 1]


def test_fusion_of_nothing_is_nothing():
    assert len(fuse(np.array([]), np.array([]))) == 0


@given(st.lists(st.floats(-1, 1, width=32), max_size=50), st.integers(0, 60))
def test_best_gives_the_largest_first(values, count):
    scores = np.array(values, np.float32)
    assert list(scores[best(scores, count)]) == sorted(scores, reverse=True)[:count]


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
