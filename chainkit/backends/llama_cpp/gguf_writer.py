"""The header of a GGUF file, version 3, from plain values."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 32

_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_ITEMS = {np.dtype(np.float32): _F32, np.dtype(np.int32): _I32}

Value = bool | int | float | str | Sequence[bytes] | NDArray[Any]


def header(values: Mapping[str, Value], tensors: Iterable[tuple[str, tuple[int, ...], int, int]]) -> bytes:
    """All that comes before the first tensor, padded to a whole number of `ALIGNMENT` bytes.

    Args:
        values: Whole numbers become uint32, fractions float32; arrays are float32, int32, or bytes for texts.
        tensors: Name, shape (innermost first), ggml type and length in bytes, in the order in which the data follow,
            each padded to `ALIGNMENT`.
    """
    table, offset, count = bytearray(), 0, 0
    for name, shape, kind, nbytes in tensors:
        table += _text(name.encode()) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        table += struct.pack("<IQ", kind, offset)
        offset, count = offset + padded(nbytes), count + 1
    start = b"GGUF" + struct.pack("<IQQ", 3, count, len(values))
    result = start + b"".join(_text(key.encode()) + _value(value) for key, value in values.items()) + bytes(table)
    return result.ljust(padded(len(result)), b"\0")


def padded(nbytes: int) -> int:
    """The next multiple of `ALIGNMENT`.

    >>> padded(33)
    64
    """
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<IB", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _U32, value)
    if isinstance(value, float):
        return struct.pack("<If", _F32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value.encode())
    if isinstance(value, np.ndarray):
        return struct.pack("<IIQ", _ARRAY, _ITEMS[value.dtype], len(value)) + value.tobytes()
    return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(map(_text, value))


def _text(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw
