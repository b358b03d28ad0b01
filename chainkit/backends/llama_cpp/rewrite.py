"""A GGUF header taken apart and put together again with some values changed; all others keep their bytes."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.backends.llama_cpp.header import TENSOR_TYPES, Array, Header, Tensor

_VERSION = 3
_U32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_NUMBERS = {name: number for number, (name, _, _) in TENSOR_TYPES.items()}


def raw_entries(header: Header) -> dict[str, bytes]:
    """Keys and the bytes of their values, types included, in the order of the file.

    The file must have passed `read_header`: lengths are believed here.
    """
    entries: dict[str, bytes] = {}
    with header.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position = 24
        for _ in header:
            length = struct.unpack_from("<Q", data, position)[0]
            key = data[position + 8 : position + 8 + length].decode("utf-8")
            start = position + 8 + length
            position = _end(header, key, data, start)
            entries[key] = data[start:position]
    return entries


def _end(header: Header, key: str, data: mmap.mmap, start: int) -> int:
    """Where the value that begins at `start` with its type ends."""
    value = header.entries[key]
    if isinstance(value, Array):
        return value.offset + value.nbytes
    kind = struct.unpack_from("<I", data, start)[0]
    if kind == _STRING:
        return start + 12 + struct.unpack_from("<Q", data, start + 4)[0]
    return start + 4 + _SIZES[kind]


def number(value: int) -> bytes:
    """A whole number as the bytes of an entry.

    >>> number(48).hex()
    '0400000030000000'
    """
    return struct.pack("<II", _U32, value)


def flag(value: bool) -> bytes:
    """A truth value as the bytes of an entry.

    >>> flag(False).hex()
    '0700000000'
    """
    return struct.pack("<I?", _BOOL, value)


def text(value: str) -> bytes:
    """A text as the bytes of an entry.

    >>> text("a").hex()
    '08000000010000000000000061'
    """
    return struct.pack("<I", _STRING) + _text(value)


def array(item: int, values: NDArray[Any] | Sequence[bytes]) -> bytes:
    """An array as the bytes of an entry.

    Args:
        item: GGUF's type of the items, as in `Array.item`.
        values: Numbers in the items' own type, or texts.
    """
    head = struct.pack("<IIQ", _ARRAY, item, len(values))
    if isinstance(values, np.ndarray):
        return head + values.tobytes()
    return head + b"".join(struct.pack("<Q", len(raw)) + raw for raw in values)


def header_bytes(entries: Mapping[str, bytes], tensors: Iterable[Tensor], alignment: int) -> bytes:
    """All that comes before the first tensor.

    Args:
        entries: As `raw_entries` gives them.
        tensors: Their offsets count, as in the file, from the end of these bytes.
        alignment: `general.alignment` of the file.
    """
    table, count = bytearray(), 0
    for tensor in tensors:
        table += _text(tensor.name) + struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        table += struct.pack("<IQ", _NUMBERS[tensor.type], tensor.offset)
        count += 1
    result = b"GGUF" + struct.pack("<IQQ", _VERSION, count, len(entries))
    result += b"".join(_text(key) + raw for key, raw in entries.items()) + bytes(table)
    return result.ljust(aligned(len(result), alignment), b"\0")


def placed(tensors: Iterable[Tensor], alignment: int) -> list[Tensor]:
    """Place the tensors one after the other in this order."""
    result: list[Tensor] = []
    offset = 0
    for tensor in tensors:
        result.append(Tensor(tensor.name, tensor.shape, tensor.type, offset, tensor.nbytes))
        offset += aligned(tensor.nbytes, alignment)
    return result


def aligned(nbytes: int, alignment: int) -> int:
    """The next multiple of `alignment`.

    >>> aligned(33, 32)
    64
    """
    return -(-nbytes // alignment) * alignment


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw
