from __future__ import annotations

import sqlite3

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from chainkit.backends.fake import FakeChat, FakeEmbeddings
from chainkit.base.errors import MissingLibrary, SpecError, Unsupported
from chainkit.knowledge import Conversation, Index, Question, VectorStoreIndex, ask, evaluate
from chainkit.knowledge.index import copying
from chainkit.knowledge.index.copying import Carried
from chainkit.knowledge.index.store_urls import open_store, without_password

from . import samples


class Counting(FakeEmbeddings):
    seen: int = 0

    def embed_documents(self, texts):
        self.seen += len(texts)
        return super().embed_documents(texts)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "bees.md").write_text(samples.BEES, "utf-8")
    (folder / "gguf.md").write_text(samples.GGUF, "utf-8")
    return folder


@pytest.fixture
def index(tmp_path, folder):
    with Index(tmp_path / "index.sqlite", FakeEmbeddings()) as index:
        index.add(folder)
        yield index


@pytest.fixture(params=["memory", "qdrant"])
def moved(request, index, tmp_path):
    """The index in another store, opened there."""
    if request.param == "memory":
        embeddings = Counting()
        store = InMemoryVectorStore(Carried(embeddings))
        assert index.copy_to(store).sent == len(index)
        assert embeddings.seen == 0  # vectors were carried over
        yield VectorStoreIndex(store, embeddings)
        return
    pytest.importorskip("langchain_qdrant")
    spec = f"qdrant://{tmp_path}/qdrant?collection=notes"
    assert index.copy_to(spec).sent == len(index)
    with Index.open(spec, FakeEmbeddings()) as opened:
        yield opened


def test_a_store_finds_what_the_index_finds(index, moved):
    for question in ("How many bits does q8_0 take for a weight?", "When are drones thrown out?"):
        ours, theirs = index.find(question, 3), moved.find(question, 3)
        assert theirs[0].passage == ours[0].passage
        assert theirs[0].meaning == pytest.approx(ours[0].meaning, abs=1e-5)
    assert moved.find(" ") == []
    with pytest.raises(ValueError, match="k must be 1 or more"):
        moved.find("?", 0)
    with pytest.raises(ValueError, match="dense_weight"):
        moved.find("?", dense_weight=2)


def test_a_store_is_asked_like_an_index(moved, folder):
    answer = ask("When are drones thrown out?", moved, model=FakeChat(reply="In autumn [1]."))
    assert answer.citations[0].path == str(folder / "bees.md")
    assert answer.citations[0].first_line == 10
    assert ask("When are drones thrown out?", moved).answered
    assert Conversation(moved).ask("When are drones thrown out?").answered
    place = Question(question="When are drones thrown out?", places=("bees.md:10",))
    assert evaluate([place], moved).recall == 1.0
    found = moved.as_retriever(search_kwargs={"k": 1}).invoke("When are drones thrown out?")
    assert "Drones" in found[0].page_content


def test_qdrant_filters_by_what_is_stored_beside_a_passage(index, tmp_path, folder):
    pytest.importorskip("langchain_qdrant")
    index.add_texts(["Hornets hunt bees."], [{"by": "Ada"}], ids=["note"])
    spec = f"qdrant://{tmp_path}/qdrant"
    index.copy_to(spec)
    with Index.open(spec, FakeEmbeddings()) as opened:
        assert [hit.passage.path for hit in opened.find("bees", 9, filter={"by": "Ada"})] == ["note"]
        path = str(folder / "gguf.md")
        assert {hit.passage.path for hit in opened.find("bees", 9, filter={"path": [path, "none"]})} == {path}
        assert {hit.passage.first_line for hit in opened.find("bees", 9, filter={"first_line": 7})} == {7}


def test_a_second_copy_sends_only_what_has_changed(index, folder):
    embeddings = Counting()
    store = InMemoryVectorStore(Carried(embeddings))
    first = index.copy_to(store)
    assert (first.sent, first.kept, first.removed) == (len(index), 0, 0)
    (folder / "bees.md").write_text(samples.BEES + "\n## More\n\nHornets hunt bees.\n", "utf-8")
    (folder / "gguf.md").unlink()
    index.update()
    told = []
    second = index.copy_to(store, progress=lambda *step: told.append(step))
    assert second.sent == 1
    assert second.removed == 2
    assert second.kept + second.sent == len(index) == len(store.store)
    assert told == [("copying", 1, 1)]
    assert embeddings.seen == 0
    assert index.copy_to(store).sent == 0


