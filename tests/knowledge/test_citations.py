from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.knowledge.answer.citations import CheckedAnswer, Traced, cited, quote, units, without_numbers
from chainkit.knowledge.readers.split import Passage

TWO = (
    Passage(text="Bees make honey from nectar.\nThey live in hives.", path="bees.md", first_line=3, last_line=4),
    Passage(text="- Wasps make paper.\n- Ants dig.", path="more.md", first_line=9, last_line=10),
)


def clean(text, count=2, step=None):
    checked = CheckedAnswer(count)
    pieces = [text] if step is None else [text[at : at + step] for at in range(0, len(text), step)]
    return "".join(map(checked.feed, pieces)) + checked.end(), checked.removed


@pytest.mark.parametrize(
    ("text", "expected", "removed"),
    [
        ("Honey [1]. Paper [2].", "Honey [1]. Paper [2].", 0),
        ("Honey [3].", "Honey.", 1),
        ("Honey [1, 9] and [9,10].", "Honey [1] and.", 3),
        ("Honey [0][1]", "Honey[1]", 1),
        ("Paper [2], honey [1, 2].", "Paper [1], honey [2][1].", 0),
        ("Range [1-3].", "Range [1][2].", 1),
        ("Code `x[7]` stays, [7] goes.", "Code `x[7]` stays, goes.", 1),
        ("Link [text](url) and [x] and [", "Link [text](url) and [x] and [", 0),
        ("[99999]", "[99999]", 0),
        ("", "", 0),
    ],
)
@pytest.mark.parametrize("step", [None, 1, 3])
def test_citations_of_nothing_are_taken_out_and_counted(text, expected, removed, step):
    assert clean(text, step=step) == (expected, removed)


@given(st.text(alphabet=st.sampled_from("ab [],12-9`\n.")), st.integers(1, 5))
def test_a_stream_is_cleaned_as_the_whole_is(text, step):
    assert clean(text, step=step) == clean(text)
    assert all(1 <= number <= 2 for number in cited(clean(text)[0]))


def test_a_stream_is_held_back_only_while_a_citation_may_come():
    checked = CheckedAnswer(2)
    assert checked.feed("Bees fly") == "Bees fly"
    assert checked.feed(" [") == ""
    assert checked.feed("see") == " [see"


def traced(answer, passages=TWO, step=None):
    found = Traced(passages)
    pieces = [answer] if step is None else [answer[at : at + step] for at in range(0, len(answer), step)]
    return "".join(map(found.feed, pieces)) + found.end(), found


def test_a_citation_quotes_what_supports_the_statement():
    text, found = traced("Their home is a hive [1]. Paper is made by wasps [2].")
    first, second = found.citations()
    assert text == "Their home is a hive [1]. Paper is made by wasps [2]."
    assert (first.quote, first.first_line, first.last_line) == ("They live in hives.", 4, 4)
    assert (second.quote, second.first_line) == ("Wasps make paper.", 9)
    assert str(first) == "[1] bees.md:4"


def test_citations_after_the_full_stop_belong_to_the_sentence_before():
    _, found = traced("They live in hives. [1] Ants dig. [2]")
    assert [citation.quote for citation in found.citations()] == ["They live in hives.", "Ants dig."]


@pytest.mark.parametrize("step", [None, 1, 5])
def test_sentences_that_stand_in_a_passage_are_cited_though_nobody_wrote_a_number(step):
    text, found = traced("Wasps make paper. Bees make honey from nectar! Cats sleep.", step=step)
    assert text == "Wasps make paper. [1] Bees make honey from nectar! [2] Cats sleep."
    assert [citation.path for citation in found.citations()] == ["more.md", "bees.md"]
    assert (found.unsupported, found.supported) == (["Cats sleep."], 2)


def test_a_sentence_that_cites_the_wrong_passage_gets_the_right_one_too():
    text, found = traced("Ants dig [1].")
    assert text == "Ants dig [1]. [2]"
    assert found.citations()[1].quote == "Ants dig."


def test_what_is_in_no_passage_is_told_once_and_what_is_said_again_and_again_is_noticed():
    _, found = traced("Bees make honey from nectar [1]. Elephants dance at night [1]. " + "Cats sleep all day. " * 3)
    assert found.unsupported == ["Elephants dance at night [1].", "Cats sleep all day."]
    assert found.repeated
    assert not traced("Cats sleep. Bees fly. Cats sleep.")[1].repeated


@given(st.text(alphabet=st.sampled_from("ab [],12-9`\n. "), max_size=60), st.integers(1, 5))
def test_a_traced_stream_is_what_the_whole_is(text, step):
    assert traced(text, step=step)[0] == traced(text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", ["One.", "Two."]),
        ("- item one\n- item two\n  goes on\n- three", ["item one", "item two\n  goes on", "three"]),
        ("| a | b |\n| c | d |", ["a | b", "c | d"]),
        ("1. First.", ["1.", "First."]),
        ("a b\nc d\ne f\ng h\ni j.", ["a b\nc d\ne f\ng h\ni j."]),
        ("a b\nc d\ne f\ng h\ni j\nk l.", ["a b", "c d", "e f", "g h", "i j", "k l."]),
        ("a" * 396 + "\nbc.", ["a" * 396 + "\nbc."]),
        ("a" * 397 + "\nbc.", ["a" * 397, "bc."]),
        ("", []),
    ],
)
def test_what_can_be_quoted_on_its_own(text, expected):
    assert [text[start:end] for start, end in units(text)] == expected


@given(st.text(alphabet=st.sampled_from("ab -*|\n.1)"), min_size=1, max_size=80), st.text(max_size=20))
def test_a_quote_stands_in_its_passage(text, statement):
    passage = Passage(text=text, first_line=1, last_line=1 + text.count("\n"))
    found = quote(1, passage, statement)
    lines = text.split("\n")[found.first_line - 1 : found.last_line]
    assert found.quote in "\n".join(lines)


def test_numbers_in_brackets_are_removed_from_prose_and_kept_in_code():
    assert without_numbers("Bees fly.[2][3] They sting[4].") == "Bees fly. They sting."
    assert without_numbers("Bees fly.[2] See `x[1]`.") == "Bees fly.[2] See `x[1]`."
