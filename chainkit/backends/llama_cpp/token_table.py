"""Rows of the token table of a GGUF file, brought to float32 by llama.cpp's own functions."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainkit.backends.llama_cpp.capi import Library
from chainkit.backends.llama_cpp.header import TENSOR_TYPES, Header
from chainkit.local.soft_prompt import Vectors

NAME = "token_embd.weight"
_BLOCKS = {name: (values, nbytes) for name, values, nbytes in TENSOR_TYPES.values()}


def table_rows(header: Header, llama: Library, tokens: Iterable[int]) -> dict[int, Vectors]:
    """The vectors of some tokens; none where this build of llama.cpp does not offer to read the table's type."""
    tensor = header.tensors.get(NAME)
    if tensor is None:
        return {}
    values, block_bytes = _BLOCKS[tensor.type]
    width, row_bytes = tensor.shape[0], tensor.shape[0] // values * block_bytes
    rows: dict[int, Vectors] = {}
    with header.path.open("rb") as file:
        for token in tokens:
            if token < tensor.shape[1]:
                file.seek(header.data_offset + tensor.offset + token * row_bytes)
                row = _floats(file.read(row_bytes), tensor.type, width, llama)
                if row is None:
                    return {}
                rows[token] = row
    return rows


def _floats(raw: bytes, kind: str, width: int, llama: Library) -> Vectors | None:
    if kind in ("F32", "F16"):
        return np.frombuffer(raw, "<f4" if kind == "F32" else "<f2").astype(np.float32)
    if kind == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    name = kind.lower().removesuffix("_k") + ("_K" if kind.endswith("_K") else "")
    function: Any = llama.exported(f"dequantize_row_{name}")
    if function is None:
        return None
    row = np.empty(width, np.float32)
    function.restype, function.argtypes = None, (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64)
    function(raw, row.ctypes.data, width)
    return row
