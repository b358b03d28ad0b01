"""The prompt cache on disk: KV data of text prefixes, in files shared by all processes of a user.

A text is cut into blocks of 64 tokens. A file holds one block: its keys and values, named by the hash of what computed
it and of all tokens up to its end, so that texts share the files of what they begin with in common. A file is written
under another name, brought to the disk and renamed; it holds its own name, its tokens and a checksum, and is removed
where they are not right: so a process that is killed, a disk that forgets and a hand that writes to it cost time only.
Files used longest ago are removed beyond the limit.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainkit.base.errors import ChainkitError
from chainkit.base.paths import cache_dir

log = logging.getLogger("chainkit.local")

BLOCK = 64
"""Tokens of a file."""
LIMIT_BYTES = 1_000_000_000
VARIABLE = "CHAINKIT_PREFIX_CACHE"

Data = NDArray[np.uint8]

_MAGIC = b"ckblock\x01"
_HEAD = struct.Struct("<8s16sIQ32s4x")  # magic, name, tokens, bytes, checksum; then the tokens and the numbers
_PAGE = 4096
_PART_SECONDS = 600  # a part that was not written to for so long belongs to nobody
_SIZE = re.compile(r"([\d.]+)\s*([kMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SPARE_BYTES = 500_000_000  # that stay free on the disk


def prefix_files() -> PrefixFiles | None:
    """The user's files; None where `CHAINKIT_PREFIX_CACHE=off` says so.

    Raises:
        ChainkitError: The variable is neither "off" nor a size.
    """
    limit = _limit(os.environ.get(VARIABLE, ""))
    return kept_prefixes(limit) if limit else None


def kept_prefixes(limit: int = LIMIT_BYTES) -> PrefixFiles:
    """The user's files, whether they are used or not."""
    return PrefixFiles(cache_dir() / "prefixes", limit)


def _limit(text: str) -> int:
    """Bytes that the files may take.

    >>> _limit("off"), _limit("500 MB"), _limit("2GB"), _limit("") == LIMIT_BYTES
    (0, 500000000, 2000000000, True)
    """
    if not text:
        return LIMIT_BYTES
    if text.strip().lower() == "off":
        return 0
    if (found := _SIZE.fullmatch(text.strip())) is None:
        raise ChainkitError(f"{VARIABLE} is {text!r}; give 'off', or a size like '500MB' or '2GB'")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def block_names(key: bytes, tokens: Sequence[int]) -> Iterator[bytes]:
    """The name of each whole block of a text, 16 bytes.

    Args:
        key: What decides the numbers beside the tokens.
        tokens: The text.
    """
    name = hashlib.blake2b(key, digest_size=16).digest()
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        name = hashlib.blake2b(name + _packed(tokens[start : start + BLOCK]), digest_size=16).digest()
        yield name


