"""Updates of an index: nothing vanishes, and nothing is embedded that was embedded before."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge import Index

from .test_crashes import contents


class Counting(FakeEmbeddings):
    """Counts the texts that were embedded, without the one that tells the model."""

    seen: list[str] = []

    def embed_array(self, texts):
        self.seen += [text for text in texts if not text.startswith("The quick brown fox")]
        return super().embed_array(texts)


@pytest.fixture
def counting():
    return Counting(dimensions=64, seen=[])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "disk" / "docs"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / f"{name}.md").write_text(
            "".join(f"## Part {n} of {name}\n\nSentence {n} of {name}. {'word ' * 60}\n\n" for n in range(20)), "utf-8"
        )
    return folder


@pytest.fixture
def file(tmp_path):
    return tmp_path / "index.sqlite"


def test_one_changed_passage_embeds_one_passage_and_leaves_what_a_fresh_index_holds(folder, file, counting):
    with Index(file, counting) as index:
        index.add(folder)
        assert len(counting.seen) == 40
        counting.seen.clear()
        text = (folder / "a.md").read_text("utf-8")
        (folder / "a.md").write_text("A new lead.\n\n" + text.replace("Sentence 7", "Phrase 7"), "utf-8")
        index.update()
        assert len(counting.seen) == 2
        assert "A new lead." in counting.seen[0]
        assert "Phrase 7" in counting.seen[1]
    assert contents(file) == contents(None, folder)


def test_renamed_and_moved_documents_embed_nothing(folder, file, counting):
    with Index(file, counting) as index:
        index.add(folder)
        counting.seen.clear()
        (folder / "deep").mkdir()
        (folder / "a.md").rename(folder / "deep" / "z.md")
        (folder / "b.md").rename(folder / "c.md")
        report = index.update()
        assert sorted(report.indexed) == [str(folder / "c.md"), str(folder / "deep" / "z.md")]
        assert sorted(report.removed) == [str(folder / "a.md"), str(folder / "b.md")]
    assert counting.seen == []
    assert contents(file) == contents(None, folder)


def test_a_passage_that_stands_in_many_documents_is_embedded_once_a_batch(folder, counting):
    for n in range(5):
        (folder / f"copy{n}.txt").write_text("The same sentence everywhere.", "utf-8")
    with Index(None, counting) as index:
        index.add([folder / f"copy{n}.txt" for n in range(5)])
        assert len(index) == 5
    assert len(counting.seen) == 1


def test_a_source_folder_that_is_away_keeps_its_documents_and_is_named(folder, file, counting):
    with Index(file, counting) as index:
        index.add([folder, folder.parent / "single.txt"])
        before = contents(file)
        folder.parent.rename(folder.parent.with_name("unplugged"))
        for _ in range(2):
            report = index.update()
            assert report.removed == []
            assert [str(remark) for remark in report.skipped if "kept" in str(remark)] == [
                f"{folder}: there is no such file or folder; its 2 documents are kept"
            ]
        assert contents(file) == before
        folder.parent.with_name("unplugged").rename(folder.parent)
        counting.seen.clear()
        assert len(index.update().unchanged) == 2
        assert counting.seen == []


def test_a_pattern_whose_folder_is_away_keeps_its_documents(folder, file, counting):
    with Index(file, counting) as index:
        index.add(str(folder / "**" / "*.md"))
        folder.rename(folder.with_name("elsewhere"))
        assert index.update().removed == []
        assert len(index.documents) == 2


def test_a_mount_point_without_its_disk_keeps_its_documents(folder, file, counting):
    with Index(file, counting) as index:
        index.add(folder)
        for name in ("a.md", "b.md"):
            (folder / name).unlink()
        index._store.set(f"device of {folder}", -1)
        report = index.update()
        assert report.removed == []
        assert str(report.skipped[0]).endswith("another disk was there before; its 2 documents are kept")
        index._store.set(f"device of {folder}", folder.stat().st_dev)
        assert len(index.update().removed) == 2


def test_a_file_that_was_named_and_deleted_is_removed(folder, file, counting):
    with Index(file, counting) as index:
        index.add([folder / "a.md", folder / "b.md"])
        (folder / "a.md").unlink()
        assert index.update().removed == [str(folder / "a.md")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_for_a_while_keeps_its_version(folder, file, counting):
    with Index(file, counting) as index:
        index.add(folder)
        (folder / "a.md").chmod(0)
        report = index.update()
        assert report.removed == []
        assert "earlier version is kept" in str(report.skipped[0])


def test_a_system_that_fails_to_read_a_file_keeps_its_version(folder, file, counting, monkeypatch):
    with Index(file, counting) as index:
        index.add(folder)
        opened = Path.open

        def failing(path, *args, **kwargs):
            if path == folder / "a.md":
                raise OSError(5, "Input/output error")
            return opened(path, *args, **kwargs)

        monkeypatch.setattr(Path, "open", failing)
        report = index.update()
        assert report.removed == []
        assert [remark.reason for remark in report.skipped] == [
            "cannot be read: input/output error; its earlier version is kept"
        ]
        assert len(index.documents) == 2


def test_a_file_that_cannot_be_read_is_read_once_and_named_each_time(folder, file, counting, monkeypatch):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nonsense")
    with Index(file, counting) as index:
        first = index.add(folder)
        monkeypatch.setattr("chainkit.knowledge.readers.sandbox.answers", None)
        second = index.update()
        assert [str(remark) for remark in first.skipped] == [str(remark) for remark in second.skipped]
        assert second.unchanged == first.indexed
        assert len(index.documents) == 2
        (folder / "broken.pdf").unlink()
        assert index.update().removed == []


def test_links_out_of_the_folder_are_named_and_followed_only_if_asked(folder, file, counting, tmp_path):
    (tmp_path / "secret.txt").write_text("The key is 4711.", "utf-8")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "far.md").write_text("Far away.", "utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "more").symlink_to(tmp_path / "more")
    (folder / "inside.md").symlink_to(folder / "a.md")
    for paths in (folder, str(folder / "**" / "*"), str(folder / "*")):
        with Index(None, counting) as index:
            report = index.add(paths)
            assert not any("4711" in hit.passage.text or "Far" in hit.passage.text for hit in index.find("key", 50))
            assert str(folder / "inside.md") in report.indexed
            assert {Path(remark.path).name for remark in report.skipped if "leads out" in remark.reason} >= {"link.txt"}
    with Index(file, counting, follow_links=True) as index:
        assert len(index.add(folder).indexed) == 5
    with Index(file, counting) as index:
        assert index.update().removed == []
    with Index(file, counting, follow_links=False) as index:
        assert len(index.update().removed) == 2


def test_a_link_that_is_named_is_followed(folder, counting):
    (folder / "named.md").symlink_to(folder.parent / "out.md")
    (folder.parent / "out.md").write_text("Outside.", "utf-8")
    with Index(None, counting) as index:
        assert index.add(folder / "named.md").indexed == [str(folder / "named.md")]


def test_two_updates_at_once_embed_everything_once(folder, file):
    models = [Counting(dimensions=64, seen=[]) for _ in range(3)]
    indexes = [Index(file, model) for model in models]
    threads = [threading.Thread(target=index.add, args=(folder,)) for index in indexes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in indexes:
        index.close()
    assert sum(len(model.seen) for model in models) == 40
    assert contents(file) == contents(None, folder)


def test_an_update_that_waited_does_not_bring_back_what_was_removed_meanwhile(folder, file, counting):
    from chainkit.knowledge.index.exclusive import alone

    told = threading.Event()
    with Index(file, counting) as one, Index(file, counting) as two:
        one.add(folder)
        with alone(one._store, lambda: None):
            thread = threading.Thread(target=two.update, kwargs={"progress": lambda stage, *_: told.set()})
            thread.start()
            assert told.wait(20)
            (folder / "a.md").unlink()
            one._store.remove([str(folder / "a.md")])
        thread.join()
        assert one.documents == two.documents == [str(folder / "b.md")]


def test_half_a_surrogate_is_replaced_wherever_a_text_comes_from(folder, counting):
    from langchain_core.documents import Document

    (folder / "half.jsonl").write_text('{"a": "caf\\ud83d"}\n', "utf-8")
    with Index(None, counting) as index:
        assert index.add(folder / "half.jsonl").skipped == []
        index.add_texts(["bar\ud83d"], ids=["x"])
        index.load([Document("pub\ud83d", metadata={"source": "y"})])
        assert {hit.passage.text for hit in index.find("text", 9)} == {"a: caf\ufffd", "bar\ufffd", "pub\ufffd"}
