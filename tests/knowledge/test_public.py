from __future__ import annotations

import json

import pytest

from chainkit.backends.fake import FakeEmbeddings
from chainkit.base.errors import DocumentError
from chainkit.knowledge.public import is_public_set, measured, read_public_set

CRANFIELD = """\
.I 1
.T
bees in winter
.A
ada
.B
j. of bees 1, 1958
.W
the cluster of bees keeps warm in winter
.I 2
.T
wasps
.W
wasps hunt flies
  .I is not a field here
"""


def cranfield(folder):
    (folder / "cran.all.1400").write_text(CRANFIELD, "latin-1")
    (folder / "cran.qry").write_text(".I 001\n.W\nhow do bees keep warm\n.I 004\n.W\nwhat do wasps hunt\n")
    (folder / "cranqrel").write_text("1 1 2\n2 2 3 \n2 1 -1\n")
    return folder


def cacm(folder):
    (folder / "cacm.all").write_text(CRANFIELD.replace(".A\n", ".N\n").replace(".B\n", ".X\n"), "latin-1")
    (folder / "query.text").write_text(".I 1\n.W\nhow do bees keep warm\n.N\n 1. x\n.I 2\n.W\nwhat do wasps hunt\n")
    (folder / "qrels.text").write_text("01 0001  0 0\n02 0002 0 0\n")
    return folder


def beir(folder):
    documents = [{"_id": "1", "title": "bees in winter", "text": "the cluster of bees keeps warm in winter"}]
    documents += [{"_id": "2", "title": "", "text": 'wasps "hunt flies'}]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    asked = {"1": "how do bees keep warm", "2": "what do wasps hunt", "3": "never judged"}
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": n, "text": t}) for n, t in asked.items()))
    (folder / "qrels").mkdir()
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n1\t1\t1\n2\t2\t1\n2\t1\t0\n")
    (folder / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\n1\t2\t1\n")
    return folder


def squad(folder):
    asked = [
        ("1", "the cluster of bees keeps warm in winter", "how do bees keep warm"),
        ("2", "wasps hunt flies", "what do wasps hunt"),
    ]
    paragraphs = [{"context": text, "qas": [{"id": n, "question": q, "answers": []}]} for n, text, q in asked]
    paragraphs[0]["qas"].append({"id": "x", "question": "unanswerable", "is_impossible": True})
    (folder / "dev.json").write_text(json.dumps({"version": "2", "data": [{"title": "t", "paragraphs": paragraphs}]}))
    return folder / "dev.json"


@pytest.mark.parametrize("make", [cranfield, cacm, beir, squad])
def test_a_set_is_read_and_measured(tmp_path, make):
    path = make(tmp_path)
    assert is_public_set(path)
    found = read_public_set(path)
    assert list(found.questions.values()) == ["how do bees keep warm", "what do wasps hunt"]
    right = [found.documents[one] for ids in found.right.values() for one in ids]
    assert ["bees" in right[0], "wasps" in right[1], len(right)] == [True, True, 2]
    assert "ada" not in right[0]
    told = []
    rows = measured(found, FakeEmbeddings(), progress=lambda *step: told.append(step))
    assert rows["words"] == {"ndcg": 1.0, "recall": 1.0, "mrr": 1.0}
    assert rows["both"]["recall"] == 1.0
    assert told[-1] == ("asking (both)", 2, 2)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "{"), ("a.json", "[]"), ("a.json", '{"data": [{}]}'), ("folder", None), ("absent.json", None)],
)
def test_what_is_no_set_is_named(tmp_path, name, text):
    if name == "folder":
        (tmp_path / name).mkdir()
    elif text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DocumentError, match=name):
        read_public_set(tmp_path / name)


def test_a_set_without_judgements_is_refused(tmp_path):
    cranfield(tmp_path)
    (tmp_path / "cranqrel").write_text("")
    with pytest.raises(DocumentError, match="no question with a right document"):
        read_public_set(tmp_path)


def test_judgements_as_trec_writes_them_are_read(tmp_path):
    cranfield(tmp_path)
    (tmp_path / "cranqrel").write_text("1 0 1 2\n1 0 2 0\n2 0 2 3\n2 0 1 -1\n")
    assert read_public_set(tmp_path).right == {"1": {"1"}, "2": {"2"}}


def test_a_document_without_text_is_no_fault(tmp_path):
    cranfield(tmp_path)
    (tmp_path / "cran.all.1400").write_text(CRANFIELD + ".I 3\n.T\n.A\n.B\n.W\n", "latin-1")
    found = read_public_set(tmp_path)
    assert found.documents["3"] == ""
    assert measured(found, FakeEmbeddings())["words"]["recall"] == 1
