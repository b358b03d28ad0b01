from __future__ import annotations

import math
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
    Hit,
    distinct,
    fuse,
    split_rare,
    telling,
    terms,
)
from chainkit.knowledge.readers.split import Passage


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


def test_repeated_words_count_again_and_single_letters_do_not():
    assert terms("the time of a time table, plan b") == ['"time"', '"time"', '"table"', '"plan"']
    assert terms("b") == ['"b"']


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
        whole = index._lookup._by_words("hive bee wasp moth", index._lookup._fresh(), None, None)
        monkeypatch.setattr(search, "RANKED", 20)
        some = index._lookup._by_words("hive bee wasp moth", index._lookup._fresh(), None, None)
    rare = [number for number in whole if "hive" in texts[number - 1]]
    assert rare
    assert len(some) < len(whole)
    assert {number: some[number] for number in rare} == pytest.approx({number: whole[number] for number in rare})


def test_frequent_words_are_counted_by_a_sample(monkeypatch):
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts([f"bee {n}" if n % 3 else f"wasp {n}" for n in range(600)])
        assert index._store.words.frequencies(["bee", "wasp", "moth"]) == {"bee": 400, "wasp": 200, "moth": 0}
        monkeypatch.setattr("chainkit.knowledge.index.lexicon.MANY", 50)
        estimated = index._store.words.frequencies(["bee", "wasp"])
    assert estimated == {"bee": pytest.approx(400, rel=0.05), "wasp": pytest.approx(200, rel=0.05)}


def fused(meaning, by_words, dense_weight, texts=None, question="?"):
    texts = texts or ["..."] * len(meaning)
    return list(fuse(question, texts, np.array(meaning, float), np.array(by_words, float), dense_weight))


def test_fusion_follows_the_words_where_meaning_says_nothing_and_the_other_way_round():
    flat, rising = [0.3, 0.3, 0.3], [1.0, 2.0, 3.0]
    assert list(np.argsort(fused(flat, rising, 0.3))) == [0, 1, 2]
    assert list(np.argsort(fused(rising, flat, 0.3))) == [0, 1, 2]
    assert fused(rising, flat, 1) == [0, 0.5, 1]


def test_fusion_of_nothing_is_nothing():
    assert fused([], [], 0.5) == fused([], [], 1) == []


def test_other_forms_of_a_word_count_and_so_do_words_that_stand_together():
    texts = ["Die Wohnungen sind alt.", "Die Garage ist alt.", "Ein Auto."]
    one, other, none = fused([0, 0, 0], [0, 0, 0], 0, texts, "Wohnung")
    assert one > other == none
    texts = ["fast red boats", "red carpets and fast boats"]
    together, apart = fused([0, 0], [1, 1], 0, texts, "a fast red boat")
    assert together > apart


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=4))
def test_scores_lie_between_0_and_1_whatever_the_texts(question, texts):
    values = np.linspace(-1, 1, len(texts))
    found = fused(values, values + 1, 0.5, texts, question) if texts else []
    assert all(-1e-9 <= score <= 1 + 1e-9 for score in found)


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
    assert fused([0.2], [3.1], 0.3, ["bees"], "bees") == [pytest.approx(1 - 0.7 * search.NEIGHBOURS / 1.14)]
    assert fused([0.2], [0.0], 1) == [1]


SAYINGS = {
    "zh": ["蜂巢在冬天很安静。", "船停在港口。", "面包师早上五点开始工作。"],
    "ja": ["冬の巣は静かです。", "船は港にあります。", "パン屋は朝五時に始めます。"],
    "th": ["รังผึ้งเงียบสงบในฤดูหนาว", "เรืออยู่ในท่าเรือ", "คนทำขนมปังเริ่มงานตอนเช้า"],
    "km": ["សំបុកឃ្មុំស្ងាត់នៅរដូវរងា", "ទូកនៅកំពង់ផែ", "អ្នកដុតនំចាប់ផ្តើមពេលព្រឹក"],
    "ar": ["الخلية هادئة في الشتاء.", "القارب في الميناء.", "يبدأ الخباز العمل صباحا."],
    "hi": ["छत्ता सर्दियों में शांत रहता है।", "नाव बंदरगाह में है।", "बेकर सुबह काम शुरू करता है।"],
}
ASKED = {"zh": "港口", "ja": "港はどこ", "th": "ท่าเรือ", "km": "កំពង់ផែ", "ar": "أين المِينَاء؟", "hi": "बंदरगाह"}


@pytest.mark.parametrize("language", SAYINGS)
def test_words_are_found_in_every_script(language):
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts(SAYINGS[language])
        hits = index.find(ASKED[language], 3, dense_weight=0)
        assert hits[0].passage.text == SAYINGS[language][1]
        assert hits[0].words > 0
        assert [hit.words for hit in hits[1:]] == [0, 0]


def test_a_single_character_of_a_script_without_spaces_is_found_wherever_it_stands():
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts(["水是冷的", "他喝水", "山很高"])
        found = [hit.passage.text for hit in index.find("水", 3, dense_weight=0) if hit.words]
    assert sorted(found) == ["他喝水", "水是冷的"]


def test_texts_with_runs_of_characters_are_removed_from_the_search_with_their_document():
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts(SAYINGS["zh"], ids=["0", "1", "2"])
        index.delete(["1"])
        assert not any(hit.words for hit in index.find("港口", 3, dense_weight=0))


class OfOneLanguage(FakeEmbeddings):
    """Knows texts without Arabic letters."""

    def fluency(self, texts):
        return float(all(letter < "\u0600" for text in texts for letter in text))


def test_meaning_has_no_vote_in_a_language_that_the_model_does_not_know():
    with Index(None, OfOneLanguage()) as index:
        index.add_texts([*SAYINGS["ar"], "The boat lies in the harbour."])
        assert [hit.score for hit in index.find(ASKED["ar"], 4)] == [
            hit.score for hit in index.find(ASKED["ar"], 4, dense_weight=0)
        ]
        assert [hit.score for hit in index.find("harbour", 4)] == [
            hit.score for hit in index.find("harbour", 4, dense_weight=search.DENSE_WEIGHT)
        ]


def test_a_word_is_the_rarer_the_fewer_passages_hold_it():
    with Index(None, FakeEmbeddings()) as index:
        assert index.rarity(["drones"]) == {"drones": pytest.approx(math.log(2))}
        index.add_texts(["drones fly", "queens fly", "workers fly", "the hive stands in the sun"])
        found = index.rarity(["fly", "drones", "wasps", "flying"])
        assert found["wasps"] > found["drones"] > found["fly"] > 0
        assert found["flying"] == found["fly"]  # one stem
        assert found["wasps"] == pytest.approx(math.log(5 / 0.5))
        assert index.rarity([]) == {}
