"""The tensors of a safetensors file, mapped into memory rather than read."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chainkit.base.errors import ModelFileError
from chainkit.base.safetensors import file_header

Array = np.ndarray[Any, Any]

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I8": "<i1"}


def read_tensors(path: Path) -> dict[str, Array]:
    """All tensors of a file by name; float32 ones share the mapped file, pages of it are read when they are used.

    Half-precision tensors come as float32 copies.

    Raises:
        ModelFileError: The file is not a safetensors file, or is cut short.
    """
    header, start = file_header(path)
    # "c": private pages, for libraries that insist on a writable buffer; the file is not changed
    data = np.memmap(path, np.uint8, "c")[start:]
    return {name: _tensor(path, data, name, entry) for name, entry in header.items() if name != "__metadata__"}


def release(tensors: Mapping[str, Array]) -> None:
    """Give back the memory of mapped pages; they are read again where they are needed."""
    for values in tensors.values():
        mapped = values
        while isinstance(mapped.base, np.ndarray):
            mapped = mapped.base
        # Windows has no madvise
        if isinstance(mapped.base, mmap.mmap) and hasattr(mapped.base, "madvise"):
            mapped.base.madvise(mmap.MADV_DONTNEED)
            return


def _tensor(path: Path, data: Array, name: str, entry: Any) -> Array:
    try:
        kind, shape, (first, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        dtype = np.dtype(_DTYPES[kind])
        fits = 0 <= first <= end <= len(data) and end - first == math.prod(shape) * dtype.itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(path, f"tensor '{name}' has an entry that cannot be read: {entry}") from error
    if not fits:
        raise ModelFileError(path, f"is cut short: the {len(data):,} bytes do not hold tensor '{name}'; fetch it again")
    values = data[first:end].view(dtype).reshape(shape)
    if kind == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32) if kind in {"F16", "F64"} else values
