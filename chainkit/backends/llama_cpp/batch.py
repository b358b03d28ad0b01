"""The memory through which tokens go to llama.cpp and numbers come back."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chainkit.backends.llama_cpp.capi import Handle, Library
from chainkit.backends.llama_cpp.layouts import Batch
from chainkit.decoding.sampler import Logits


class BatchBuffer:
    """A `llama_batch` over numpy arrays that are made once: T tokens at most.

    Attributes:
        size: T.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._token = np.zeros(size, np.int32)
        self._position = np.zeros(size, np.int32)
        self._sequences_each = np.ones(size, np.int32)
        self._sequence = np.zeros(size, np.int32)
        self._wanted = np.zeros(size, np.int8)
        # llama.cpp wants, per token, the address of its list of sequences
        self._addresses = self._sequence.ctypes.data + np.arange(size, dtype=np.uint64) * self._sequence.itemsize
        self._batch = Batch(
            token=self._token.ctypes.data,
            pos=self._position.ctypes.data,
            n_seq_id=self._sequences_each.ctypes.data,
            seq_id=self._addresses.ctypes.data,
            logits=self._wanted.ctypes.data,
        )
        self._views: dict[int, Logits] = {}

    def fill(self, tokens: Sequence[int], start: int, sequence: int) -> Batch:
        """Consecutive tokens of one sequence; logits are computed for the last."""
        count = len(tokens)
        self._token[:count] = tokens
        self._position[:count] = np.arange(start, start + count) if count > 1 else start
        self._sequence[:count] = sequence
        self._wanted[:count] = 0
        self._wanted[count - 1] = 1
        self._batch.n_tokens = count
        return self._batch

    def fill_rows(self, rows: Sequence[tuple[int, int, int, bool]]) -> Batch:
        """Tokens of any sequences, as (token, position, sequence, logits wanted)."""
        columns: NDArray[np.int64] = np.asarray(rows, dtype=np.int64)
        count = len(rows)
        self._token[:count], self._position[:count] = columns[:, 0], columns[:, 1]
        self._sequence[:count], self._wanted[:count] = columns[:, 2], columns[:, 3]
        self._batch.n_tokens = count
        return self._batch

    def logits(self, library: Library, context: Handle, vocabulary: int, row: int = -1) -> Logits:
        """A copy of the logits of one token of the last batch, [V]."""
        pointer = library.llama_get_logits_ith(context, row)
        if not pointer:
            raise IndexError(f"no logits were computed for token {row} of the batch")
        address = ctypes.addressof(pointer.contents)
        view = self._views.get(address)
        if view is None:
            view = np.ctypeslib.as_array(pointer, shape=(vocabulary,))
            self._views = {address: view} if len(self._views) > self.size else self._views | {address: view}
        return view.copy()
