"""The files of prefixes: whole or not there, of one user, within their limit, those used longest ago go first."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from chainkit.base.errors import ChainkitError
from chainkit.local.prefix_files import BLOCK, PrefixFiles, block_names, prefix_files

TOKENS = list(range(5 * BLOCK + 10))
NAMES = list(block_names(b"key", TOKENS))


@pytest.fixture
def files(tmp_path):
    return PrefixFiles(tmp_path / "prefixes")


def numbers(place: int, size: int = 10_001) -> np.ndarray:
    return np.random.default_rng(place).integers(0, 256, size, np.uint8)


def block(place: int) -> list[int]:
    return TOKENS[place * BLOCK : (place + 1) * BLOCK]


def written(files: PrefixFiles, *places: int) -> int:
    return files.write([(NAMES[place], block(place), numbers(place)) for place in places])


def test_what_was_written_is_read(files):
    assert written(files, 0, 1, 2) == 3
    for place in range(3):
        assert (files.read(NAMES[place], block(place)) == numbers(place)).all()
    assert files.read(NAMES[3], block(3)) is None
    assert NAMES[0] in files
    assert NAMES[3] not in files
    assert written(files, 1, 2, 3) == 1


def test_names_are_of_the_key_and_of_all_tokens_before():
    assert len(NAMES) == 5
    other = list(block_names(b"key", [9, *TOKENS[1:]]))
    assert not set(NAMES) & set(other)
    assert not set(NAMES) & set(block_names(b"yek", TOKENS))
    assert list(block_names(b"key", TOKENS[: 2 * BLOCK])) == NAMES[:2]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_only_their_user_can_read_them(files):
    files.folder.mkdir(mode=0o755)
    written(files, 0)
    assert files.folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in files.folder.iterdir()} == {0o600}


@pytest.mark.parametrize("place", [0, 10, 40, 90, 200, 400, -1])
@pytest.mark.parametrize("bit", [0, 7])
def test_no_flipped_bit_goes_unseen(files, place, bit, caplog):
    written(files, 0)
    (file,) = files.folder.iterdir()
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << bit
    file.write_bytes(data)
    assert files.read(NAMES[0], block(0)) is None
    assert not file.exists()
    assert str(file) in caplog.text


def test_a_page_that_never_reached_the_disk_is_seen(files):
    written(files, 0)
    (file,) = files.folder.iterdir()
    data = bytearray(file.read_bytes())
    data[4096:8192] = bytes(4096)
    file.write_bytes(data)
    assert files.read(NAMES[0], block(0)) is None


def test_a_file_under_another_name_is_seen(files):
    written(files, 0, 1)
    os.replace(files.folder / f"{NAMES[0].hex()}.kv", files.folder / f"{NAMES[1].hex()}.kv")
    assert files.read(NAMES[1], block(1)) is None


def test_those_used_longest_ago_make_room(tmp_path):
    files = PrefixFiles(tmp_path, limit=35_000)
    written(files, 0, 1, 2)
    files.touch([NAMES[0]])
    written(files, 3)
    assert [name in files for name in NAMES] == [True, True, False, True, False]  # of one text the last goes first
    assert files.size()[1] <= 35_000


def test_what_is_larger_than_the_limit_is_kept_in_part(tmp_path):
    files = PrefixFiles(tmp_path, limit=25_000)
    assert written(files, 0, 1, 2, 3) == 2
    assert [name in files for name in NAMES[:3]] == [True, True, False]


def test_what_a_killed_process_has_left_is_removed(files):
    written(files, 0)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    of_a_dead = files.folder / f"aa.kv.{gone.pid}-1234.part"
    of_the_living = files.folder / f"bb.kv.{os.getpid()}-1234.part"
    forgotten = files.folder / f"cc.kv.{os.getpid()}-1234.part"
    for part in (of_a_dead, of_the_living, forgotten):
        part.write_bytes(b"half")
    os.utime(forgotten, (time.time() - 3600,) * 2)
    written(files, 1)
    assert [part.exists() for part in (of_a_dead, of_the_living, forgotten)] == [False, True, False]
    files.clear()
    assert files.size() == (0, 0)


def test_a_folder_that_cannot_be_made_costs_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    files = PrefixFiles(tmp_path / "file" / "prefixes")
    assert written(files, 0) == 0
    assert files.read(NAMES[0], block(0)) is None
    assert files.size() == (0, 0)


def test_a_full_disk_is_left_alone(files, monkeypatch):
    monkeypatch.setattr("chainkit.local.prefix_files._SPARE_BYTES", 1 << 62)
    assert written(files, 0) == 0


def test_a_model_is_hashed_once(files, tmp_path):
    model = tmp_path / "model.gguf"
    model.write_bytes(b"weights")
    assert files.model_hash(model, compute=False) is None
    first = files.model_hash(model, compute=True)
    assert files.model_hash(model, compute=False) == first
    before = model.stat()
    model.write_bytes(b"weighty")
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert files.model_hash(model, compute=False) is None
    assert files.model_hash(model, compute=True) != first


def test_the_setting(monkeypatch):
    monkeypatch.setenv("CHAINKIT_PREFIX_CACHE", "off")
    assert prefix_files() is None
    monkeypatch.setenv("CHAINKIT_PREFIX_CACHE", "2.5 GB")
    assert prefix_files().limit == 2_500_000_000
    monkeypatch.delenv("CHAINKIT_PREFIX_CACHE")
    assert prefix_files().limit == 1_000_000_000
    monkeypatch.setenv("CHAINKIT_PREFIX_CACHE", "some")
    with pytest.raises(ChainkitError, match="CHAINKIT_PREFIX_CACHE is 'some'; give 'off', or a size like"):
        prefix_files()
