"""The prefix cache on disk: reads and writes the KV data of text prefixes, shared between processes.

In a process that has read nothing before, a text continued from files is bit-identical to one computed without them.
llama.cpp's CPU kernels round in three ways that matter for it (found by comparing bits; `exact.py` has more):

* A pass over 64 tokens or more uses a different flash-attention kernel. So only tokens computed in such passes are
  stored, and enough tokens are left over that each is computed as it would have been without files.
* That kernel sums over tiles of the KV cache. So only tokens are stored that lie in the first cells, where a fresh
  process puts them.
* With repacked weights, the last rows of a pass use other code if they do not fill a block. So a text continues at the
  first row of a block.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import platform
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chainkit.backends.llama_cpp.contexts import flash
from chainkit.backends.llama_cpp.exact import rows
from chainkit.base.paths import parts
from chainkit.local.prefix_files import BLOCK, Data, PrefixFiles, block_names, prefix_files
from chainkit.local.soft_prompt import is_virtual

if TYPE_CHECKING:
    from chainkit.backends.llama_cpp.capi import Handle
    from chainkit.backends.llama_cpp.contexts import LlamaSettings
    from chainkit.backends.llama_cpp.sequences import LlamaSequence, LlamaSequences
    from chainkit.backends.llama_cpp.weights import Weights

log = logging.getLogger("chainkit.llama_cpp")

LONG = 64
"""Tokens of a pass from which on llama.cpp takes the kernel for many."""
ROWS = 16
"""Tokens that a kernel for repacked weights multiplies at once at most."""
WORTH = 256
"""New tokens that are worth files, and tokens that are worth being taken from them."""
_MOST_BYTES = 256_000_000  # that wait to be written
_EXIT_SECONDS = 5.0
_BYTES = ctypes.POINTER(ctypes.c_uint8)


class DiskPrefixes:
    """What one runtime takes from the files of prefixes and puts there; the caller holds the runtime's lock.

    Args:
        weights: The model.
        settings: The runtime's, with its numbers of threads.
        context: llama.cpp's context.
        sequences: Its sequences.
        spare: A sequence of llama.cpp that no text has, for blocks on their way; None: nothing is taken or put.
    """

    def __init__(
        self, weights: Weights, settings: LlamaSettings, context: Handle, sequences: LlamaSequences, spare: int | None
    ) -> None:
        self._library, self._context, self._sequences = weights.library, context, sequences
        self._memory = self._library.llama_get_memory(context)
        self._batch, self._rows = settings.n_batch, min(rows(weights), ROWS)
        self._spare = None if settings.repeatable or settings.n_batch % LONG else spare
        models = [*parts(weights.path), *(adapter.path for adapter in settings.adapters)]
        self._models = [(path, _seen(path)) for path in models] if self._spare is not None else []
        library = weights.library
        self._key = repr(
            (
                (library.layout.package, library.layout.version, _seen(library.path), platform.machine()),
                (settings.n_threads, settings.n_threads_batch, settings.n_batch, library.llama_n_ctx(context)),
                (settings.kv_type, flash(weights, settings)),
                (settings.loading.repack, settings.loading.n_gpu_layers),
                [adapter.scale for adapter in settings.adapters],
            )
        )
        self._offered: set[bytes] = set()  # names, without the model, of last blocks that were given to be written

    def note(self, sequence: LlamaSequence, start: int, tokens: Sequence[int]) -> None:
        """Note that a pass of one text has put tokens at its end."""
        if self._spare is None or len(tokens) < LONG or start != sequence.steady or is_virtual(tokens[0]):
            return
        if self._alone(sequence):
            sequence.steady = start + len(tokens) - len(tokens) % self._rows

    def restore(self, sequence: LlamaSequence, tokens: Sequence[int], known: int) -> int:
        """Load a prefix of a text into its sequence, if the files hold more of it than memory does.

        Args:
            sequence: The text's own.
            tokens: The text.
            known: How many of them are in the sequence.

        Returns:
            Number of tokens in the sequence afterwards; 0 if the files hold too few (it is then unchanged or empty).
        """
        if self._spare is None or len(tokens) < known + WORTH + LONG or is_virtual(tokens[0]):
            return 0
        files = prefix_files()
        if files is None or (key := self._full_key(files, compute=False)) is None:
            return 0
        names = list(block_names(key, tokens))
        there = next((place for place, name in enumerate(names) if name not in files), len(names))
        wanted = self.start(len(tokens), there * BLOCK)
        if wanted < known + WORTH:
            return 0
        self._sequences.trim(sequence, 0)
        names = names[: -(-wanted // BLOCK)]
        wanted = self.start(len(tokens), min(wanted, self._put(files, names, tokens, sequence, wanted)))
        if wanted < WORTH:  # a block was damaged, or there is no room
            wanted = 0
        else:
            files.touch(names)
        sequence.tokens = list(tokens[:wanted])
        self._sequences.mend(sequence)
        sequence.steady = wanted if self._alone(sequence) else 0
        return wanted

    def keep(self, sequence: LlamaSequence) -> None:
        """Have the beginning of a text written, if it is long and not there; a copy is made now, the rest beside."""
        count = sequence.steady // BLOCK
        if self._spare is None or count * BLOCK < WORTH or (files := prefix_files()) is None:
            return
        tokens = sequence.tokens[: count * BLOCK]
        last = list(block_names(b"", tokens))[-1]
        if last in self._offered:
            return
        self._offered.add(last)
        key, first = self._full_key(files, compute=False), 0
        if key is not None:
            names = list(block_names(key, tokens))
            first = next((place for place, name in enumerate(names) if name not in files), count)
        if (count - first) * BLOCK >= WORTH and (blocks := self._copies(sequence, first, count, files.limit)):
            _written_beside(lambda: self._write(files, tokens, first, blocks), sum(map(len, blocks)))

    def start(self, count: int, known: int) -> int:
        """Position from which a text of `count` tokens must be computed, if the first `known` are stored.

        Passes begin at multiples of `n_batch`, as they do without files. In each of them all tokens are known, none, or
        all but `LONG` and the rest of a block: then these are computed as in the whole pass.
        """
        begin = min(known, count - 1)
        begin -= begin % self._rows
        first = begin - begin % self._batch
        end = min(first + self._batch, count)
        if begin != first and end - begin < LONG:
            begin = end - LONG
            begin -= begin % self._rows
        return max(begin, first, 0)

    def _alone(self, sequence: LlamaSequence) -> bool:
        return all(other is sequence or not other.tokens for other in self._sequences.all)

    def _put(
        self, files: PrefixFiles, names: Sequence[bytes], tokens: Sequence[int], sequence: LlamaSequence, count: int
    ) -> int:
        """Blocks into an empty sequence, up to a number of tokens; how many are there then."""
        assert self._spare is not None
        library, memory = self._library, self._memory
        for place, name in enumerate(names):
            begin = place * BLOCK
            data = files.read(name, tokens[begin : begin + BLOCK])
            if data is None:
                return begin
            taken = library.llama_state_seq_set_data(self._context, data.ctypes.data_as(_BYTES), len(data), self._spare)
            if taken == len(data):
                end = min(begin + BLOCK, count)
                library.llama_memory_seq_cp(memory, self._spare, sequence.number, begin, end)
            library.llama_memory_seq_rm(memory, self._spare, -1, -1)
            if taken != len(data):
                return begin
        return count

    def _copies(self, sequence: LlamaSequence, first: int, end: int, limit: int) -> list[Data]:
        """Copies of the KV data of blocks; fewer if they are too large, none if llama.cpp does not return them."""
        assert self._spare is not None
        library, memory, found = self._library, self._memory, list[Data]()
        for place in range(first, end):
            # one by one: of layers with a sliding window only the last tokens of a sequence are given away
            begin = place * BLOCK
            library.llama_memory_seq_cp(memory, sequence.number, self._spare, begin, begin + BLOCK)
            data = np.empty(library.llama_state_seq_get_size(self._context, self._spare), np.uint8)
            given = library.llama_state_seq_get_data(self._context, data.ctypes.data_as(_BYTES), len(data), self._spare)
            library.llama_memory_seq_rm(memory, self._spare, -1, -1)
            if not given or given != len(data) or (found and len(found[0]) != given):
                return []
            if (len(found) + 1) * given > min(_MOST_BYTES, limit // 4):
                break
            found.append(data)
        return found if len(found) * BLOCK >= WORTH else []

    def _write(self, files: PrefixFiles, tokens: Sequence[int], first: int, blocks: Sequence[Data]) -> None:
        key = self._full_key(files, compute=True)
        if key is None:
            return
        named = list(block_names(key, tokens))[first:]
        pieces = [tokens[(first + place) * BLOCK : (first + place + 1) * BLOCK] for place in range(len(blocks))]
        files.write(list(zip(named, pieces, blocks, strict=False)))

    def _full_key(self, files: PrefixFiles, *, compute: bool) -> bytes | None:
        """What decides the numbers, the hashes of all files with it; None: not all are known, or one has changed."""
        found = self._key.encode()
        try:
            for path, seen in self._models:
                if _seen(path) != seen or (digest := files.model_hash(path, compute=compute)) is None:
                    return None
                found += digest
            changed = any(_seen(path) != seen for path, seen in self._models)
        except OSError as error:
            log.info("no prefix is kept: %s", error)
            return None
        return None if changed else found


def _seen(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


class _Writing:
    """Threads that write; the process waits for them when it ends, for some seconds."""

    def __init__(self) -> None:
        self.lock, self.waiting = threading.Lock(), 0
        self.threads: list[threading.Thread] = []
        self.registered = False


_writing = _Writing()


def _written_beside(work: Callable[[], object], nbytes: int) -> None:
    """Do something in a thread, unless too much waits to be done."""

    def run() -> None:
        try:
            work()
        finally:
            with _writing.lock:
                _writing.waiting -= nbytes

    with _writing.lock:
        if _writing.waiting and _writing.waiting + nbytes > _MOST_BYTES:
            return
        _writing.waiting += nbytes
        _writing.threads = [thread for thread in _writing.threads if thread.is_alive()]
        thread = threading.Thread(target=run, name="chainkit-prefixes", daemon=True)
        _writing.threads.append(thread)
        if not _writing.registered:
            _writing.registered = True
            atexit.register(written, _EXIT_SECONDS)
    thread.start()


def written(seconds: float) -> bool:
    """Wait until pending writes are on disk; False on timeout."""
    end = time.monotonic() + seconds
    for thread in list(_writing.threads):
        thread.join(max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in _writing.threads)
