from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge import Index
from chainkit.knowledge.index import search

VALUES = [None, True, False, 0, 1, 2, -3, 0.1, 1.0, 2.5, "", "1", "a", "Ä", "true", "[1]", "a'b", "\ud800"]
value = st.sampled_from(VALUES)
metadata = st.dictionaries(st.sampled_from(["by", "year", "x.y", "$z", "ä'"]), value, max_size=3)


def lets_through(wanted, about):
    """What a filter promises, said in Python: 1, 1.0 and True are one, text is never a number."""
    return all(
        any(
            one is about.get(name)
            if one is None or about.get(name) is None
            else isinstance(one, str) == isinstance(about[name], str) and one == about[name]
            for one in (given if isinstance(given, list) else [given])
        )
        for name, given in wanted.items()
    )


@pytest.fixture(scope="module")
def index():
    with Index(None, FakeEmbeddings(dimensions=8)) as index:
        yield index


@given(
    abouts=st.lists(metadata, min_size=1, max_size=12),
    wanted=st.dictionaries(st.sampled_from(["by", "year", "x.y", "$z", "ä'"]), value | st.lists(value), max_size=3),
)
def test_a_filter_lets_through_what_a_look_at_each_passage_would(index, abouts, wanted):
    index.delete()
    names = index.add_texts([f"bee {n}" for n in range(len(abouts))], abouts, ids=[f"n{n}" for n in range(len(abouts))])
    expected = {name for name, about in zip(names, abouts, strict=True) if lets_through(wanted, about)}
    assert {hit.passage.path for hit in index.nearest([1] * 8, 20, filter=wanted)} == expected
    assert {hit.passage.path for hit in index.find("bee", 20, filter=wanted)} == expected


def test_paths_are_found_by_file_folder_pattern_and_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["a/b.txt", "a/b.txt.txt", "a/bc/d.txt", "ab/e.txt", "a[1]/f.txt", "a1/g.md"]
    for number, name in enumerate(names):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(f"Bees {number}.", "utf-8")
    with Index(None, FakeEmbeddings()) as index:
        index.add(".")
        index.add_texts(["A bee."], ids=["a"])

        def found(**wanted):
            hits = index.find("bees", 20, filter=wanted)
            paths = [Path(hit.passage.path) for hit in hits]
            return sorted(str(path.relative_to(tmp_path) if path.is_absolute() else path) for path in paths)

        assert found(path="a/b.txt") == ["a/b.txt"]
        assert found(path="a") == ["a", "a/b.txt", "a/b.txt.txt", "a/bc/d.txt"]
        assert found(path="a/") == ["a/b.txt", "a/b.txt.txt", "a/bc/d.txt"]
        assert found(path="*.md") == ["a1/g.md"]
        assert found(path="a[1]") == ["a[1]/f.txt"]
        assert found(path=["ab", "a[1]/*"]) == ["a1/g.md", "ab/e.txt"]
        assert found(path=[]) == []
        assert found(path="a", first_line=[1, 7]) == ["a/b.txt", "a/b.txt.txt", "a/bc/d.txt"]
        assert found(page=None, source="a1") == ["a1/g.md"]
        monkeypatch.chdir("a")
        assert found(path="b.txt") == ["a/b.txt"]


def test_a_filter_that_was_used_before_sees_what_has_changed_since():
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts(["bee one", "bee two"], [{"by": "Ada"}, {"by": "Alan"}], ids=["1", "2"])
        assert [hit.passage.path for hit in index.find("bee", filter={"by": "Ada"})] == ["1"]
        index.add_texts(["bee one", "bee three"], [{"by": "Alan"}, {"by": "Ada"}], ids=["1", "3"])
        assert [hit.passage.path for hit in index.find("bee", filter={"by": "Ada"})] == ["3"]
        index.delete(["3"])
        assert index.find("bee", filter={"by": "Ada"}) == []
        assert index._store._db.all("SELECT name, value, document FROM labels ORDER BY document") == [
            ("by", "Alan", 2),
            ("by", "Alan", 3),
        ]


def test_more_filters_than_are_kept_give_the_same():
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts([f"bee {n}" for n in range(100)], [{"n": n} for n in range(100)])
        for _ in range(2):
            assert all(index.find("bee", filter={"n": n})[0].metadata == {"n": n} for n in range(100))
        assert len(index.find("bee", 2_000, filter={"n": list(range(5_000))})) == 100


@pytest.mark.parametrize("wide", [True, False])
def test_words_count_the_same_with_a_filter_and_without(monkeypatch, wide):
    monkeypatch.setattr("chainkit.knowledge.index.lookup.RANKED", 4 if wide else 2_000)
    texts = [f"{'hive ' * (n % 3)}bee {n}" for n in range(60)]
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts(texts, [{"even": n % 2 == 0} for n in range(60)])
        every = {hit.id: hit.words for hit in index.find("hive bee", 60, dense_weight=0)}
        even = {hit.id: hit.words for hit in index.find("hive bee", 60, dense_weight=0, filter={"even": True})}
    assert even == pytest.approx({number: every[number] for number in every if number % 2})


@pytest.mark.parametrize("wide", [True, False])
def test_frequent_words_find_what_a_filter_lets_through_though_the_rare_ones_are_elsewhere(monkeypatch, wide):
    monkeypatch.setattr(search, "RANKED", 4)
    monkeypatch.setattr("chainkit.knowledge.index.lookup.RANKED", 4 if wide else 2_000)
    texts = ["queen cell"] * 3 + ["cell wall"] * 10 + ["nothing of it"] * 30
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts([f"{text} {n}" for n, text in enumerate(texts)], [{"by": n // 3} for n in range(43)])
        hits = index.find("queen cell", 4, filter={"by": list(range(1, 15))})
    assert hits[0].words > 0
    assert "cell wall" in hits[0].passage.text


def test_a_frequent_word_alone_is_ranked_where_meaning_is_near(monkeypatch):
    monkeypatch.setattr("chainkit.knowledge.index.lookup.RANKED", 8)
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts([f"{'bee ' * (1 + n % 5)}{n}" for n in range(200)])
        near = index.find("bee", 5)
        every = index.find("bee", 5, dense_weight=0)
    assert all(hit.words > 0 for hit in near + every)


@pytest.mark.parametrize("bad", [{"by": {"$gt": 3}}, {"by": [b"x"]}, {"path": 3}, {"by": float("nan")}])
def test_a_filter_that_cannot_be_is_refused(index, bad):
    with pytest.raises(ValueError, match="filter"):
        index.find("bee", filter=bad)


def test_numbers_beyond_sixty_four_bits_are_compared_too():
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts(["bee"], [{"n": 10**30}])
        assert index.find("bee", filter={"n": 10**30})
        assert not index.find("bee", filter={"page": 10**30})


def test_numbers_that_json_cannot_hold_are_refused_or_left_out():
    with Index(None, FakeEmbeddings()) as index:
        with pytest.raises(ValueError, match="JSON"):
            index.add_texts(["bee"], [{"n": float("inf")}])
        index.load([Document("A bee.", metadata={"source": "s", "n": float("nan"), "m": 2.0})])
        assert index.find("bee", filter={"m": 2})[0].metadata == {"source": "s", "m": 2.0}


def test_an_empty_filter_is_none(index):
    index.delete()
    index.add_texts(["bee"])
    assert np.isclose(index.find("bee", filter={})[0].score, index.find("bee")[0].score)
