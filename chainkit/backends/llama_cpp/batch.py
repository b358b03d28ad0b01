"""The memory through which tokens go to llama.cpp and numbers come back."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainkit.backends.llama_cpp.capi import Handle, Library
from chainkit.backends.llama_cpp.layouts import LlamaBatch
from chainkit.backends.llama_cpp.passes import PassRow
from chainkit.decoding.sampler import Logits
from chainkit.local.soft_prompt import Vectors


class BatchRow(NamedTuple):
    """One token, without the reads that `PassRow` knows.

    Attributes:
        token: The token.
        place: Its place in the text.
        sequences: Those that it becomes a part of.
        wanted: Whether the logits after it are.
    """

    token: int
    place: int
    sequences: Sequence[int]
    wanted: bool


class BatchBuffer:
    """A `llama_batch` over numpy arrays that are made once: T tokens at most.

    Attributes:
        size: T.
        width: Maximum number of sequences that share one token.
    """

    def __init__(self, size: int, width: int = 1, kind: type[ctypes.Structure] = LlamaBatch) -> None:
        self.size, self.width = size, width
        self._token = np.zeros(size, np.int32)
        self._position = np.zeros(size, np.int32)
        self._sequences_each = np.ones(size, np.int32)
        self._sequence = np.zeros((size, width), np.int32)
        self._wanted = np.zeros(size, np.int8)
        # llama.cpp wants, per token, the address of its list of sequences
        self._addresses = self._sequence.ctypes.data + np.arange(size, dtype=np.uint64) * (
            self._sequence.itemsize * width
        )
        self._batch: Any = kind(
            token=self._token.ctypes.data,
            pos=self._position.ctypes.data,
            n_seq_id=self._sequences_each.ctypes.data,
            seq_id=self._addresses.ctypes.data,
            logits=self._wanted.ctypes.data,
        )
        self._views: dict[int, Logits] = {}

    def fill_one(self, token: int, position: int, sequence: int) -> ctypes.Structure:
        """One token of one sequence, whose logits are computed."""
        self._token[0], self._position[0], self._sequence[0, 0] = token, position, sequence
        self._sequences_each[0] = self._wanted[0] = self._batch.n_tokens = 1
        return self._batch

    def fill(self, tokens: Sequence[int], start: int, sequence: int) -> ctypes.Structure:
        """Consecutive tokens of one sequence; logits are computed for the last."""
        count = len(tokens)
        self._token[:count] = tokens
        self._position[:count] = np.arange(start, start + count) if count > 1 else start
        self._sequence[:count, 0] = sequence
        self._sequences_each[:count] = 1
        self._wanted[:count] = 0
        self._wanted[count - 1] = 1
        self._batch.n_tokens = count
        return self._batch

    def fill_rows(self, rows: Sequence[PassRow | BatchRow]) -> ctypes.Structure:
        """Tokens of any sequences."""
        count = len(rows)
        self._token[:count] = [row.token for row in rows]
        self._position[:count] = [row.place for row in rows]
        self._wanted[:count] = [bool(row.wanted) for row in rows]
        self._sequences_each[:count] = [len(row.sequences) for row in rows]
        for number, row in enumerate(rows):
            self._sequence[number, : len(row.sequences)] = row.sequences
        self._batch.n_tokens = count
        return self._batch

    def fill_vectors(self, vectors: Vectors, positions: Sequence[int], sequences: Sequence[int]) -> ctypes.Structure:
        """Vectors [T, D] in the place of tokens, each of one sequence; no logits are computed."""
        count = len(vectors)
        self._vectors = np.ascontiguousarray(vectors, np.float32)
        self._position[:count], self._sequence[:count, 0] = positions, sequences
        self._sequences_each[:count], self._wanted[:count] = 1, 0
        batch = type(self._batch).from_buffer_copy(self._batch)
        batch.n_tokens, batch.token, batch.embd = count, None, self._vectors.ctypes.data
        return batch

    def logits(self, library: Library, context: Handle, vocabulary: int, row: int = -1) -> Logits:
        """A copy of the logits of one token of the last batch, [V]."""
        address = library.llama_get_logits_ith(context, row)
        if not address:
            raise IndexError(f"no logits were computed for token {row} of the batch")
        view = self._views.get(address)
        if view is None:
            view = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape=(vocabulary,))
            self._views = {address: view} if len(self._views) > self.size else self._views | {address: view}
        return view.copy()
