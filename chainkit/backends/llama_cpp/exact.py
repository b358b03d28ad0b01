"""Bit-exact results for a text computed alone, independent of earlier calls.

llama.cpp rounds differently in three cases (its CPU kernels, found by comparing bits):

* 64 tokens or more in a pass take another kernel of flash attention, whose sums depend on the place in the KV cache.
  So passes have fewer.
* Attention sums over the cells in their order. Where a text has left holes, the next one's tokens may stand before
  those that they follow. So the holes are closed before a text is read alone.
* Repacked weights are multiplied with one token otherwise than with several. So such models read blocks of 32 tokens,
  and a text that is read alone takes up whole blocks only.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence

from chainkit.backends.llama_cpp.capi import Handle, Library
from chainkit.backends.llama_cpp.sequences import LlamaSequence, LlamaSequences
from chainkit.backends.llama_cpp.weights import Weights

PASS = 60
"""Tokens that llama.cpp computes at once at most."""
_BLOCK = 32
_ALIKE = frozenset({"F32", "Q4_1", "Q5_1"})  # types that are computed alike for any number of tokens
_ALIKE_ON_X86 = _ALIKE | {"Q8_0"}  # Arm repacks it


def rows(weights: Weights) -> int:
    """Tokens in a block computed together; 1 where results do not depend on the number of tokens."""
    kinds = {tensor.type for name, tensor in weights.header.tensors.items() if name.startswith("blk.")}
    alike_here = _ALIKE_ON_X86 if platform.machine().lower() in ("x86_64", "amd64") else _ALIKE
    return 1 if kinds <= alike_here else _BLOCK


def tidy(
    library: Library, context: Handle, memory: Handle, sequences: LlamaSequences, own: LlamaSequence, room: int
) -> bool:
    """Close the holes between the cells; sequences that were used longest ago may be emptied for that.

    Args:
        library: llama.cpp.
        context: Its context.
        memory: The context's KV cache.
        sequences: All sequences; none of the others may be computed.
        own: The sequence that must keep its tokens.
        room: How many tokens may stay in all.

    Returns:
        Whether `own` has kept its tokens.
    """
    others = [one for one in sequences.all if one is not own and one.tokens]
    others.sort(key=lambda one: (one.in_use, one.used), reverse=True)
    kept: list[tuple[LlamaSequence, bytes]] = []
    for one in [own, *others[: max(1, len(sequences.all) // 2 - 1)]]:
        if one.tokens and (one is own or len(one.tokens) <= room):
            room -= len(one.tokens)
            kept.append((one, _state(library, context, one)))
    held = {one.number: (one.tokens, one.exact, one.owner, one.busy) for one, _ in kept}
    for one in sequences.all:
        sequences.empty(one)
    library.llama_memory_clear(memory, False)
    for one, data in kept:
        tokens, exact, one.owner, one.busy = held[one.number]
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        if data and library.llama_state_seq_set_data(context, buffer, len(data), one.number) == len(data):
            one.tokens, one.exact = tokens, exact
        else:
            library.llama_memory_seq_rm(memory, one.number, -1, -1)
    sequences.mixed(holes=False)
    return not held.get(own.number, ([],))[0] or bool(own.tokens)


def _state(library: Library, context: Handle, sequence: LlamaSequence) -> bytes:
    size = library.llama_state_seq_get_size(context, sequence.number)
    buffer = (ctypes.c_uint8 * size)()
    written = library.llama_state_seq_get_data(context, buffer, size, sequence.number)
    return ctypes.string_at(buffer, written)


def alike(total: int, start: int, count: int, block: int) -> int:
    """How many of the tokens in rows `start` to `start + count` of a pass are computed in whole blocks.

    >>> alike(70, 0, 70, 32), alike(70, 60, 10, 32), alike(10, 0, 10, 1)
    (64, 4, 10)
    """
    return max(0, min(count, total - total % block - start))


def parts_rows(counts: Sequence[int]) -> list[int]:
    """Where the rows of each part of a pass begin.

    >>> parts_rows([3, 1, 2])
    [0, 3, 4]
    """
    found, place = list[int](), 0
    for count in counts:
        found.append(place)
        place += count
    return found
