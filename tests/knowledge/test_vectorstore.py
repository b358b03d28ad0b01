from __future__ import annotations

import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from chainkit.backends.fake import FakeEmbeddings
from chainkit.base.errors import DocumentError
from chainkit.knowledge import Index

from . import samples


class TestIndexIsAVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path):
        with Index(tmp_path / "index.sqlite", self.get_embeddings()) as index:
            yield index


class TestIndexInMemoryIsAVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self):
        with Index(None, self.get_embeddings()) as index:
            yield index


@pytest.fixture
def index(tmp_path):
    for name, text in [("a/bees.md", samples.BEES), ("a/gguf.md", samples.GGUF), ("b/wasps.txt", "Wasps like winter.")]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "b" / "paper.pdf").write_bytes(samples.pdf(["Winter one", "Winter two"]))
    with Index(None, FakeEmbeddings()) as index:
        index.add([tmp_path / "a", tmp_path / "b"])
        yield index


def places(hits, folder):
    return sorted({hit.passage.path.removeprefix(f"{folder}/") for hit in hits})


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"path": "a"}, ["a/bees.md", "a/gguf.md"]),
        ({"path": "a/"}, ["a/bees.md", "a/gguf.md"]),
        ({"path": "b/wasps.txt"}, ["b/wasps.txt"]),
        ({"path": "*/*.md"}, ["a/bees.md", "a/gguf.md"]),
        ({"path": ["a/gguf.md", "b/wasps.txt"]}, ["a/gguf.md", "b/wasps.txt"]),
        ({"page": 2}, ["b/paper.pdf"]),
        ({"path": "b", "page": None}, ["b/wasps.txt"]),
        ({"path": "nowhere"}, []),
        ({"path": []}, []),
        ({"year": 2024}, []),
        ({}, ["a/bees.md", "a/gguf.md", "b/paper.pdf", "b/wasps.txt"]),
    ],
)
def test_a_filter_lets_through_what_it_names_and_nothing_else(index, tmp_path, monkeypatch, wanted, found):
    monkeypatch.chdir(tmp_path)
    assert places(index.find("What happens in winter?", 20, filter=wanted), tmp_path) == found
    assert places(index.nearest(FakeEmbeddings().embed_query("winter"), 20, filter=wanted), tmp_path) == found


@pytest.mark.parametrize("wanted", [{"year": {"$gt": 3}}, {"year": object()}, {"path": 3}, {"path": None}])
def test_a_filter_that_cannot_be_meant_is_refused(index, wanted):
    with pytest.raises(ValueError, match="filter"):
        index.find("winter", filter=wanted)


def test_metadata_of_texts_can_be_filtered_whatever_their_names_hold():
    with Index(None, FakeEmbeddings()) as index:
        odd = 'ye"ar.[0]'
        index.add_texts(["bees one", "bees two", "bees three"], [{odd: 1}, {odd: 2}, {odd: None, "ok": True}])
        assert [hit.passage.text for hit in index.find("bees", filter={odd: 2})] == ["bees two"]
        assert [hit.passage.text for hit in index.find("bees", filter={odd: None})] == ["bees three"]
        assert [hit.passage.text for hit in index.find("bees", filter={"ok": True})] == ["bees three"]


def test_the_retriever_finds_by_meaning_and_words(index):
    retriever = index.as_retriever(search_kwargs={"k": 2, "filter": {"page": [1, 2]}})
    found = retriever.invoke("Winter two")
    assert [document.metadata["page"] for document in found] == [2, 1]
    assert found[0].page_content == "Winter two"
    assert index.get_by_ids([found[0].id]) == [found[0]]


@pytest.mark.parametrize("kind", ["similarity", "mmr"])
def test_langchains_own_retrievers_work_too(index, kind):
    assert len(index.as_retriever(search_type=kind, search_kwargs={"k": 2}).invoke("winter")) == 2


async def test_the_retriever_works_asynchronously(index):
    assert (await index.as_retriever().ainvoke("Winter two"))[0].metadata["page"] == 2


def test_mmr_prefers_what_is_different():
    with Index(None, FakeEmbeddings()) as index:
        index.add_texts(["red bees fly", "red bees fly high", "blue wasps fly"])
        found = index.max_marginal_relevance_search("red bees fly", k=2, lambda_mult=0.1)
        assert [document.page_content for document in found] == ["red bees fly", "blue wasps fly"]


def test_texts_stay_when_files_are_updated(index, tmp_path):
    index.add_documents([Document("A note on hornets", id="note", metadata={"by": "Ada"})])
    (tmp_path / "b" / "wasps.txt").unlink()
    index.update()
    assert index.get_by_ids(["note"])[0].metadata == {"by": "Ada"}
    assert index.find("hornets", 1)[0].metadata == {"by": "Ada"}
    assert index.delete(["note"])
    assert not index.delete(["note"])
    assert index.get_by_ids(["note"]) == []


def test_deleting_texts_leaves_files_alone(index):
    index.add_texts(["a note"], ids=["note"])
    before = index.documents
    assert index.delete([*before])
    assert index.documents == [path for path in before if path != "note"]


@pytest.mark.parametrize(
    ("texts", "settings", "reason"),
    [
        (["a"], {"ids": ["1", "2"]}, "1 texts, 1 metadata and 2 ids"),
        (["a", "b"], {"ids": ["1", "1"]}, "contain a duplicate"),
        (["a"], {"metadatas": [{}, {}]}, "1 texts, 2 metadata"),
        (["a"], {"metadatas": [{"x": object()}]}, "JSON"),
    ],
)
def test_texts_that_cannot_be_stored_leave_nothing(texts, settings, reason):
    with Index(None, FakeEmbeddings()) as index:
        with pytest.raises(ValueError, match=reason):
            index.add_texts(texts, **settings)
        assert len(index) == 0
        index.add_texts(["fine"])
        assert len(index) == 1


def test_sources_are_followed_until_they_are_removed(index, tmp_path):
    assert index.sources == [str(tmp_path / "a"), str(tmp_path / "b")]
    (tmp_path / "a" / "new.md").write_text("Hornets.", "utf-8")
    assert index.update().indexed == [str(tmp_path / "a" / "new.md")]
    report = index.remove(tmp_path / "a")
    assert len(report.removed) == 3
    assert places(index.find("winter", 20), tmp_path) == ["b/paper.pdf", "b/wasps.txt"]
    with pytest.raises(DocumentError, match="is not a source of this index"):
        index.remove(tmp_path / "a")


def test_opening_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(DocumentError, match="there is no such index"):
        Index.open(tmp_path / "no.sqlite", FakeEmbeddings())
    Index(tmp_path / "yes.sqlite", FakeEmbeddings()).close()
    Index.open(tmp_path / "yes.sqlite", FakeEmbeddings()).close()


def test_from_documents_makes_an_index(tmp_path):
    made = Index.from_documents([Document("bees")], FakeEmbeddings(), path=tmp_path / "i.sqlite")
    made.close()
    with Index.open(tmp_path / "i.sqlite", FakeEmbeddings()) as index:
        assert index.find("bees")[0].passage.text == "bees"
