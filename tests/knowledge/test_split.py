from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.knowledge.readers import markdown
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.plain import size
from chainkit.knowledge.readers.split import WHOLE_FACTOR, Passage, split

from . import samples


def passages(source, **settings):
    return list(split(markdown.blocks(source), path="a.md", **settings))


def test_passages_know_their_headings_lines_and_positions():
    found = passages(samples.BEES)
    assert [(p.headings, p.first_line, p.position) for p in found] == [
        (("Bees",), 3, 0),
        (("Bees", "Winter"), 7, 1),
    ]
    assert found[1].last_line == 23
    assert found[0].place == "a.md:3"
    assert found[1].context.startswith("Bees > Winter\nIn winter")


_LINES = [
    "# a",
    "## b",
    "Some words here. And more of them!",
    "",
    "- item one",
    "| e | f |",
    "|---|---|",
    "```",
    "x = 1",
    "- g",
]


@given(st.lists(st.sampled_from(_LINES), max_size=60), st.integers(10, 60))
def test_a_passage_stands_word_for_word_in_its_lines(lines, target):
    for passage in passages("\n".join(lines), target_tokens=target):
        there = "\n".join(lines[passage.first_line - 1 : passage.last_line])
        if passage.text.count("\n") == passage.last_line - passage.first_line:
            assert passage.text in there
        for line in passage.text.split("\n"):
            assert line in there


@given(st.lists(st.sampled_from(_LINES), max_size=60), st.integers(10, 60))
def test_no_passage_outgrows_its_size_and_no_word_is_lost(lines, target):
    source = "\n".join(lines)
    found = passages(source, target_tokens=target)
    assert all(size(p.text) <= WHOLE_FACTOR * target + 1 for p in found)
    kept = " ".join(p.context for p in found)
    for block in markdown.blocks(source):
        for word in block.text.split():
            assert word in kept


def test_a_long_paragraph_is_cut_between_sentences():
    source = "\n".join(f"Sentence number {n} is about bees and their many ways." for n in range(60))
    found = passages(source)
    assert len(found) > 5
    assert all(p.text.startswith("Sentence") and p.text.endswith("ways.") for p in found)
    assert [p.first_line for p in found][1] == found[0].last_line + 1


def test_code_stays_whole_where_a_paragraph_would_be_cut():
    code = "```\n" + "\n".join(f"value_{n} = {n}" for n in range(20)) + "\n```"
    assert len(passages(code)) == 1


def test_long_code_is_cut_at_blank_lines_or_line_ends():
    code = "\n".join(f"def f{n}():\n    a = {n}\n    return a\n" for n in range(60))
    found = list(split([Block(code, "code", first_line=1, last_line=code.count("\n") + 1)]))
    assert len(found) > 3
    assert all(p.text.startswith("def") and p.text.rstrip().endswith("return a") for p in found)


def test_text_without_any_border_is_still_cut():
    found = list(split([Block("x" * 50_000)]))
    assert all(size(p.text) <= WHOLE_FACTOR * 100 for p in found)
    assert "".join(p.text for p in found) == "x" * 50_000


def test_pages_are_not_mixed():
    found = list(split([Block("Short one.", page=1), Block("Short two.", page=2)], path="a.pdf"))
    assert [(p.text, p.page, p.place) for p in found] == [
        ("Short one.", 1, "a.pdf, page 1"),
        ("Short two.", 2, "a.pdf, page 2"),
    ]


def test_a_heading_without_text_is_not_lost():
    assert [(p.text, p.headings) for p in passages("# A\n\n# B\n\ntext\n\n## C")] == [
        ("A", ()),
        ("text", ("B",)),
        ("C", ("B",)),
    ]


def test_an_introduction_stays_with_what_it_introduces():
    source = "Run this:\n\n" + "```\n" + "\n".join(f"step {n} of the way" for n in range(20)) + "\n```"
    assert len(passages(source)) == 1


def test_a_size_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="target_tokens must be 10 or more, got 3"):
        list(split([], target_tokens=3))


def test_a_passage_knows_the_lines_of_its_parts():
    passage = Passage(text="one\ntwo", first_line=3, last_line=4)
    assert passage.lines(4, 7) == (4, 4)
    assert Passage(text="one two", first_line=3, last_line=4).lines(4, 7) == (3, 4)
    assert Passage(text="x", page=2).lines(0, 1) == (None, None)
