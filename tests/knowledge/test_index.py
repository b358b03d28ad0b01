from __future__ import annotations

import sqlite3
import threading

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings

from chainkit.backends.fake import FakeEmbeddings
from chainkit.base.errors import BadVectors, BrokenIndex, EmbeddingsMismatch, IndexFileError
from chainkit.knowledge import Index
from chainkit.knowledge.index import indexing
from chainkit.knowledge.index.codes import NOTHING

from . import samples


class Counting(FakeEmbeddings):
    """Counts the texts that were embedded."""

    seen: int = 0

    def embed_array(self, texts):
        self.seen += len(texts)
        return super().embed_array(texts)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "bees.md").write_text(samples.BEES, "utf-8")
    (folder / "gguf.md").write_text(samples.GGUF, "utf-8")
    return folder


@pytest.fixture
def file(tmp_path):
    return tmp_path / "index.sqlite"


def contents(index):
    rows = index._store._db.all(
        "SELECT d.path, p.text FROM passages p JOIN documents d ON d.id = p.document ORDER BY 1, p.id"
    )
    return [tuple(row) for row in rows]


def test_a_question_finds_its_passage_first(folder, file):
    with Index(file, FakeEmbeddings()) as index:
        report = index.add(folder)
        assert len(report.indexed) == 2
        hits = index.find("How many bits does q8_0 take for a weight?", 2)
        assert hits[0].passage.path == str(folder / "gguf.md")
        assert hits[0].passage.headings == ("GGUF files", "Quantization")
        assert (hits[0].passage.first_line, hits[0].passage.last_line) == (7, 8)
        assert hits[0].score >= hits[1].score
        assert hits[0].words > 0


def test_what_has_not_changed_is_not_embedded_again(folder, file):
    with Index(file, Counting()) as index:
        index.add(folder)
    embeddings = Counting()
    with Index(file, embeddings) as index:
        report = index.add(folder)
        assert (len(report.indexed), len(report.unchanged), len(report.removed)) == (0, 2, 0)
        assert embeddings.seen == 0
        (folder / "bees.md").touch()
        assert len(index.add(folder).unchanged) == 2


def test_changed_files_are_replaced_and_missing_ones_removed(folder, file):
    with Index(file, FakeEmbeddings()) as index:
        index.add(folder)
        (folder / "bees.md").write_text("Wasps make paper.", "utf-8")
        (folder / "gguf.md").unlink()
        report = index.add(folder)
        assert report.indexed == [str(folder / "bees.md")]
        assert report.removed == [str(folder / "gguf.md")]
        assert contents(index) == [(str(folder / "bees.md"), "Wasps make paper.")]
        assert [hit.passage.text for hit in index.find("honey")] == ["Wasps make paper."]


def test_the_index_ends_the_same_whichever_way_it_came_about(folder, file, tmp_path):
    with Index(file, FakeEmbeddings()) as index:
        index.add(folder / "bees.md")
        (folder / "new.txt").write_text("New. " * 300, "utf-8")
        index.add(folder)
        (folder / "bees.md").write_text("Changed.", "utf-8")
        index.add(folder)
        with Index(None, FakeEmbeddings()) as fresh:
            fresh.add(folder)
            assert contents(index) == contents(fresh)
            assert index.find("weights", 1)[0].passage == fresh.find("weights", 1)[0].passage
        view, anew = index._lookup._fresh(), NOTHING.refreshed(index._store, (0, 0), 256)
        assert list(view.ids) == [row[0] for row in index._store._db.all("SELECT id FROM vectors ORDER BY id")]
        assert list(view.ids) == list(anew.ids)
        assert np.array_equal(view.codes, anew.codes)
        assert np.array_equal(view.scales, anew.scales)


