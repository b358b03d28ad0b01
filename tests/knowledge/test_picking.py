from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import BaseDocumentCompressor, Document

from chainkit.backends.fake import FakeChat, FakeEmbeddings
from chainkit.base.errors import ContextOverflow
from chainkit.knowledge import Hit, Index, ModelReranker, Passage
from chainkit.knowledge.index.neighbours import MOST_JOINED, joined, supported
from chainkit.knowledge.index.picking import picked
from chainkit.knowledge.index.rerank import numbers


def hit(position, *, path="a.md", headings=(), page=None, score=0.5, lines=1, text=None):
    first = 1 + 2 * position * lines
    text = text or "\n".join(f"Line {first + n}." for n in range(lines))
    passage = Passage(
        text=text,
        path=path,
        headings=headings,
        position=position,
        page=page,
        first_line=first,
        last_line=first + lines - 1,
    )
    return Hit(passage, id=position, score=score, meaning=score)


@given(st.permutations([0, 1, 2, 4, 5, 9]), st.integers(1, 6))
def test_joined_passages_keep_their_lines_whatever_order_they_were_found_in(order, k):
    found = joined([hit(n, score=1 - n / 20, lines=2) for n in order], k)
    assert len(found) <= k
    for one in found:
        passage = one.passage
        assert passage.text.count("\n") == passage.last_line - passage.first_line
        for number, line in enumerate(passage.text.split("\n"), passage.first_line):
            assert line in ("", f"Line {number}.")
        assert 1 <= len(passage.text.split("\n\n")) <= MOST_JOINED
    assert found[0].id in (order[0], order[0] - 1, order[0] + 1, order[0] - 2, order[0] + 2)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.booleans())
def test_neighbours_raise_scores_and_passages_without_them_keep_theirs(scores, alone):
    passages = [hit(2 * n if alone else n).passage for n in range(len(scores))]
    raised = supported(np.array(scores), passages)
    assert all(0 <= score <= 1 for score in raised)
    if alone:
        assert raised.tolist() == scores


def test_of_two_passages_alike_the_one_whose_neighbours_fit_comes_first():
    passages = [hit(n).passage for n in range(3)] + [hit(1, path="b.md").passage]
    raised = supported(np.array([0.5, 0.6, 0.5, 0.6]), passages)
    assert raised[1] > raised[3] == 0.6
    assert raised.argmax() == 1


def test_of_the_same_words_those_among_others_on_the_subject_are_found():
    same = "In the morning the bees drink at the pond."
    around = "Bees come to the pond when they want to drink.", same, "Do the bees drink at the pond at noon?"
    with Index(None, FakeEmbeddings(), target_tokens=10) as index:
        index.load([Document(same, metadata={"source": "alone"})])
        index.load([Document("\n\n".join(around), metadata={"source": "bees"})])
        found = index.find("When do the bees drink at the pond?", 4)
        assert [one.passage.path for one in found if one.passage.text == same] == ["bees"]


@pytest.mark.parametrize(
    "other",
    [hit(1, path="b.md"), hit(1, headings=("Other",)), hit(1, page=2), hit(2), hit(0)],
)
def test_what_does_not_stand_beside_it_stays_apart(other):
    assert joined([hit(0), other], 2) == [hit(0), other]


def test_a_passage_that_joins_two_others_is_put_between_them():
    (found,) = joined([hit(0), hit(2), hit(1, score=0.9)], 3)
    assert found.passage.text == "Line 1.\n\nLine 3.\n\nLine 5."
    assert (found.score, found.passage.first_line, found.passage.last_line) == (0.9, 1, 5)


def test_parts_of_one_line_are_joined_in_one_line():
    halves = [
        Hit(Passage(text=text, position=n, first_line=7, last_line=7))
        for n, text in enumerate(["One half", "the other."])
    ]
    assert joined(halves, 1)[0].passage.text == "One half the other."


def test_a_floor_leaves_out_what_is_too_far():
    hits = [hit(n, score=score) for n, score in enumerate([0.9, 0.2, 0.5])]
    assert [one.id for one in picked(hits, "?", 3, min_similarity=0.5)] == [0, 2]
    with pytest.raises(ValueError, match="between -1 and 1, got 2"):
        picked(hits, "?", 3, min_similarity=2)


class Backwards(BaseDocumentCompressor):
    """Keeps every second document, the last first, with a score, in new objects."""

    scores: bool = True

    def compress_documents(self, documents: Sequence[Document], query, callbacks=None):
        kept = list(documents)[::-2]
        return [
            Document(
                page_content="shortened",
                metadata=one.metadata | ({"relevance_score": 5 - place} if self.scores else {}),
            )
            for place, one in enumerate(kept)
        ]


def test_any_document_compressor_puts_hits_in_order():
    hits = [hit(n, text=f"word{n}") for n in (0, 2, 4, 6)]
    found = picked(hits, "?", 3, reranker=Backwards())
    assert [(one.id, one.score, one.passage.text) for one in found] == [(6, 5.0, "word6"), (2, 4.0, "word2")]
    assert [one.score for one in picked(hits, "?", 3, reranker=Backwards(scores=False))] == [1.0, 0.75]
    assert picked([], "?", 3, reranker=Backwards()) == []


class Inventing(BaseDocumentCompressor):
    def compress_documents(self, documents, query, callbacks=None):
        return [Document(page_content="Made up.")]


def test_a_document_that_was_not_given_is_refused():
    with pytest.raises(ValueError, match="not given"):
        picked([hit(0)], "?", 1, reranker=Inventing())


@given(st.text(max_size=200), st.integers(0, 9))
def test_any_reply_is_an_order(reply, count):
    found = numbers(reply, count)
    assert len(found) == len(set(found))
    assert set(found) <= set(range(1, count + 1))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("3, 1", "cabd"),
        ("I cannot say.", "abcd"),
        ("[4][4] 99 2", "dbac"),
        ("<think>2 or 3?</think>4", "dabc"),
        ("", "abcd"),
    ],
)
def test_a_model_reranks_and_forgets_nothing(reply, expected):
    documents = [Document(page_content=letter, metadata={"n": letter}) for letter in "abcd"]
    found = ModelReranker(model=FakeChat(reply=reply)).compress_documents(documents, "?")
    assert "".join(one.page_content for one in found) == expected
    assert all(one.metadata == {"n": one.page_content} for one in found)


async def test_a_model_reranks_asynchronously_what_fits_into_its_context():
    documents = [Document(page_content=f"{n} " + "word " * 60) for n in range(20)]
    reranker = ModelReranker(model=FakeChat(reply="20, 2"), context_tokens=700)
    found = await reranker.acompress_documents(documents, "?")
    assert [one.page_content.split()[0] for one in itertools.islice(found, 3)] == ["1", "0", "2"]  # 20 was not shown
    assert len(found) == 20
    with pytest.raises(ContextOverflow):
        ModelReranker(model=FakeChat(reply="1"), context_tokens=50).compress_documents(documents, "?")


def test_an_index_reranks_and_joins(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(f"Bee number {n} flies to flower {n}. " * 8 for n in range(6)))
    with Index(None, FakeEmbeddings()) as index:
        index.add(tmp_path)
        whole = index.find("bee flower", 2, join_adjacent=True)
        assert whole[0].passage.last_line > whole[0].passage.first_line
        assert index.find("bee", 1, reranker=ModelReranker(model=FakeChat(reply="2")))[0] != index.find("bee", 1)[0]
