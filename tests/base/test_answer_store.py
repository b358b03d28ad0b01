"""Answers on disk: found again, counted once, the least recently used dropped, cleared by kind."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from chainkit.base import answer_store
from chainkit.base.answer_store import AnswerCounts, AnswerStore

OVERHEAD = 64  # bytes of a row beside its key and value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_a_value_is_found_by_its_key_and_replaced_by_a_later_one(path: Path) -> None:
    store = AnswerStore(path)
    assert store.get(b"a", "chat") is None
    store.put(b"a", b"one", "chat")
    store.put(b"a", b"two", "chat")
    assert store.get(b"a", "chat") == b"two"
    assert len(store) == 1
    store.close()


def test_hits_misses_and_entries_are_counted_by_kind(path: Path) -> None:
    store = AnswerStore(path)
    store.put(b"a", b"12345", "chat")
    store.put(b"bc", b"123", "slot")
    for key, kind in [(b"a", "chat"), (b"a", "chat"), (b"x", "chat"), (b"bc", "slot")]:
        store.get(key, kind)
    wanted = {
        "chat": AnswerCounts(entries=1, bytes=5 + 1 + OVERHEAD, hits=2, misses=1, stored=1, evicted=0),
        "slot": AnswerCounts(entries=1, bytes=3 + 2 + OVERHEAD, hits=1, misses=0, stored=1, evicted=0),
    }
    assert store.counts() == wanted
    assert store.counts() == wanted  # asking counts nothing twice
    store.close()


def test_counts_of_two_stores_add_up_in_one_file(path: Path) -> None:
    first, second = AnswerStore(path), AnswerStore(path)
    first.put(b"a", b"1", "chat")
    assert second.get(b"a", "chat") == b"1"
    second.get(b"b", "chat")
    first.get(b"c", "chat")
    first.close()
    counted = second.counts()["chat"]
    assert (counted.hits, counted.misses, counted.stored, counted.evicted) == (1, 2, 1, 0)
    second.close()
    first.close()  # twice is harmless


def test_uses_are_written_after_a_number_of_reads_and_not_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_store, "_FLUSH_EVENTS", 3)
    store = AnswerStore(path)
    for wanted in ([], [], [(3,)], [(3,)], [(3,)], [(6,)]):
        store.get(b"none", "chat")
        assert rows(path, "SELECT misses FROM counts") == wanted
    store.close()


def test_those_used_longest_ago_make_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1, 10_000))
    monkeypatch.setattr(answer_store, "_now", lambda: next(clock))
    limit, size = 20_000, 1000
    store = AnswerStore(path, limit)
    first = b"%06d" % 0
    for number in range(100):
        store.put(b"%06d" % number, b"x" * (size - OVERHEAD - 6), "chat")
        assert store.get(first, "chat"), number  # read each time, so it is never the oldest
        total = rows(path, "SELECT SUM(bytes) FROM answers")[0][0]
        assert isinstance(total, int)
        assert total <= limit + limit // 16 + 1, number
    counted = store.counts()["chat"]
    assert counted.entries + counted.evicted == 100
    assert counted.entries >= (limit - limit // 10) // size  # no more than needed is dropped
    kept = sorted(key for (key,) in rows(path, "SELECT key FROM answers"))
    assert kept == [first, *(b"%06d" % number for number in range(101 - counted.entries, 100))]
    store.close()


def test_a_sweep_comes_every_sixteenth_of_the_limit_and_leaves_a_tenth_free(path: Path) -> None:
    limit, size = 20_000, 1000  # 1,251 new bytes, so every second one
    store = AnswerStore(path, limit)
    for number in range(1, 25):
        store.put(b"%06d" % number, b"x" * (size - OVERHEAD - 6), "chat")
        assert len(store) == (number if number < 22 else number - 4), number
    store.close()


def test_bytes_are_counted_from_zero_after_a_sweep(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1, 1000))
    monkeypatch.setattr(answer_store, "_now", lambda: next(clock))
    store = AnswerStore(path, 20_000)
    store.put(b"%06d" % 0, bytes(3125 - OVERHEAD - 6), "chat")
    for number in range(1, 31):  # 1,250 bytes are one too few, so each third one of 625
        assert len(store) == number
        store.put(b"%06d" % number, bytes(625 - OVERHEAD - 6), "chat")
    assert len(store) == 28
    store.close()


def test_one_kind_is_cleared_and_the_other_stays(path: Path) -> None:
    store = AnswerStore(path)
    store.put(b"a", b"1", "chat")
    store.put(b"b", b"2", "slot")
    store.get(b"b", "slot")
    store.clear(["chat"])
    assert store.get(b"a", "chat") is None
    assert store.get(b"b", "slot") == b"2"
    counted = store.counts()
    assert counted["slot"].hits == 2
    assert (counted["chat"].entries, counted["chat"].stored, counted["chat"].misses) == (0, 0, 1)
    store.clear()
    assert len(store) == 0
    assert store.counts() == {}
    store.close()


def test_clearing_gives_the_space_back(path: Path) -> None:
    store = AnswerStore(path)
    for number in range(50):
        store.put(b"%d" % number, bytes(20_000), "chat")
    store.counts()
    store.clear()
    pages, free = rows(path, "PRAGMA page_count")[0][0], rows(path, "PRAGMA freelist_count")[0][0]
    assert isinstance(pages, int)
    assert (free, pages < 30) == (0, True)
    store.close()


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_is_at_least_one_byte(path: Path, limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit must be 1 byte or more, got {limit}"):
        AnswerStore(path, limit)
    AnswerStore(path, 1).close()
