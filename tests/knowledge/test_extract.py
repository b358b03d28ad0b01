from __future__ import annotations

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge.answer.extract import extract
from chainkit.knowledge.index.search import Hit
from chainkit.knowledge.index.split import Passage

EMBED = FakeEmbeddings().embed_array
TEXT = (
    "A colony forms a cluster around the queen in winter. Drones are thrown out every autumn. Bees like clover flowers."
)
HITS = [
    Hit(Passage(text=TEXT, path="bees.md", headings=("Bees",), first_line=1, last_line=1), score=1.0),
    Hit(Passage(text="Wasps build their nests from paper.", path="wasps.md", first_line=2, last_line=2), score=0.2),
]


def test_the_sentence_that_answers_is_picked_and_cited():
    found = extract("When are drones thrown out?", HITS, EMBED)
    assert found.found
    assert found.text == "Drones are thrown out every autumn. [1]"
    assert found.citations[0].quote == "Drones are thrown out every autumn."


def test_a_question_about_something_else_is_not_answered():
    assert not extract("Who painted the Mona Lisa?", HITS, EMBED).found


def test_without_passages_nothing_is_found():
    assert not extract("When?", [], EMBED).found
    assert not extract("When?", [Hit(Passage(text="One."))], EMBED).found


def test_the_same_statement_is_not_given_twice():
    hits = [HITS[0], Hit(Passage(text="Drones are thrown out every autumn!"), score=0.9)]
    assert extract("When are drones thrown out?", hits, EMBED).text.count("Drones") == 1


def test_a_sentence_over_two_lines_is_shown_on_one_and_quoted_as_it_stands():
    hit = Hit(Passage(text="Drones are thrown\nout every autumn.", first_line=5, last_line=6))
    found = extract("When are drones thrown out?", [hit], EMBED)
    assert found.text == "Drones are thrown out every autumn. [1]"
    assert found.citations[0].quote == "Drones are thrown\nout every autumn."
    assert (found.citations[0].first_line, found.citations[0].last_line) == (5, 6)


def test_a_sentence_that_ends_with_a_colon_brings_what_it_introduces():
    hit = Hit(Passage(text="Install it from a clone:\n\n```\n$ pip install .\n```"))
    assert "pip install ." in extract("How do I install from a clone?", [hit], EMBED).text


def test_a_short_sentence_can_be_the_answer():
    hit = Hit(Passage(text="This tree bears red apples in autumn. It was planted in 1912."), score=1.0)
    assert extract("When was it planted?", [hit], EMBED).text.startswith("It was planted in 1912. [1]")


def test_a_block_of_code_is_no_answer_by_itself():
    hit = Hit(
        Passage(text="```console\n$ tool ask 'When are drones thrown out?'\n```\n\nDrones leave the hive in autumn.")
    )
    assert "tool ask" not in extract("When are drones thrown out?", [hit], EMBED).text


def test_a_row_of_a_table_is_quoted_alone():
    rows = "name: Ada, keeps: bees, town: Ulm\nname: Alan, keeps: wasps\nkeeps: hornets, town: Bath"
    hit = Hit(Passage(text=rows, path="people.csv", first_line=1, last_line=3), score=1.0)
    found = extract("Who keeps wasps?", [hit], EMBED, count=1)
    assert found.text == "name: Alan, keeps: wasps [1]"
    assert (found.citations[0].first_line, found.citations[0].last_line) == (2, 2)
