"""Bytes from file to file, left to the system where it can, and files that exist whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from chainkit.base.errors import ChainkitError, DiskFull, ModelFileError

_PIECE = 1 << 26  # bytes that the system copies at once
_BUFFER = 1 << 20
_PAGE = 4096
_AWAITED = 256_000_000  # bytes that are waited for until the disk has them
# what systems and file systems answer that cannot copy by themselves, or not between these two files
_REFUSALS = {errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}


def copy_range(source: FileIO, start: int, count: int, target: FileIO) -> None:
    """Copy `count` bytes from `start` of one file to the present end of another; at most a megabyte is in memory.

    Where the bytes lie at the same place of a page in both files the system copies them, which takes no copy at all on
    some file systems. Elsewhere it would take half as long again as reading and writing (measured on ext4).

    Args:
        source: Opened without buffering, as is the target.
        start: Where the bytes are.
        count: How many.
        target: At its end.

    Raises:
        ModelFileError: The source ended before.
    """
    done, by_the_system = 0, hasattr(os, "copy_file_range") and (start - target.tell()) % _PAGE == 0
    while done < count:
        piece = min(_PIECE, count - done)
        copied = _by_the_system(source, start + done, piece, target) if by_the_system else None
        if copied is None:
            by_the_system, copied = False, _by_hand(source, start + done, piece, target)
        if copied == 0:
            raise ModelFileError(source.name, f"is cut short: it ends {count - done} bytes too early; fetch it again")
        done += copied


def _by_the_system(source: FileIO, start: int, count: int, target: FileIO) -> int | None:
    try:
        return os.copy_file_range(source.fileno(), target.fileno(), count, offset_src=start)
    except OSError as error:
        if error.errno in _REFUSALS:
            return None
        raise


def _by_hand(source: FileIO, start: int, count: int, target: FileIO) -> int:
    buffer = memoryview(bytearray(min(count, _BUFFER)))
    source.seek(start)
    done = 0
    while done < count and (read := source.readinto(buffer[: count - done])):
        written = 0
        while written < read:
            written += target.write(buffer[written:read])
        done += read
    return done


@contextmanager
def whole(path: Path, needed: int) -> Generator[Path]:
    """A name to write to; it becomes `path` when the block has ended well, and vanishes otherwise.

    Args:
        path: The file or folder to make.
        needed: Bytes that will be written.

    Raises:
        ChainkitError: There is something at `path` already, or no folder to put it in.
        DiskFull: There are fewer free bytes.
    """
    part = path.with_name(path.name + ".part")
    require_new(path)
    require_room(path, needed)
    _remove(part)  # what an interrupted run has left
    try:
        yield part
        put(part, path)
    except BaseException:
        _remove(part)
        raise


def put(part: Path, path: Path) -> None:
    """Rename a finished part file to its final name, atomically even on power loss; replaces an existing file.

    More than 256 MB are left to the system, which writes them within the next half minute: on the disk of a small
    computer it would take ten times as long to wait for them as to copy them (12 s and 1 s for 1.2 GB). Power lost in
    that time leaves a file that is too short, which those who read model files refuse.

    Args:
        part: A file or folder, closed.
        path: Its name, on the same disk.
    """
    inside = [*part.rglob("*"), part] if part.is_dir() else [part]
    soon = sum(one.stat().st_size for one in inside if one.is_file()) <= _AWAITED
    if soon:
        for one in inside:
            _await_disk(one)
    part.replace(path)
    if soon:
        _await_disk(path.parent)


def _await_disk(path: Path) -> None:
    folder = path.is_dir()
    if folder and os.name == "nt":
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (folder and error.errno in _REFUSALS):  # not every file system knows it of folders
            raise
    finally:
        os.close(handle)


def require_new(path: Path) -> None:
    """Refuse to write over anything.

    Raises:
        ChainkitError: There is something at `path` already, or no folder to put it in.
    """
    if path.exists() or path.is_symlink():
        raise ChainkitError(f"{path}: is there already; remove it or choose another name")
    if not path.parent.is_dir():
        raise ChainkitError(f"{path}: there is no folder {path.parent}; make it first")


def require_room(path: Path, needed: int) -> None:
    """Refuse to begin what would fill the disk.

    Raises:
        DiskFull: There are fewer free bytes where `path` would be.
    """
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DiskFull(path, needed, free)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
