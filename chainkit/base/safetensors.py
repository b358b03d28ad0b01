"""The header of a safetensors file: eight bytes with its length, then JSON."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chainkit.base.errors import ModelFileError

HEADER_LIMIT = 100_000_000
"""Bytes of the longest header; the limit of the format's own reader."""


def header_of(where: Path | str, read: Callable[[int, int], bytes]) -> tuple[Mapping[str, Any], int]:
    """What a file says of each tensor by name, and the offset of the first byte after the header.

    Args:
        where: The name of the file in errors.
        read: From an offset and a length to the bytes there, fewer where the file ends.

    Raises:
        ModelFileError: The file is not a safetensors file, or is cut short.
    """
    first = read(0, 8)
    length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
    data = read(8, length) if 2 <= length <= HEADER_LIMIT else b""
    if not data or len(data) < length:
        raise ModelFileError(where, "is cut short or not a safetensors file: its header does not fit; fetch it again")
    try:
        header = json.loads(data)
    except ValueError as error:
        raise ModelFileError(where, "is not a safetensors file: its header is not JSON; fetch it again") from error
    if not isinstance(header, dict):
        raise ModelFileError(where, "is not a safetensors file: its header is not an object; fetch it again")
    return header, 8 + length  # pyright: ignore[reportUnknownVariableType]


def file_header(path: Path) -> tuple[Mapping[str, Any], int]:
    """`header_of` for a file on disk."""

    def read(start: int, length: int) -> bytes:
        file.seek(start)
        return file.read(length)

    with path.open("rb") as file:
        return header_of(path, read)