def test_a_file_that_breaks_is_reported_and_the_rest_goes_on(folder, file):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nonsense")
    (folder / "empty.md").write_text(" \n", "utf-8")
    (folder / "image.txt").write_bytes(b"\0\1\2")
    (folder / "latin.txt").write_bytes("Bücher über Bienen".encode("latin-1"))
    with Index(file, FakeEmbeddings()) as index:
        report = index.add([folder, folder / "nothing.md"])
        reasons = {remark.path.rpartition("/")[2]: remark.reason for remark in report.skipped}
        assert reasons["nothing.md"] == "there is no such file or folder"
        assert reasons["empty.md"] == "holds no text"
        assert reasons["image.txt"] == "is not text (binary data)"
        assert reasons["broken.pdf"].startswith("is not a readable PDF")
        assert len(report.indexed) == 3
        assert [note.reason for note in report.notes] == ["is not valid UTF-8; read as Windows-1252"]
        assert [note.reason for note in index.add(folder).notes] == ["is not valid UTF-8; read as Windows-1252"]


def test_a_document_that_breaks_in_the_middle_leaves_nothing(folder, file, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH_PASSAGES", 4)
    words = "".join(f"Paragraph {n} {'word ' * 60}\n\n" for n in range(40))
    (folder / "a.txt").write_bytes(b"\xff\xfe" + words.encode("utf-16-le") + b"\x00")
    with Index(file, FakeEmbeddings()) as index:
        report = index.add(folder)
        assert [remark.reason for remark in report.skipped] == ["is not valid UTF-16"]
        assert {path for path, _ in contents(index)} == {str(folder / "bees.md"), str(folder / "gguf.md")}
        assert index._store._db.one("SELECT count(*) FROM staged")[0] == 0


def test_a_file_that_has_become_unreadable_is_no_longer_quoted(folder, file):
    with Index(file, FakeEmbeddings()) as index:
        index.add(folder)
        (folder / "bees.md").write_bytes(b"\0")
        report = index.add(folder)
        assert report.removed == [str(folder / "bees.md")]
        assert index.documents == [str(folder / "gguf.md")]


def test_another_model_is_refused_by_what_it_computes(folder, file):
    with Index(file, FakeEmbeddings()) as index:
        index.add(folder)
    with Index(file, FakeEmbeddings(dimensions=64)) as index, pytest.raises(EmbeddingsMismatch, match=r"256 .*\(64"):
        index.find("bees")
    with Index(file, DeterministicFakeEmbedding(size=256)) as index:
        (folder / "new.md").write_text("x", "utf-8")
        with pytest.raises(EmbeddingsMismatch, match="was made with FakeEmbeddings"):
            index.add(folder)


def test_any_langchain_embeddings_will_do(folder):
    with Index(None, DeterministicFakeEmbedding(size=32)) as index:
        index.add(folder)
        assert index.find("winter", 1)[0].passage.headings == ("Bees", "Winter")


class Bad(Embeddings):
    def __init__(self, value):
        self.value = value

    def embed_documents(self, texts):
        return self.value

    def embed_query(self, text):
        return self.value[0]


@pytest.mark.parametrize("value", [[[float("nan"), 1.0]], [[float("inf"), 1.0]], [], [[]], [[1.0], [2.0]]])
def test_vectors_that_are_none_are_refused(folder, value):
    with Index(None, Bad(value)) as index, pytest.raises(BadVectors):
        index.add(folder)


@pytest.mark.parametrize(
    "data", [b"not a database, but long enough to be looked at" * 99, b"SQLite format 3\0" + b"x" * 9999]
)
def test_a_file_that_is_no_index_is_named(file, data):
    file.write_bytes(data)
    with pytest.raises(BrokenIndex, match="is not an index or is damaged"):
        Index(file, FakeEmbeddings())


def test_somebody_elses_database_is_left_alone(file):
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(BrokenIndex, match="SQLite file of something else"):
        Index(file, FakeEmbeddings())


def test_an_index_of_another_version_is_refused(folder, file):
    with Index(file, FakeEmbeddings()) as index:
        index._store._db.write("UPDATE meta SET value = ? WHERE name = 'format'", [("99",)])
    with pytest.raises(BrokenIndex, match="has format 99"):
        Index(file, FakeEmbeddings())


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(IndexFileError, match="there is no such file or folder"):
        Index(tmp_path / "no" / "index.sqlite", FakeEmbeddings())


def test_a_waiting_writer_gives_up_with_a_plain_reason(folder, file, monkeypatch):
    monkeypatch.setattr("chainkit.knowledge.index.database.WAIT_SECONDS", 0.05)
    with Index(file, FakeEmbeddings()) as index:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexFileError, match="another process has been writing"):
            index.add(folder)
        other.execute("ROLLBACK")
        other.close()
        assert len(index.add(folder).indexed) == 2


