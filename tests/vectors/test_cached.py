"""Vectors that are kept on disk."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests

import chainkit
from chainkit.backends.fake import FakeEmbeddings
from chainkit.base.errors import BadTexts, BadVectors, IndexFileError
from chainkit.vectors import CachedEmbeddings
from chainkit.vectors.cached import mark_of
from tests.vectors.conftest import Table

VECTORS = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.5, 0.5]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vectors.sqlite"


def test_no_text_is_embedded_twice(path):
    table = Table(VECTORS)
    cached = CachedEmbeddings(table, path, mark="t")
    assert cached.embed_documents(["a", "b", "a"]) == [VECTORS["a"], VECTORS["b"], VECTORS["a"]]
    assert cached.embed_documents(["b", "c"]) == [VECTORS["b"], VECTORS["c"]]
    assert sorted(table.asked) == ["a", "b", "c"]
    assert (cached.hits, cached.misses) == (1, 3)
    again = CachedEmbeddings(Table({}), path, mark="t")
    assert again.embed_documents(["c", "a"]) == [VECTORS["c"], VECTORS["a"]]


def test_questions_and_documents_are_kept_apart(path):
    table = Table(VECTORS)
    cached = CachedEmbeddings(table, path, mark="t")
    cached.embed_documents(["a"])
    cached.embed_query("a")
    cached.embed_query("a")
    assert table.asked == ["a", "a"]


async def test_async_methods_share_the_file(path):
    table = Table(VECTORS)
    cached = CachedEmbeddings(table, path, mark="t")
    assert await cached.aembed_documents(["a", "b"]) == [VECTORS["a"], VECTORS["b"]]
    assert await cached.aembed_query("c") == VECTORS["c"]
    assert cached.embed_documents(["b"]) == [VECTORS["b"]]
    assert cached.embed_query("c") == VECTORS["c"]
    assert table.asked == ["b", "a", "c"] or table.asked == ["a", "b", "c"]


def test_models_in_one_file_do_not_mix(path):
    one = CachedEmbeddings(Table({"a": [1.0]}), path, mark="one")
    two = CachedEmbeddings(Table({"a": [2.0, 3.0]}), path, mark="two")
    assert one.embed_documents(["a"]) == [[1.0]]
    assert two.embed_documents(["a"]) == [[2.0, 3.0]]
    assert one.clear() == 1
    assert two.embed_documents(["a"]) == [[2.0, 3.0]]
    assert two.hits == 1


def test_what_was_done_before_an_interruption_is_kept(path, monkeypatch):
    monkeypatch.setattr("chainkit.vectors.cached._EMBEDDED_AT_ONCE", 2)

    class Breaking(Table):
        def embed_documents(self, texts):
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().embed_documents(texts)

    with pytest.raises(KeyboardInterrupt):
        CachedEmbeddings(Breaking(VECTORS), path, mark="t").embed_documents(["a", "b", "c"])
    table = Table(VECTORS)
    CachedEmbeddings(table, path, mark="t").embed_documents(["a", "b", "c"])
    assert len(table.asked) == 1


def test_threads_share_a_file(path):
    vectors = {f"text {number}": [float(number), 1.0] for number in range(200)}
    found: dict[int, list[list[float]]] = {}

    def work(place: int) -> None:
        found[place] = CachedEmbeddings(Table(vectors), path, mark="t").embed_documents(list(vectors))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[place] == list(vectors.values()) for place in range(4))


def test_the_mark_tells_settings_that_change_vectors_and_no_keys(tmp_path):
    assert mark_of(FakeEmbeddings(dimensions=8)) != mark_of(FakeEmbeddings(dimensions=9))
    model = chainkit.embeddings("openai:text-embedding-3-small", api_key="sk-secret-value", timeout=3)
    other = chainkit.embeddings("openai:text-embedding-3-small", api_key="sk-other", timeout=4)
    assert mark_of(model) == mark_of(other)
    assert "secret" not in mark_of(model)


def test_another_file_in_the_same_place_is_another_model(tmp_path):
    class OnDisk(FakeEmbeddings):
        file: str = ""

    path = tmp_path / "model.gguf"
    path.write_bytes(b"one")
    before = mark_of(OnDisk(file=str(path)))
    path.write_bytes(b"other")
    assert mark_of(OnDisk(file=str(path))) != before


def test_a_model_without_a_mark_must_be_given_one(path):
    with pytest.raises(ValueError, match="does not say which model it is; give a mark"):
        CachedEmbeddings(Table(VECTORS), path)


@pytest.mark.parametrize("made", [[[1.0]], [[1.0, 2.0]] * 3, [[float("nan"), 1.0]] * 2])
def test_wrong_vectors_are_refused_and_not_kept(path, made):
    class Wrong(Embeddings):
        def embed_documents(self, texts):
            return made

        def embed_query(self, text):
            return made[0]

    CachedEmbeddings(Table(VECTORS), path, mark="t").embed_documents(["a"])
    with pytest.raises(BadVectors):
        CachedEmbeddings(Wrong(), path, mark="t").embed_documents(["b", "c"])
    table = Table(VECTORS)
    CachedEmbeddings(table, path, mark="t").embed_documents(["a", "b", "c"])
    assert sorted(table.asked) == ["b", "c"]


def test_things_that_are_no_texts_are_named(path):
    with pytest.raises(BadTexts, match="text 1 is of type int"):
        CachedEmbeddings(Table(VECTORS), path, mark="t").embed_documents(["a", 1])


def test_no_texts_are_no_vectors(path):
    assert CachedEmbeddings(Table(VECTORS), path, mark="t").embed_documents([]) == []


def test_a_file_that_is_no_cache_is_named(path):
    path.write_bytes(b"something else " * 100)
    with pytest.raises(IndexFileError, match="cannot be used to keep vectors in: is not an SQLite file"):
        CachedEmbeddings(Table(VECTORS), path, mark="t").embed_documents(["a"])
    assert path.read_bytes().startswith(b"something else")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IndexFileError, match="cannot be used to keep vectors in"):
        CachedEmbeddings(Table(VECTORS), tmp_path / "file" / "v.sqlite", mark="t").embed_documents(["a"])


def test_a_spec_turns_it_on_for_any_provider(path, monkeypatch, tmp_path):
    monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path / "home"))
    named = chainkit.embeddings(f"fake:?cache={path}")
    assert isinstance(named, CachedEmbeddings)
    assert named.path == path
    usual = chainkit.embeddings("fake:", cache=True)
    assert isinstance(usual, CachedEmbeddings)
    assert usual.path == tmp_path / "home" / "cache" / "vectors.sqlite"
    assert isinstance(chainkit.embeddings("fake:?cache=false"), FakeEmbeddings)
    np.testing.assert_array_equal(named.embed_documents(["x y"]), FakeEmbeddings().embed_documents(["x y"]))
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (1,)


class TestAsLangChainSeesIt(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _fresh(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path))

    @property
    def embeddings_class(self):
        return CachedEmbeddings

    @property
    def embedding_model_params(self):
        return {"embeddings": FakeEmbeddings()}
