from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.base.stems import stem
from chainkit.knowledge.readers.plain import sentences, size, stems, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("See e.g. the docs. Then go.", ["See e.g. the docs.", "Then go."]),
        ("Version 3.11 is old. J. Smith agrees.", ["Version 3.11 is old.", "J. Smith agrees."]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("No full stop\n\nNext paragraph", ["No full stop", "Next paragraph"]),
        ("今日は。明日も。", ["今日は。", "明日も。"]),
        ("هل هو هنا؟ نعم.", ["هل هو هنا؟", "نعم."]),
        ("वह आया। वह गया।", ["वह आया।", "वह गया।"]),
        ("It is `a.b`. Yes.", ["It is `a.b`.", "Yes."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_sees_them_end(text, expected):
    assert [text[start:end] for start, end in sentences(text)] == expected


@given(st.text(alphabet=st.sampled_from("ab .!?\n。e.gA\"')`"), max_size=200))
def test_sentences_hold_every_letter_once_and_in_order(text):
    spans = list(sentences(text))
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())


@pytest.mark.parametrize("piece", [".", ". ", "e.g. ", ".\n", '."', "\n ", "A.", "\n", " ", "。", "!\"'"])
def test_sentences_take_time_in_proportion_to_the_text(piece):
    started = time.process_time()
    assert sum(1 for _ in sentences(piece * 20_000)) >= 0
    assert time.process_time() - started < 5


def test_words_without_stop_words_unless_there_is_nothing_else():
    assert words("What is the GGUF format?") == ["gguf", "format"]
    assert words("What is it?") == ["what", "is", "it"]
    assert words("...") == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("provider", "providers"),
        ("stored", "store"),
        ("run", "running"),
        ("libraries", "library"),
        ("\u0648\u0627\u0644\u0643\u062a\u0628", "\u0643\u062a\u0628"),
        ("\u0645\u062f\u064a\u0646\u0629", "\u0627\u0644\u0645\u062f\u064a\u0646\u0647"),
    ],
)
def test_forms_of_a_word_have_one_stem(one, other):
    assert stem(one) == stem(other)


@given(st.text(max_size=30))
def test_stems_never_fail_and_are_never_empty_words(text):
    assert all(stems(text))


def test_size_counts_signs_of_scripts_without_spaces_one_by_one():
    assert size("機械学習") == 4
    assert size("a, b") == 3
    assert size("0.977") == 4
