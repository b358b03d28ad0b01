from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from chainkit.backends.fake import FakeChat, FakeEmbeddings
from chainkit.base.errors import DocumentError
from chainkit.knowledge import Index, Question, evaluate, read_questions
from chainkit.knowledge.evaluation import as_json, confidence_curve, exact, f1, ndcg, recall, reciprocal_rank

from . import samples


@given(st.lists(st.booleans(), min_size=2, max_size=10).filter(any))
def test_ndcg_agrees_with_scikit_learn(right):
    names = [str(n) for n in range(len(right))]
    wanted = {name for name, good in zip(names, right, strict=True) if good}
    falling = np.arange(len(right), 0, -1)
    assert ndcg(names, wanted) == pytest.approx(ndcg_score([np.array(right, float)], [falling]))


def test_rank_metrics_by_hand():
    assert recall(["a", "b", "c"], {"a", "x"}) == 0.5
    assert reciprocal_rank(["a", "b", "c"], {"c"}) == pytest.approx(1 / 3)
    assert reciprocal_rank([], {"c"}) == ndcg([], {"c"}) == 0
    assert ndcg(["a", "a"], {"a"}) == 1


@pytest.mark.parametrize(
    ("given_", "right", "same", "score"),
    [
        ("The Hive [1].", "hive", True, 1),
        ("in a hive", "hive", False, 2 / 3),
        ("wax", "hive", False, 0),
        ("", "", True, 1),
    ],
)
def test_answers_are_compared_as_squad_does(given_, right, same, score):
    assert exact(given_, right) == same
    assert f1(given_, right) == pytest.approx(score)


@pytest.fixture
def index(tmp_path):
    (tmp_path / "bees.md").write_text(samples.BEES, "utf-8")
    (tmp_path / "gguf.md").write_text(samples.GGUF, "utf-8")
    with Index(None, FakeEmbeddings()) as index:
        index.add(tmp_path)
        yield index


def test_scores_of_right_and_wrong_answers(index):
    questions = [
        Question(
            question="What bits does the q8_0 type take for every weight?", places=("gguf.md:7",), answer="Eight bits"
        ),
        Question(question="What is a GGUF file?", places=("bees.md",), answer="weights"),
        Question(question="What is the moon made of?", answerable=False),
    ]
    scores = evaluate(questions, index, model=FakeChat(reply="Eight bits [1]."), k=1)
    assert (scores.questions, scores.recall, scores.ndcg, scores.reciprocal_rank) == (3, 0.5, 0.5, 0.5)
    assert (scores.exact, scores.citation_precision) == (0.5, 0.5)
    assert (scores.refused, scores.wrongly_refused) == (1, 0.5)  # what no passage supports is not an answer
    refusing = evaluate(questions, index, model=FakeChat(reply="I don't know."))
    assert (refusing.refused, refusing.wrongly_refused, refusing.citation_precision) == (1, 1, None)
    assert "recall               0.500" in str(scores)
    assert json.loads(as_json(scores))["exact"] == 0.5


def test_the_curve_tells_what_each_threshold_refuses():
    curve = confidence_curve([(0.95, True), (0.55, True), (0.25, False), (0.65, False)])
    assert [one.confidence for one in curve] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert [one.refused for one in curve] == [0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1]
    assert [one.wrongly_refused for one in curve] == [0, 0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5]
    assert confidence_curve([(0.5, True)])[0].refused is None


def test_no_questions_give_no_scores(index):
    assert evaluate([], index).recall is None


def test_questions_come_from_json_lines(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"question": "Why?", "places": ["a.md:3"], "answer": "So."}\n\n{"question": "No?", "answerable": false}\n'
    )
    assert read_questions(path) == [
        Question(question="Why?", places=("a.md:3",), answer="So."),
        Question(question="No?", answerable=False),
    ]


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"question": "a", "places": "b"}', '{"question": "a", "odd": 1}'])
def test_a_line_that_is_no_question_is_named(tmp_path, line):
    (tmp_path / "q.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(DocumentError, match="line 2 is not a question"):
        read_questions(tmp_path / "q.jsonl")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DocumentError, match="no such file"):
        read_questions(tmp_path / "no.jsonl")
