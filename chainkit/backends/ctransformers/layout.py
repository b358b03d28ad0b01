"""Whether a file of the GPT family is whole: its words and tensors, walked through in Python.

The library believes every length in a file; a wrong one makes it ask for gigabytes, again for each word.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from chainkit.base.errors import ModelFileError

# kind -> numbers of the settings, and whether the vocabulary size is repeated after them
_HEADS = {
    "gpt2": (6, True),
    "starcoder": (6, True),
    "gptj": (7, True),
    "gpt_neox": (8, False),
    "dolly-v2": (8, False),
    "mpt": (8, False),
}
_LONGEST_WORD, _LONGEST_NAME = 1 << 16, 256
# type -> values and bytes of a block
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
}  # fmt: skip


def check_layout(path: Path, kind: str, words: int) -> None:
    """Walk through a file; kinds whose layout is not known here are left to the library.

    Raises:
        ModelFileError: The file is cut short or damaged, or its tensors are of an unknown type.
    """
    if kind not in _HEADS:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            position = _behind_words(data, kind, words)
            while position < len(data):
                position = _behind_tensor(data, position)
        except (struct.error, ValueError) as error:
            reason = str(error) if isinstance(error, ValueError) else "it ends in the middle of a number"
            raise ModelFileError(path, f"is damaged or cut short: {reason}; download it again") from error


def _behind_words(data: mmap.mmap, kind: str, words: int) -> int:
    numbers, again = _HEADS[kind]
    position = 4 + 4 * numbers
    if again:
        (count,) = struct.unpack_from("<i", data, position)
        if count != words:
            raise ValueError(f"it claims {words} words, and then {count}")
        position += 4
    for word in range(words):
        (length,) = struct.unpack_from("<I", data, position)
        position += 4 + length
        if length > _LONGEST_WORD or position > len(data):
            raise ValueError(f"word {word} has {length} bytes")
    return position


def _behind_tensor(data: mmap.mmap, position: int) -> int:
    dimensions, length, type_ = struct.unpack_from("<3i", data, position)
    if dimensions not in (1, 2) or not 0 < length <= _LONGEST_NAME or type_ not in _BLOCKS:
        raise ValueError(f"at byte {position} there should be a tensor, and there is none")
    shape = struct.unpack_from(f"<{dimensions}i", data, position + 12)
    values = shape[0] * shape[-1] if dimensions == 2 else shape[0]
    block, size = _BLOCKS[type_]
    if min(shape) <= 0 or values % block:
        raise ValueError(f"at byte {position} there is a tensor of the shape {shape}")
    end = position + 12 + 4 * dimensions + length + values // block * size
    if end > len(data):
        raise ValueError(f"a tensor ends {end - len(data)} bytes past the end of the file")
    return end
