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


def changed(folder: Path, chance: random.Random, turn: int) -> None:
    """What people do to a folder between two updates: one word, a new name, a move, a new file, one less."""
    files = sorted(path for path in folder.rglob("*.txt"))
    path = chance.choice(files)
    match turn % 5:
        case 0:
            words = path.read_text("utf-8").split(" ")
            words[chance.randrange(len(words))] = f"changed{turn}"
            path.write_text(" ".join(words), "utf-8")
        case 1:
            path.rename(path.with_name(f"renamed{turn}.txt"))
        case 2:
            (folder / f"deep{turn}").mkdir()
            path.rename(folder / f"deep{turn}" / path.name)
        case 3:
            (folder / f"new{turn}.txt").write_text(f"Sentence of turn {turn}. " * chance.randint(1, 400), "utf-8")
        case _:
            path.unlink()


def versions(found: dict) -> set:
    return {(path, tuple(passages)) for path, passages in found.items()}


def timed(file: Path, folder: Path) -> float:
    """Wall time of an update that is left alone, which is how late a kill may come."""
    process, hear = start(processes.index, file, folder)
    assert hear.recv() == "ready"
    began = time.monotonic()
    assert hear.recv() == "done"
    process.join()
    return time.monotonic() - began


@pytest.mark.slow
def test_a_hundred_kills_while_a_folder_changes_leave_whole_documents_and_updates_go_on(folder, tmp_path):
    chance = random.Random(11)
    file, away = tmp_path / "index.sqlite", tmp_path / "unplugged"
    whole = timed(tmp_path / "other.sqlite", folder)
    known: set = set()
    stored, done = set(), 0
    for turn in range(100):
        if turn % 10 == 0:  # from nothing; the nine that follow are updates
            for left in tmp_path.glob("index.sqlite*"):
                left.unlink()
        else:
            changed(folder, chance, turn)
        known |= versions(contents(None, folder))
        before = contents(file) if turn % 10 == 9 else {}
        if before:
            folder.rename(away)
        process, hear = start(processes.index, file, folder)
        assert hear.recv() == "ready"
        time.sleep(chance.uniform(0, whole))
        process.kill()
        process.join()
        through = bool(hear.poll() and said(hear) == "done")
        done += through
        whole *= 0.9 if through else 1.02  # the machine may be busier than it was, or less
        found = contents(file)
        assert versions(found) <= known, "a document is neither its old self nor its new one"
        stored.add(len(found))
        if before:
            away.rename(folder)
            assert found == before, "documents of a folder that was away are gone"
        if turn % 10 in (4, 9):
            assert contents(file, folder) == contents(None, folder)
    assert len(stored) > 10, "the kills came at the same moment each time"
    assert done < 80, "most updates were through when they were killed"


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
