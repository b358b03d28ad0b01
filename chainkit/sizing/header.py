"""The header of a GGUF file, read in Python before native code sees the file.

llama.cpp's own reader has overflowed on crafted headers more than once (CVE-2024-21802 and its successors), so every
count, length, type and offset is checked here against the size of the file. Nothing is believed, no memory is taken for
a number that the file merely claims, and no weight is read. A header that lies on a hub is read from its first bytes
alone. The format: ggml's docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.base.errors import NO_SUCH_FILE, ModelFileError

_MAX_COUNT = 1 << 20  # keys or tensors; the largest models have some ten thousand
_MAX_KEY = 65_535
_MAX_DIMENSIONS = 4
_MAX_NESTING = 4
_NAME_BYTES = 64  # ggml's names of tensors are shorter than this

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SIZES = {kind: struct.calcsize(f"<{code}") for kind, code in _SCALARS.items()}

# ggml type -> (name, values per block, bytes per block)
TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}


@dataclass(frozen=True, slots=True)
class Array:
    """Where an array of the metadata lies; `item` is a GGUF value type, `nbytes` the length in the file."""

    item: int
    count: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its dimensions innermost first, as in the file, and its offset after the header."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header(Mapping[str, Any]):
    """The metadata of a GGUF file; a mapping from keys to values.

    Numbers and strings are read at once; an array only when it is asked for.

    Attributes:
        path: The file.
        version: 2 or 3.
        tensors: By name.
        data_offset: Where the tensors begin.
        entries: Keys and values; an array is only its place.
        start: The first bytes of the file, for arrays, where the file itself is not here.
    """

    path: Path
    version: int
    tensors: Mapping[str, Tensor]
    data_offset: int
    entries: Mapping[str, Any]
    start: bytes | None = field(default=None, repr=False)

    def __getitem__(self, key: str) -> Any:
        value = self.entries[key]
        return self.array(key) if isinstance(value, Array) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def architecture(self) -> str:
        """The family of the model: "llama", "bert", ..."""
        return str(self.entries.get("general.architecture", ""))

    def count(self, key: str) -> int | None:
        """The length of an array, or None if there is none of this name; the array is not read."""
        value = self.entries.get(key)
        return value.count if isinstance(value, Array) else None

    def array(self, key: str) -> list[Any] | NDArray[Any]:
        """An array: numbers as numpy, strings as a list of `bytes`.

        Raises:
            KeyError: No array has this name.
        """
        where = self.entries[key]
        if not isinstance(where, Array):
            raise KeyError(f"{key} is not an array")
        if self.start is not None:
            raw = self.start[where.offset : where.offset + where.nbytes]
        else:
            with self.path.open("rb") as file:
                file.seek(where.offset)
                raw = file.read(where.nbytes)
        if where.item in _SCALARS:
            return np.frombuffer(raw, dtype=np.dtype(f"<{_SCALARS[where.item]}"), count=where.count)
        if where.item == _STRING:
            return list(_strings(raw, where.count))
        raise KeyError(f"{key} is an array of arrays, which nothing here needs")


def read_header(path: Path) -> Header:
    """Read and check a GGUF header; the answer is kept until the file changes.

    Raises:
        ModelFileError: The file is absent, empty, cut short, of another kind, or its header contradicts itself.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise ModelFileError(path, NO_SUCH_FILE) from error
    except (OSError, ValueError) as error:
        raise ModelFileError(path, f"cannot be read ({error})") from error
    return _read_header(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _read_header(path: Path, size: int, _changed: int) -> Header:
    if path.is_dir():
        raise ModelFileError(path, "is a folder; name the .gguf file in it")
    if size == 0:
        raise ModelFileError(path, "is empty; download it again")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).header()
    except OSError as error:
        raise ModelFileError(path, f"cannot be read ({error})") from error


class Beyond(Exception):
    """The header continues past the available bytes."""


