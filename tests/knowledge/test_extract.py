from __future__ import annotations

import math

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge.answer.confidence import (
    FLUENT,
    MOST_LEAD,
    NEAREST,
    THRESHOLD,
    Evidence,
    kind_missing,
    names_missing,
)
from chainkit.knowledge.answer.extract import Extract, extract
from chainkit.knowledge.index.search import Hit
from chainkit.knowledge.readers.split import Passage

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
    assert found.confidence > THRESHOLD
    assert found.text == "Drones are thrown out every autumn. [1]"
    assert found.citations[0].quote == "Drones are thrown out every autumn."


def test_a_question_about_something_else_is_not_answered():
    assert extract("Who painted the Mona Lisa?", HITS, EMBED).confidence < NEAREST


def test_without_passages_nothing_is_found():
    assert extract("When?", [], EMBED) == Extract()
    assert extract("When?", [Hit(Passage(text="One."))], EMBED).confidence < NEAREST


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


def test_numbers_follow_the_order_of_use_and_a_passage_has_one():
    hits = [
        Hit(Passage(text="Wasps build nests from paper.", path="w.md"), score=0.5),
        Hit(Passage(text="Bees build combs of wax. Bees build them in winter.", path="b.md"), score=0.6),
    ]
    found = extract("What do bees build combs of, and when in winter?", hits, EMBED)
    assert found.numbers == (1, 1)
    assert {citation.path for citation in found.citations} == {"b.md"}
    assert found.hits == (1,)


def test_numbers_of_the_document_itself_are_no_citations():
    hit = Hit(Passage(text="Drones are thrown out every autumn.[7]", path="b.md"), score=1.0)
    found = extract("When are drones thrown out?", [hit], EMBED)
    assert found.text == "Drones are thrown out every autumn. [1]"
    assert found.citations[0].quote == "Drones are thrown out every autumn.[7]"


HOW = """Answers come in pieces as they are written:

```python
for piece in tool.stream("Why?"):
    print(piece)
```"""


def test_how_to_do_something_is_answered_with_the_whole_passage_that_shows_it():
    hits = [
        Hit(Passage(text="A stream that is closed early stops the model.", path="a.md"), score=1.0, meaning=0.5),
        Hit(Passage(text=HOW, path="b.md", headings=("Tool", "Stream answers")), score=0.9, meaning=0.6),
    ]
    found = extract("How do I stream answers?", hits, EMBED)
    assert found.sentences == (f"Stream answers\n\n{HOW}",)
    assert found.citations[0].quote == HOW
    assert extract("Who stops the model?", hits, EMBED).citations[0].path == "a.md"


def test_a_text_that_holds_only_the_question_itself_does_not_show_how():
    asks = Hit(Passage(text='```\n$ tool ask "How do I stream answers?"\n```', path="a.md"), score=1.0, meaning=0.9)
    shows = Hit(Passage(text=HOW, path="b.md", headings=("Stream answers",)), score=0.9, meaning=0.8)
    assert extract("How do I stream answers?", [asks, shows], EMBED).citations[0].path == "b.md"


def test_a_row_of_a_markdown_table_is_shown_with_the_names_of_its_columns():
    table = "| option | default |\n|---|---|\n| `colour` | blue |\n| `size` | 12 |"
    found = extract(
        "What is the default of colour?", [Hit(Passage(text=table, path="t.md"), score=1.0)], EMBED, count=1
    )
    assert found.text == "option: `colour`, default: blue [1]"
    assert found.citations[0].quote == "`colour` | blue"


def test_a_sentence_without_the_names_or_the_number_that_is_asked_for_is_less_sure():
    assert names_missing("When did Ada meet Alan?", "Ada met nobody.") == 0.5
    assert kind_missing("How many bees are there?", "There are many bees.") == 1
    assert kind_missing("Who keeps bees?", "Ada keeps bees.") == 0
    assert kind_missing("Wie viele Bienen?", "Es sind zwölf.") == 0
    assert kind_missing("What is the phone number of the hive?", "The hive opens at 8:30 and closes at 17:00.") == 1
    assert kind_missing("What is the phone number of the hive?", "Call 0131 496 0000.") == 0
    assert [kind_missing("How old is Ada?", text) for text in ("Ada came in 1987.", "Ada is 36.")] == [1, 0]
    assert kind_missing("多少蜜蜂", "三万只蜜蜂") == 0


def test_rare_words_of_the_question_decide_where_it_is_known_how_rare_they_are():
    question = "Which drones does the queen like?"
    hits = [Hit(Passage(text="All drones fly."), score=1.0, words=1.0)]
    rare = extract(question, hits, EMBED, rarity={"drones": 5.0, "queen": 0.5, "like": 0.5})
    common = extract(question, hits, EMBED, rarity={"drones": 0.5, "queen": 0.5, "like": 5.0})
    assert rare.confidence > common.confidence


def test_a_lead_over_all_other_passages_counts_up_to_a_point():
    given = {"meaning": 0.5, "coverage": 0.5, "match": 0.5, "names": 0.0, "kind": 0.0}
    leads = [Evidence(lead=lead, **given).confidence for lead in (0.0, 0.2, MOST_LEAD, 2.0)]
    assert leads[0] < leads[1] < leads[2] == leads[3]


def test_in_a_language_that_the_model_knows_in_part_words_count_more_and_meaning_less():
    given = {"lead": 0.1, "match": 0.5, "names": 0.0, "kind": 0.0}

    def change(fluency, **more):
        some = given | {"meaning": 0.4, "coverage": 0.4, "fluency": fluency}
        before, after = Evidence(**some).confidence, Evidence(**some | more).confidence
        return math.log(after / (1 - after)) - math.log(before / (1 - before))

    assert change(0.6, coverage=0.8) > change(1.0, coverage=0.8) > 0
    assert 0 < change(0.6, meaning=0.8) < change(1.0, meaning=0.8)


def test_lower_cosines_are_no_reason_to_refuse_in_such_a_language():
    question = "Welche Drohnen mag die Königin?"
    hits = [Hit(Passage(text="Die Königin mag alle Drohnen."), score=1.0, words=1.0, meaning=0.2)]
    sure = [extract(question, hits, EMBED, fluency=fluency).confidence for fluency in (0.6, FLUENT, 1.0)]
    assert sure[0] > sure[1] == sure[2]