def test_a_copy_that_was_interrupted_goes_on(index, monkeypatch):
    monkeypatch.setattr(copying, "BATCH", 2)
    store = InMemoryVectorStore(Carried(FakeEmbeddings()))

    def interrupt(stage, done, total):
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.copy_to(store, progress=interrupt)
    assert len(store.store) == 4
    again = index.copy_to(store)
    assert (again.kept, again.sent) == (4, len(index) - 4)
    store.store.clear()  # somebody emptied it
    assert index.copy_to(store).sent == len(index) == len(store.store)


class Stubborn(InMemoryVectorStore):
    def delete(self, ids=None, **kwargs):
        return False

    def get_by_ids(self, ids, /):
        raise NotImplementedError


def test_a_store_that_removes_nothing_is_named(index, folder):
    store = Stubborn(Carried(FakeEmbeddings()))
    index.copy_to(store)
    (folder / "gguf.md").unlink()
    index.update()
    with pytest.raises(Unsupported, match="Stubborn does not remove passages"):
        index.copy_to(store)


def test_a_store_with_embeddings_of_its_own_is_not_copied_to(index):
    with pytest.raises(ValueError, match="Carried"):
        index.copy_to(InMemoryVectorStore(FakeEmbeddings()))


def test_documents_of_others_are_cited_by_their_source():
    store = InMemoryVectorStore(FakeEmbeddings())
    store.add_documents(
        [Document("Bees fly.", metadata={"source": "bees.txt", "page": 0}), Document("Wasps sting.", id="w")]
    )
    with VectorStoreIndex(store) as index:
        places = {hit.passage.place for hit in index.find("bees", 2)}
    assert places == {"bees.txt", "w"}


class Distances(InMemoryVectorStore):
    """Scores as pgvector and Chroma give them."""

    def similarity_search_with_score(self, query, k=4, **kwargs):
        return [(document, 1 - score) for document, score in super().similarity_search_with_score(query, k, **kwargs)]


def test_distances_are_told_from_cosines():
    store = Distances(FakeEmbeddings())
    store.add_texts(["Bees fly to flowers.", "Wasps sting.", "Flowers."])
    hits = VectorStoreIndex(store).find("Bees fly to flowers.", 3, dense_weight=1)
    assert hits[0].meaning == pytest.approx(1, abs=1e-5)
    assert [hit.meaning for hit in hits] == sorted((hit.meaning for hit in hits), reverse=True)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("qdrnt://host/x", "did you mean 'qdrant'"),
        ("milvus://host/x", "known stores: qdrant, postgresql"),
        ("qdrant://", "neither a host nor a folder"),
        ("qdrant://localhost:9", "names no collection"),
        ("qdrant://localhost:9/a/b", "names no collection"),
        ("qdrant://localhost:9/a?key=1", "not known: key"),
    ],
)
def test_a_string_that_names_no_store_is_refused(spec, reason):
    pytest.importorskip("langchain_qdrant")
    with pytest.raises(SpecError, match=reason):
        open_store(spec, FakeEmbeddings())


def test_a_collection_that_is_not_there_is_named_and_not_made(tmp_path):
    pytest.importorskip("langchain_qdrant")
    for _ in range(2):
        with pytest.raises(SpecError, match="there is no collection 'notes'"):
            Index.open(f"qdrant://{tmp_path}/q?collection=notes", FakeEmbeddings())


def test_a_folder_of_qdrant_leaves_no_connection_open(index, tmp_path, monkeypatch):
    persistence = pytest.importorskip("qdrant_client.local.persistence").CollectionPersistence
    monkeypatch.setattr(persistence, "CHECK_SAME_THREAD", None)  # as in a process that has used none
    opened, connect = [], sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **options: opened.append(connect(*args, **options)) or opened[-1]
    )
    assert index.copy_to(f"qdrant://{tmp_path}/q?collection=notes").sent == len(index)
    assert opened
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            connection.execute("SELECT 1")


def test_a_missing_package_names_its_extra(monkeypatch):
    for module in ("langchain_qdrant", "langchain_postgres"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    for scheme, extra in (("qdrant", "qdrant"), ("postgresql", "postgres")):
        with pytest.raises(MissingLibrary, match=rf"chainkit\[{extra}\]"):
            open_store(f"{scheme}://host/x", FakeEmbeddings())


def test_a_password_is_not_kept():
    assert without_password("postgresql://a:b@h:5/d?collection=c") == "postgresql://a@h:5/d?collection=c"
    assert without_password("qdrant:///tmp/x?collection=c") == "qdrant:///tmp/x?collection=c"