@dataclass(frozen=True)
class PrefixFiles:
    """A folder of blocks. Nothing here raises an error of the disk: what cannot be read or written is not there.

    Attributes:
        folder: Made with mode 0700 at the first use.
        limit: Bytes of all files.
    """

    folder: Path
    limit: int = LIMIT_BYTES

    def __contains__(self, name: bytes) -> bool:
        return self._path(name).exists()

    def read(self, name: bytes, tokens: Sequence[int]) -> Data | None:
        """The numbers of a block; None if it is not there. A file that is not what it should be is removed."""
        path = self._path(name)
        try:
            raw = np.fromfile(path, np.uint8)
        except OSError:
            return None
        data = _checked(raw, name, tokens)
        if data is None:
            log.warning("%s was damaged and is removed", path)
            with suppress(OSError):
                path.unlink()
        return data

    def touch(self, names: Sequence[bytes]) -> None:
        """Note that blocks of one text were used; its first ones are the last to go."""
        now = time.time_ns()
        for place, name in enumerate(names):
            with suppress(OSError):
                os.utime(self._path(name), ns=(now, now - place * 1000))

    def write(self, blocks: Sequence[tuple[bytes, Sequence[int], Data]]) -> int:
        """Keep blocks of one text, in their order; how many were written. Those that are there are left alone."""
        written, wanted = 0, [len(data) + _HEAD.size + 4 * len(tokens) for _, tokens, data in blocks]
        blocks = [one for one, total in zip(blocks, accumulate(wanted), strict=True) if total <= self.limit]
        try:
            self.made()
            self._make_room(sum(wanted[: len(blocks)]))
            for name, tokens, data in blocks:
                if name not in self:
                    self._write(name, tokens, data)
                    written += 1
        except OSError as error:
            log.info("%s: a prefix is not kept: %s", self.folder, error)
        self.touch([name for name, *_ in blocks])
        return written

    def size(self) -> tuple[int, int]:
        """How many blocks there are, and their bytes."""
        sizes = [status.st_size for path, status in self._files() if path.suffix == ".kv"]
        return len(sizes), sum(sizes)

    def clear(self) -> None:
        """Remove everything."""
        for path, _ in self._files():
            with suppress(OSError):
                path.unlink()

    def model_hash(self, path: Path, *, compute: bool) -> bytes | None:
        """The hash of a model's file, which is read once and remembered by its place, size, times and inode.

        Args:
            path: The file.
            compute: Read it where its hash is not known; else None comes back.
        """
        status = path.stat()
        seen = (str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        note = self.folder / f"{hashlib.blake2b(repr(seen).encode(), digest_size=16).hexdigest()}.model"
        with suppress(OSError):
            if len(known := note.read_bytes()) == 32:
                return known
        if not compute:
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        try:
            self.made()
            self._put(note, [digest])
        except OSError as error:
            log.info("%s: cannot be written: %s", note, error)
        return digest

    def made(self) -> None:
        """Make the folder, or see that it is one's own.

        Raises:
            OSError: It cannot be made, or belongs to somebody else.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.name != "nt":
            status = self.folder.stat()
            if status.st_uid != os.getuid():
                raise PermissionError(f"{self.folder} belongs to another user")
            if status.st_mode & 0o077:
                self.folder.chmod(0o700)

    def _path(self, name: bytes) -> Path:
        return self.folder / f"{name.hex()}.kv"

    def _write(self, name: bytes, tokens: Sequence[int], data: Data) -> None:
        packed = _packed(tokens)
        head = _HEAD.pack(_MAGIC, name, len(tokens), len(data), _checksum(name, packed, data))
        self._put(self._path(name), [head, packed, data.data])

    def _put(self, path: Path, pieces: Sequence[bytes | memoryview]) -> None:
        part = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(handle, "wb", buffering=0) as file:
                for piece in pieces:
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[file.write(rest) :]
                os.fsync(handle)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found: list[tuple[Path, os.stat_result]] = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    found.append((Path(entry.path), entry.stat(follow_symlinks=False)))
        return found

    def _make_room(self, wanted: int) -> None:
        """Remove what killed processes have left, and the blocks used longest ago.

        Raises:
            OSError: The disk would be full.
        """
        files = self._files()
        for path, status in files:
            if path.suffix == ".part" and _abandoned(path, status):
                path.unlink(missing_ok=True)
        if shutil.disk_usage(self.folder).free < wanted + _SPARE_BYTES:
            raise OSError(errno.ENOSPC, "too little would stay free on the disk")
        blocks = sorted((one for one in files if one[0].suffix == ".kv"), key=lambda one: one[1].st_mtime_ns)
        total = sum(status.st_size for _, status in blocks) + wanted
        for path, status in blocks:
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= status.st_size


def _abandoned(part: Path, status: os.stat_result) -> bool:
    """Whether the process that wrote a part is gone."""
    if time.time() - status.st_mtime > _PART_SECONDS:
        return True
    if os.name == "nt":
        return False
    try:
        os.kill(int(part.name.split(".")[-2].split("-")[0]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, IndexError):
        return False
    return False


def _checked(raw: Data, name: bytes, tokens: Sequence[int]) -> Data | None:
    """The numbers in a file, if it is whole and what its name says."""
    if len(raw) < _HEAD.size:
        return None
    magic, inner, count, size, checksum = _HEAD.unpack_from(raw.data)
    packed = _packed(tokens)
    start = _HEAD.size + len(packed)
    if magic != _MAGIC or inner != name or count != len(tokens) or len(raw) != start + size:
        return None
    data = raw[start:]
    sound = raw[_HEAD.size : start].tobytes() == packed and _checksum(name, packed, data) == checksum
    return data if sound else None


def _checksum(name: bytes, packed: bytes, data: Data) -> bytes:
    """The hash of the sums of all pages as 64-bit numbers: a tenth of the time of hashing the pages themselves."""
    whole = len(data) - len(data) % _PAGE
    pages = np.ascontiguousarray(data[:whole]).view(np.uint64).reshape(-1, _PAGE // 8)
    digest = hashlib.sha256(name + packed)
    digest.update(pages.sum(axis=1, dtype=np.uint64).data)
    digest.update(data[whole:].tobytes())
    return digest.digest()


def _packed(tokens: Sequence[int]) -> bytes:
    return np.asarray(tokens, "<i4").tobytes()