def test_an_index_sees_what_another_one_writes(folder, file):
    with Index(file, FakeEmbeddings()) as reader, Index(file, FakeEmbeddings()) as writer:
        assert reader.find("bees") == []
        writer.add(folder)
        assert reader.find("winter cluster", 1)[0].passage.first_line == 7
        (folder / "bees.md").unlink()
        writer.add(folder)
        assert {hit.passage.path for hit in reader.find("winter cluster")} == {str(folder / "gguf.md")}


def test_two_indexes_that_add_the_same_file_leave_one_copy(folder, file):
    with Index(file, FakeEmbeddings()) as one, Index(file, FakeEmbeddings()) as two:
        threads = [threading.Thread(target=index.add, args=(folder,)) for index in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({text for _, text in contents(one)}) == len(contents(one)) == len(one)
        assert len(one.documents) == 2


def test_threads_may_add_to_one_index_at_once(tmp_path, file, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH_PASSAGES", 4)
    for n in range(4):
        (tmp_path / f"{n}.txt").write_text("".join(f"Paragraph {m} {'word ' * 60}\n\n" for m in range(20)), "utf-8")
    with Index(file, FakeEmbeddings()) as index:
        calls = [lambda n=n: index.add(tmp_path / f"{n}.txt") for n in range(4)]
        calls += [lambda n=n: index.add_texts([f"text {n} {m}" for m in range(20)]) for n in range(4)]
        threads = [threading.Thread(target=call) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(index) == len({text for _, text in contents(index)}) + 60 == 4 * 20 + 4 * 20
        assert len(index.documents) == 4 + 80


def test_an_update_that_failed_leaves_nothing_behind_for_the_next(folder, file, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH_PASSAGES", 2)

    class Failing(FakeEmbeddings):
        left: int = 3

        def embed_array(self, texts):
            self.left -= 1
            if not self.left:
                raise BadVectors("no more")
            return super().embed_array(texts)

    (folder / "long.txt").write_text("".join(f"Paragraph {m} {'word ' * 60}\n\n" for m in range(20)), "utf-8")
    with Index(file, Failing()) as index:
        with pytest.raises(BadVectors):
            index.add(folder)
        index.update()
        with Index(None, FakeEmbeddings()) as fresh:
            fresh.add(folder)
            assert contents(index) == contents(fresh)


def test_threads_may_share_an_index(folder, file):
    answers = []
    with Index(file, FakeEmbeddings()) as index:
        index.add(folder)
        threads = [threading.Thread(target=lambda: answers.append(index.find("winter", 1))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({answer[0].id for answer in answers}) == 1
    assert len(answers) == 8


def test_progress_counts_files(folder):
    calls = []
    with Index(None, FakeEmbeddings()) as index:
        index.add(folder, progress=lambda *call: calls.append(call))
    assert calls == [("checking", 1, 2), ("checking", 2, 2), ("indexing", 1, 2), ("indexing", 2, 2)]


def test_an_empty_index_or_question_finds_nothing(folder):
    with Index(None, FakeEmbeddings()) as index:
        assert index.find("bees") == []
        index.add(folder)
        assert index.find("  ") == []
        with pytest.raises(ValueError, match="k must be 1 or more, got 0"):
            index.find("bees", 0)


def test_another_passage_size_indexes_anew(folder, file):
    with Index(file, FakeEmbeddings()) as index:
        index.add(folder)
        few = len(index)
    with Index(file, FakeEmbeddings(), target_tokens=15) as index:
        assert len(index.add(folder).indexed) == 2
        assert len(index) > few
