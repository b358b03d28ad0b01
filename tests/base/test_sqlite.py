"""Files of SQLite: private, ours or left alone, renamed when damaged, swept when full; and the five that use this."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chainkit.backends.fake import FakeEmbeddings
from chainkit.base.errors import BrokenIndex, ChainkitError, IndexFileError, LogFileError
from chainkit.base.sqlite import FileLayout, ForeignFile, KeyValueFile, cache_layout, connect, set_aside, transaction
from chainkit.chains.kept import KeptResults
from chainkit.knowledge.index.database import Database
from chainkit.observe import log
from chainkit.observe.step import Step
from chainkit.programs.model.cache import Results, _opened
from chainkit.vectors import CachedEmbeddings

LAYOUT = FileLayout(
    700, "CREATE TABLE IF NOT EXISTS things (name TEXT);\nCREATE TABLE IF NOT EXISTS more (n INTEGER);", "things"
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def a_foreign_database(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE letters (text TEXT)")
        base.execute("INSERT INTO letters VALUES ('dear')")
    base.close()
    return path.read_bytes()


def damage(path: Path) -> None:
    """Break every page but the first 100 bytes, which say whose file it is."""
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\xa5" * (len(data) - 100))


def test_a_new_file_has_its_tables_and_only_its_user_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.sqlite"
    base = connect(path, LAYOUT)
    base.execute("INSERT INTO things VALUES ('one')")
    assert [mode(one) for one in sorted(path.parent.iterdir())] == [0o600] * 3  # with -wal and -shm
    base.close()
    again = connect(path, LAYOUT)
    assert again.execute("SELECT name FROM things").fetchall() == [("one",)]
    assert again.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    again.close()


@pytest.mark.parametrize("make", [True, False])
def test_a_database_of_something_else_is_not_touched(tmp_path: Path, make: bool) -> None:
    path = tmp_path / "letters.sqlite"
    before = a_foreign_database(path)
    with pytest.raises(ForeignFile):
        connect(path, LAYOUT, make=make)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["letters.sqlite"]


def test_one_kind_of_ours_is_not_another(tmp_path: Path) -> None:
    connect(tmp_path / "a", cache_layout(701)).close()
    with pytest.raises(ForeignFile):
        connect(tmp_path / "a", cache_layout(702))


def test_a_file_without_an_id_is_known_by_its_table(tmp_path: Path) -> None:
    path = tmp_path / "old"
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE things (name TEXT)")
    base.close()
    base = connect(path, LAYOUT)
    assert base.execute("PRAGMA application_id").fetchone() == (LAYOUT.application_id,)
    assert base.execute("SELECT count(*) FROM more").fetchone() == (0,)
    base.close()


def test_only_a_damaged_file_of_ours_is_renamed(tmp_path: Path) -> None:
    ours, text, foreign = tmp_path / "ours", tmp_path / "notes.txt", tmp_path / "letters"
    connect(ours, LAYOUT).close()
    damage(ours)
    text.write_text("do not lose me\n")
    a_foreign_database(foreign)
    damage(foreign)
    assert set_aside(text, LAYOUT) is None
    assert set_aside(foreign, LAYOUT) is None
    aside = set_aside(ours, LAYOUT)
    assert aside is not None
    assert aside.read_bytes().endswith(b"\xa5")
    assert not ours.exists()
    assert text.read_text("utf-8") == "do not lose me\n"


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    base = connect(tmp_path / "a", LAYOUT)
    with contextlib.suppress(ZeroDivisionError), transaction(base):
        base.execute("INSERT INTO things VALUES ('one')")
        print(1 / 0)
    assert base.execute("SELECT count(*) FROM things").fetchone() == (0,)
    with transaction(base):
        base.execute("INSERT INTO things VALUES ('two')")
    assert base.execute("SELECT count(*) FROM things").fetchone() == (1,)
    base.close()


def test_a_cache_drops_the_oldest_first(tmp_path: Path) -> None:
    cache = KeyValueFile(tmp_path / "c", 703, limit=40_000)
    for number in range(1024):
        cache.put(str(number).encode(), bytes(100))
    assert cache.get(b"0") is None
    assert cache.get(b"1023") == bytes(100)
    assert len(cache) <= 400
    cache.drop(b"1023")
    assert cache.get(b"1023") is None
    cache.clear()
    assert len(cache) == 0
    cache.close()


FILES = 150


def test_processes_that_make_one_file_at_once_share_it(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    together, faults = spawn.Barrier(4), spawn.Queue()
    several = [spawn.Process(target=_make_files, args=(tmp_path, name, together, faults)) for name in "abcd"]
    for one in several:
        one.start()
    assert [faults.get(timeout=120) for _ in several] == [[]] * 4
    for one in several:
        one.join()
    for number in range(FILES):
        cache = KeyValueFile(tmp_path / str(number), 704)
        assert len(cache) == 4
        cache.close()


def _make_files(folder: Path, name: str, together: Any, faults: Any) -> None:
    seen: list[str] = []
    for number in range(FILES):
        together.wait()
        try:
            cache = KeyValueFile(folder / str(number), 704)
            cache.put(name.encode(), b"x")
            cache.close()
        except sqlite3.Error as error:
            seen.append(repr(error))
    faults.put(seen)


STEP = Step(
    id="1", name="n", kind="chain", started=datetime.now(UTC), seconds=0.0, inputs={}, output="", messages=(), answer=""
)  # fmt: skip


def _vectors(path: Path) -> None:
    CachedEmbeddings(FakeEmbeddings(), path).embed_documents(["a"])


USES: dict[str, tuple[Callable[[Path], object], type[Exception] | None]] = {
    "index": (lambda path: Database(path).close(), BrokenIndex),
    "vectors": (_vectors, IndexFileError),
    "kept": (lambda path: KeptResults(path).close(), ChainkitError),
    "log": (lambda path: log.write(path, [STEP]), LogFileError),
    "programs": (lambda path: _opened(path, 0), None),
}


@pytest.mark.parametrize("store", USES)
class TestTheFiveStores:
    @pytest.fixture(autouse=True)
    def _forget(self) -> None:
        _opened.cache_clear()

    def test_make_files_that_only_their_user_may_read(self, store: str, tmp_path: Path) -> None:
        USES[store][0](tmp_path / "file")
        assert {mode(path) for path in tmp_path.iterdir()} == {0o600}

    @pytest.mark.parametrize("kind", ["text", "database"])
    def test_leave_the_file_of_someone_else_as_it_is(self, store: str, kind: str, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        before = a_foreign_database(path) if kind == "database" else b"do not lose me\n" * 100
        path.write_bytes(before)
        use, error = USES[store]
        if error is None:
            assert use(path) is None
        else:
            with pytest.raises(error, match=r"notes\.txt"):
                use(path)
        assert path.read_bytes() == before
        assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]

    def test_name_a_folder_in_place_of_the_file(self, store: str, tmp_path: Path) -> None:
        use, error = USES[store]
        if error is None:
            assert use(tmp_path) is None
        else:
            with pytest.raises(ChainkitError, match=tmp_path.name):
                use(tmp_path)


def test_a_damaged_cache_of_programs_is_renamed_and_made_again(tmp_path: Path) -> None:
    path = tmp_path / "programs.sqlite"
    Results(path).close()
    damage(path)
    _opened.cache_clear()
    found = _opened(path, 0)
    assert found is not None
    assert len(found) == 0
    found.close()
    _opened.cache_clear()
    assert len(list(tmp_path.glob("programs.sqlite.damaged-*"))) == 1


def test_a_damaged_value_of_a_cache_of_programs_is_no_value(tmp_path: Path) -> None:
    results = Results(tmp_path / "p")
    for value in (b"\x80\x05not json", b'["written", {"txt": 1}]', b"[1]", b"7", b'"x"', b'["scored", {}]'):
        results._store.put(b"key", value, "program")
        assert results.get(b"key") is None
    results.close()


def test_a_full_disk_costs_a_program_and_a_long_text_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = KeptResults(tmp_path / "k")
    assert kept._cache is not None
    kept._cache._connection.execute("PRAGMA max_page_count = 4")
    kept.store("key", "x" * 100_000)
    assert "a result is not kept: the disk is full" in caplog.text
    assert kept.load("key") is None
    kept.close()


def test_a_file_that_nobody_closes_is_closed_when_it_is_dropped(tmp_path):
    file = KeyValueFile(tmp_path / "a.sqlite", 7)
    connection = file._connection
    del file
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
