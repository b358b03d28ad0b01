import errno
import os
from io import FileIO
from pathlib import Path

import pytest

from chainkit.base import copying
from chainkit.base.copying import copy_range, whole
from chainkit.base.errors import ChainkitError, ModelFileError

DATA = bytes(range(256)) * 12_000


@pytest.fixture
def source(tmp_path: Path) -> FileIO:
    (tmp_path / "source").write_bytes(DATA)
    with FileIO(tmp_path / "source") as file:
        yield file


@pytest.mark.parametrize("before", [0, 7])  # by the system, and by hand
@pytest.mark.parametrize(("start", "count"), [(0, len(DATA)), (7, 2_500_000), (4096, 1), (100, 0)])
def test_a_range_is_copied_behind_what_is_there(
    before: int, start: int, count: int, source: FileIO, tmp_path: Path
) -> None:
    with FileIO(tmp_path / "target", "w") as target:
        target.write(b"x" * before)
        copy_range(source, start, count, target)
        target.write(b"end")
    assert (tmp_path / "target").read_bytes() == b"x" * before + DATA[start : start + count] + b"end"


@pytest.mark.parametrize("reason", sorted(copying._REFUSALS))
def test_what_the_system_will_not_copy_is_copied_by_hand(
    reason: int, source: FileIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    with FileIO(tmp_path / "target", "w") as target:
        copy_range(source, 0, len(DATA), target)
    assert (tmp_path / "target").read_bytes() == DATA


def test_an_error_of_the_disk_is_not_taken_for_a_refusal(
    source: FileIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "copy_file_range", full)
    with FileIO(tmp_path / "target", "w") as target, pytest.raises(OSError, match="full"):
        copy_range(source, 0, len(DATA), target)


@pytest.mark.parametrize("before", [0, 7])
def test_a_source_that_ends_early_is_named(before: int, source: FileIO, tmp_path: Path) -> None:
    with FileIO(tmp_path / "target", "w") as target:
        target.write(b"x" * before)
        with pytest.raises(ModelFileError, match="source: is cut short: it ends 96 bytes too early"):
            copy_range(source, 4096, len(DATA) - 4000, target)


def fail_within(path: Path) -> None:
    with whole(path, 3) as part:
        part.write_bytes(b"a")
        raise ChainkitError("it goes wrong")


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with whole(path, 3) as part:
        part.write_bytes(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    with pytest.raises(ChainkitError, match="is there already"), whole(path, 3):
        pass
    path.unlink()
    with pytest.raises(ChainkitError, match="goes wrong"):
        fail_within(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", [False, True])
def test_bytes_are_on_the_disk_before_they_get_their_name(
    folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, synced = tmp_path / "out", list[tuple[int, bool]]()

    def fsync(handle: int) -> None:
        synced.append((os.fstat(handle).st_ino, out.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with whole(out, 10) as part:
        if folder:
            part.mkdir()
        written = part / "weights" if folder else part
        written.write_bytes(b"x")
        number = written.stat().st_ino
    assert (number, False) in synced
    assert synced[-1] == (tmp_path.stat().st_ino, True)


def test_very_large_files_are_left_to_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _handle: pytest.fail("waited"))
    with whole(tmp_path / "out", 10) as part, part.open("wb") as file:
        file.truncate(300_000_000)  # takes no room on the disk
    assert (tmp_path / "out").stat().st_size == 300_000_000
