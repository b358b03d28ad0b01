"""Safetensors files by their headers: which tensor lies where. No tensor is read."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainkit.base.errors import NO_SUCH_FILE, ModelFileError
from chainkit.base.safetensors import file_header

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# bits; some types pack several numbers into a byte
_BITS = {"F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16}
_BITS |= {"U16": 16, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F6_E2M3": 6}
_BITS |= {"F6_E3M2": 6, "F4": 4}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    nbytes: int

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def folder_tensors(folder: Path) -> dict[str, StoredTensor]:
    """All tensors of a model by name, from all of its files.

    Raises:
        ModelFileError: There are none, a file is missing or cut short, or the files contradict their index.
    """
    index = folder / INDEX
    if index.is_file():
        return _indexed(folder, index)
    if (folder / SINGLE).is_file():
        return {tensor.name: tensor for tensor in file_tensors(folder / SINGLE)}
    if list(folder.glob("*.bin")) or list(folder.glob("*.pt")) or list(folder.glob("*.pth")):
        raise ModelFileError(
            folder, "has its weights in pickle files; load it with transformers once and save it as safetensors"
        )
    raise ModelFileError(folder, f"has no weights: neither {SINGLE} nor {INDEX} is there")


def file_tensors(path: Path) -> list[StoredTensor]:
    """The tensors of one file, in the order in which they lie.

    Raises:
        ModelFileError: The file is cut short, or no safetensors file.
    """
    size = path.stat().st_size
    header, start = file_header(path)
    entries = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
    found = sorted((_tensor(path, name, entry, start) for name, entry in entries), key=lambda one: one.start)
    end = start
    for tensor in found:
        if tensor.start < end:
            raise ModelFileError(path, f"is damaged: the tensor {tensor.name} begins within another one")
        end = tensor.start + tensor.nbytes
    if end > size:
        raise ModelFileError(path, f"is cut short: {end - size:,} bytes are missing at its end; fetch it again")
    return found


def header_bytes(tensors: Sequence[StoredTensor], metadata: Mapping[str, str]) -> bytes:
    """What comes before tensors that follow each other in this order."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.nbytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def aligned_order(tensors: Iterable[StoredTensor]) -> list[StoredTensor]:
    """The order in which every tensor begins at a multiple of its numbers' size."""
    return sorted(tensors, key=lambda tensor: -_BITS[tensor.dtype])


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file.

    Raises:
        ModelFileError: The file is absent or holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelFileError(path, NO_SUCH_FILE) from error
    except ValueError as error:
        raise ModelFileError(path, f"is not JSON ({error}); fetch it again") from error
    if not isinstance(value, dict):
        raise ModelFileError(path, "is JSON, but no object; fetch it again")
    return value


def _indexed(folder: Path, index: Path) -> dict[str, StoredTensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelFileError(index, "has no weight_map; fetch it again")
    tensors: dict[str, StoredTensor] = {}
    for file in sorted({str(file) for file in places.values()}):
        if Path(file).name != file:
            raise ModelFileError(index, f"names the file {file!r}, which is not in its own folder")
        if not (folder / file).is_file():
            raise ModelFileError(folder / file, f"is missing, and {INDEX} names it; fetch it again")
        tensors |= {tensor.name: tensor for tensor in file_tensors(folder / file) if places.get(tensor.name) == file}
    if absent := sorted(set(places) - set(tensors)):
        raise ModelFileError(index, f"says that {places[absent[0]]} holds {absent[0]}, and it does not; fetch it again")
    return tensors


def _tensor(path: Path, name: str, entry: Any, start: int) -> StoredTensor:
    try:
        kind, shape, (first, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        fits = 0 <= first <= end and (end - first) * 8 == math.prod(shape) * _BITS[kind]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(path, f"has an entry that cannot be read, of the tensor {name}") from error
    if not fits:
        raise ModelFileError(path, f"is damaged: the bytes of the tensor {name} do not make up its shape")
    return StoredTensor(name, kind, shape, path, start + first, end - first)
