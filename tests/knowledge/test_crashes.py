"""What is left after a kill, and what several processes do to one file."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge import Index

from . import processes

SECONDS = 60


def start(role, *values):
    hear, tell = processes.CONTEXT.Pipe(duplex=False)
    process = processes.CONTEXT.Process(target=role, args=(*values, tell))
    process.start()
    tell.close()
    return process, hear


def contents(file: Path | None, folder: Path | None = None) -> dict[str, list[tuple[int, str, str]]]:
    """The passages of each document, with what their vectors are."""
    with Index(file, FakeEmbeddings(dimensions=64)) as index:
        if folder is not None:
            index.add(folder)
        assert index._store._db.one("PRAGMA integrity_check")[0] == "ok"
        index._store._db.all("INSERT INTO words (words) VALUES ('integrity-check')")
        assert (
            index._store._db.one("SELECT count(*) FROM passages")[0]
            == index._store._db.one("SELECT count(*) FROM vectors")[0]
        )
        rows = index._store._db.all(
            "SELECT d.path, p.position, p.text, hex(v.vector) FROM documents d "
            "LEFT JOIN passages p ON p.document = d.id LEFT JOIN vectors v ON v.id = p.id ORDER BY 1, 2"
        )
    found: dict[str, list[tuple[int, str, str]]] = {}
    for path, *passage in rows:
        found.setdefault(path, []).append(tuple(passage))
    return found


def said(hear):
    """What a process said last, or nothing if it was killed while it spoke."""
    try:
        return hear.recv()
    except EOFError:
        return None


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    chance = random.Random(7)
    for n in range(40):
        text = "".join(f"Paragraph {m} of {n}. {'word ' * 50}\n\n" for m in range(chance.randint(1, 40)))
        (folder / f"{n}.txt").write_text(text, "utf-8")
    return folder


@pytest.mark.slow
def test_fifty_kills_leave_whole_documents_and_indexing_resumes(folder, tmp_path):
    whole = contents(None, folder)
    assert len(whole) == 40
    chance = random.Random(11)
    file = tmp_path / "index.sqlite"
    kills = 0
    sizes = set()
    while kills < 50:
        process, hear = start(processes.index, file, folder)
        assert hear.recv() == "ready"
        time.sleep(chance.uniform(0, 0.4))
        process.kill()
        process.join()
        found = contents(file)
        assert all(whole[path] == passages for path, passages in found.items())
        sizes.add(len(found))
        kills += 1
        if hear.poll() and said(hear) == "done":
            for left in tmp_path.glob("index.sqlite*"):
                left.unlink()
    assert len(sizes) > 5, "the kills came at the same moment each time"
    assert contents(file, folder) == whole


@pytest.mark.slow
def test_two_writers_and_four_readers_lose_nothing(tmp_path):
    file = tmp_path / "index.sqlite"
    Index(file, FakeEmbeddings(dimensions=64)).close()
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    started = [start(processes.write, file, folder, SECONDS) for folder in folders]
    started += [start(processes.read, file, tmp_path, SECONDS) for _ in range(4)]
    turns = [hear.recv() for _, hear in started]
    for process, _ in started:
        process.join()
        assert process.exitcode == 0
    assert min(turns) > 10
    found = contents(file)
    files = {str(path) for folder in folders for path in folder.iterdir()}
    texts = {f"{folder.name}-{turn}" for folder, count in zip(folders, turns[:2], strict=True) for turn in range(count)}
    assert set(found) == files | texts
    for path in files:
        kept = "".join(text for _, text, _ in found[path])
        assert kept.replace(" ", "") == Path(path).read_text("utf-8").replace(" ", "")