def parse_start(name: Path, start: bytes, size: int) -> Header:
    """The header of a file of which only the first bytes are here.

    Args:
        name: What messages call the file.
        start: Its first bytes.
        size: Length of the whole file.

    Raises:
        Beyond: The header is longer than `start`.
        ModelFileError: The file is of another kind, or its header contradicts itself.
    """
    return replace(_Reader(name, start, size).header(), start=start)


class _Reader:
    """Walks through the header; `position` never passes the end of the file."""

    def __init__(self, path: Path, data: mmap.mmap | bytes, size: int | None = None) -> None:
        self.path, self.data, self.position = path, data, 0
        self.here = len(data)
        self.size = self.here if size is None else size

    def header(self) -> Header:
        self.magic()
        version = self.number("I", "version")
        if version not in (2, 3):
            raise self.fault(_strange_version(version))
        tensors, keys = self.number("Q", "number of tensors"), self.number("Q", "number of keys")
        self.require(tensors <= _MAX_COUNT, f"claims to have {tensors} tensors")
        self.require(keys <= _MAX_COUNT, f"claims to have {keys} keys")
        values = self.values(keys)
        alignment = values.get("general.alignment", 32)
        sound = type(alignment) is int and 8 <= alignment <= 65_536 and alignment & (alignment - 1) == 0
        self.require(sound, f"has an alignment of {alignment!r}, which is not a power of two between 8 and 65536")
        places = self.tensor_table(tensors, alignment)
        start = -(-self.position // alignment) * alignment
        for tensor in places.values():
            end = start + tensor.offset + tensor.nbytes
            self.require(end <= self.size, _cut(end, self.size, tensor.name))
        _refuse_overlap(self, list(places.values()))
        return Header(self.path, version, places, start, values)

    def magic(self) -> None:
        start = bytes(self.data[:512])
        if start[:4] != b"GGUF":
            raise self.fault(_what_else(start))
        self.position = 4

    def values(self, count: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for _ in range(count):
            key = self.text("key", _MAX_KEY)
            self.require(key not in values, f"has the key {key!r} twice")
            values[key] = self.value(self.number("I", f"type of {key}"), key)
        return values

    def value(self, kind: int, key: str) -> Any:
        if kind == _BOOL:
            flag = self.number("B", key)
            self.require(flag in (0, 1), f"has {flag} for the yes or no of {key}")
            return bool(flag)
        if kind in _SCALARS:
            return self.number(_SCALARS[kind], key)
        if kind == _STRING:
            return self.text(key, self.size)
        self.require(kind == _ARRAY, f"has a value of unknown type {kind} for {key}")
        return self.array(key, nesting=0)

    def array(self, key: str, nesting: int) -> Array:
        self.require(nesting < _MAX_NESTING, f"nests arrays too deeply in {key}")
        item, count = self.number("I", key), self.number("Q", key)
        start = self.position
        if item in _SIZES:
            self.skip(count * _SIZES[item], key)
        elif item == _STRING:
            self.require(count * 8 <= self.size - start, f"claims {count} texts in {key}, more than the file has bytes")
            self.skip_texts(count, key)
        else:
            self.require(item == _ARRAY, f"has items of unknown type {item} in {key}")
            self.require(count * 12 <= self.size - start, f"claims {count} arrays in {key}")
            for _ in range(count):
                self.array(key, nesting + 1)
        return Array(item, count, start, self.position - start)

    def skip_texts(self, count: int, key: str) -> None:
        position, size, data, length_at = self.position, self.size, self.data, struct.Struct("<Q").unpack_from
        here = self.here
        for _ in range(count):  # a vocabulary has 100,000 of them: no function calls here
            if position + 8 > here:
                raise self.short(key) if position + 8 > size else Beyond
            position += 8 + length_at(data, position)[0]
            if position > size:
                raise self.short(key)
        self.position = position

    def tensor_table(self, count: int, alignment: int) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for _ in range(count):
            name = self.text("tensor name", _NAME_BYTES - 1)
            self.require(name not in tensors, f"has the tensor {name!r} twice")
            tensors[name] = self.tensor(name, alignment)
        return tensors

    def tensor(self, name: str, alignment: int) -> Tensor:
        dimensions = self.number("I", name)
        self.require(1 <= dimensions <= _MAX_DIMENSIONS, f"has a tensor {name} of {dimensions} dimensions")
        shape = tuple(self.number("Q", name) for _ in range(dimensions))
        kind, offset = self.number("I", name), self.number("Q", name)
        self.require(kind in TENSOR_TYPES, f"has the unknown tensor type {kind} in {name}")
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        values = 1
        for length in shape:
            self.require(0 < length < 1 << 40, f"has a tensor {name} of length {length}")
            values *= length
        whole = shape[0] % block == 0
        self.require(whole, f"has rows of {shape[0]} values in {name}, which are not whole blocks of {type_name}")
        self.require(offset % alignment == 0, f"has the tensor {name} at {offset}, which is not aligned")
        return Tensor(name, shape, type_name, offset, values // block * block_bytes)

    def number(self, code: str, what: str) -> Any:
        size = struct.calcsize(f"<{code}")
        if self.position + size > self.here:
            raise self.short(what) if self.position + size > self.size else Beyond
        value = struct.unpack_from(f"<{code}", self.data, self.position)[0]
        self.position += size
        return value

    def text(self, what: str, longest: int) -> str:
        length = self.number("Q", what)
        self.require(length <= longest, f"has a {what} of {length} bytes")
        start = self.position
        self.skip(length, what)
        if self.position > self.here:
            raise Beyond
        try:
            return self.data[start : self.position].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.fault(f"is damaged: {what} is not UTF-8") from error

    def skip(self, length: int, what: str) -> None:
        if length > self.size - self.position:
            raise self.short(what)
        self.position += length

    def require(self, good: bool, otherwise: str) -> None:
        if not good:
            raise self.fault(otherwise if "cut short" in otherwise else f"is damaged: it {otherwise}")

    def short(self, what: str) -> ModelFileError:
        return self.fault(f"is cut short: it ends within {what[:80]!r}, in the header; download it again")

    def fault(self, reason: str) -> ModelFileError:
        return ModelFileError(self.path, reason)


def _refuse_overlap(reader: _Reader, tensors: list[Tensor]) -> None:
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        reader.require(tensor.offset >= end, f"has the tensors {before} and {tensor.name} in the same place")
        end, before = tensor.offset + tensor.nbytes, tensor.name


def _strings(raw: bytes, count: int) -> Iterator[bytes]:
    position = 0
    for _ in range(count):
        length = int.from_bytes(raw[position : position + 8], "little")
        yield raw[position + 8 : position + 8 + length]
        position += 8 + length


def _cut(needed: int, size: int, tensor: str) -> str:
    missing = needed - size
    return f"is cut short: {tensor} ends {missing} bytes past the end of the file ({size} bytes); download it again"


def _strange_version(version: int) -> str:
    if version == 1:
        return "is GGUF version 1 of August 2023, which llama.cpp no longer reads; get a newer file of this model"
    if version & 0xFFFF == 0:
        return "is big-endian GGUF; get the little-endian file"
    return f"has GGUF version {version}, and versions 2 and 3 are known; download it again or update chainkit"


def _what_else(start: bytes) -> str:
    """What a file is that does not begin as GGUF does."""
    if start[:4] in (b"lmgg", b"fmgg", b"tjgg", b"algg"):
        kind = start[:4][::-1].decode()
        return f"is an old GGML file ('{kind}', before August 2023) and not GGUF; use the provider 'ggml:' for it"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer and not the model; run 'git lfs pull' or download the file itself"
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page and not a model; the download went wrong (a login page, or the address of a page)"
    if start.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "is a PyTorch file and not GGUF; use the transformers backend, or get the model as GGUF"
    if len(start) > 9 and start[8:9] == b"{":
        return "looks like safetensors and not GGUF; use the transformers backend, or get the model as GGUF"
    if start.strip(b"\0") == b"":
        return "begins with zeros: the download was not finished; download it again"
    if len(start) < 24:
        return f"is cut short: it has {len(start)} bytes; download it again"
    return f"is not a GGUF file: it begins with {start[:4]!r} and not with b'GGUF'"
