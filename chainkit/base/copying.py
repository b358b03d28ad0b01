"""Bytes from file to file, left to the system where it can, and files that exist whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from chainkit.base.errors import ChainkitError, DiskFull, ModelFileError

_PIECE = 1 << 26  # bytes that the system copies at once: progress is told this often
_BUFFER = 1 << 20
# what systems and file systems answer that cannot copy by themselves, or not between these two files
_REFUSALS = {errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}


def copy_range(source: BinaryIO, start: int, count: int, target: BinaryIO) -> None:
    """Copy `count` bytes from `start` of one file to the present end of another; none of them is kept in memory.

    Raises:
        ModelFileError: The source ended before.
    """
    target.flush()
    done = 0
    while done < count:
        copied = _by_the_system(source, start + done, min(_PIECE, count - done), target)
        if copied is None:
            copied = _by_hand(source, start + done, min(_PIECE, count - done), target)
        if copied == 0:
            raise ModelFileError(source.name, f"is cut short: it ends {count - done} bytes too early; fetch it again")
        done += copied


def _by_the_system(source: BinaryIO, start: int, count: int, target: BinaryIO) -> int | None:
    if not hasattr(os, "copy_file_range"):
        return None
    try:
        return os.copy_file_range(source.fileno(), target.fileno(), count, offset_src=start)
    except OSError as error:
        if error.errno in _REFUSALS:
            return None
        raise


def _by_hand(source: BinaryIO, start: int, count: int, target: BinaryIO) -> int:
    source.seek(start)
    data = source.read(min(count, _BUFFER))
    target.write(data)
    target.flush()
    return len(data)


@contextmanager
def whole(path: Path, needed: int) -> Generator[Path]:
    """A name to write to; it becomes `path` when the block has ended well, and vanishes otherwise.

    Args:
        path: The file or folder to make.
        needed: Bytes that will be written.

    Raises:
        ChainkitError: There is something at `path` already, or no folder to put it in.
        DiskFull: So many bytes are not free.
    """
    part = path.with_name(path.name + ".part")
    require_new(path)
    require_room(path, needed)
    _remove(part)  # what an interrupted run has left
    try:
        yield part
        part.rename(path)
    except BaseException:
        _remove(part)
        raise


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
        DiskFull: So many bytes are not free where `path` would be.
    """
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DiskFull(path, needed, free)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
