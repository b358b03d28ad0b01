"""One llama.cpp context, shared by all sessions on a model file: what has been read stays, and is never read twice."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from chainkit.backends.llama_cpp.batch import BatchBuffer
from chainkit.backends.llama_cpp.capi import Handle
from chainkit.backends.llama_cpp.weights import Loading, Weights, check_room, load_weights
from chainkit.base.errors import ModelFileError
from chainkit.decoding.sampler import Logits
from chainkit.sizing.plan import Use
from chainkit.steered.threads import Cancelled

DEFAULT_CONTEXT = 4096
KV_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}
FLASH = {None: -1, False: 0, True: 1}
_NO_ROOM = 1
_GRACE_SECONDS = 1.0  # a generation that has gone on within this time keeps its place in memory


class EncoderOnly(ModelFileError):
    """The model reads text and does not continue it."""

    def __init__(self, weights: Weights) -> None:
        kind = weights.header.architecture
        super().__init__(weights.path, f"is a model of kind '{kind}', which continues no text; use it for embeddings")


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Everything that makes one engine different from another on the same file.

    Attributes:
        n_ctx: Tokens that all sessions together can keep in memory, and the longest text; None: what the model was
            trained on, at most 4096.
        n_batch: Tokens computed at once while a prompt is read.
        n_threads: None: all cores but one, at most 4.
        n_sequences: Texts that can be kept apart in memory.
        flash_attention: None leaves it to llama.cpp.
        kv_type: How the memory of what was read is stored: "f16", "f32", or "q8_0" for half the size.
        loading: How the weights are loaded.
    """

    n_ctx: int | None = None
    n_batch: int = 512
    n_threads: int | None = None
    n_sequences: int = 8
    flash_attention: bool | None = None
    kv_type: str = "f16"
    loading: Loading = field(default_factory=Loading)


@dataclass(eq=False)
class Slot:
    """A sequence in llama.cpp's memory and the tokens it holds."""

    number: int
    tokens: list[int] = field(default_factory=list)
    owner: weakref.ref[object] | None = None
    busy: bool = False
    used: float = 0.0

    def belongs_to(self, owner: object) -> bool:
        """Whether this slot is kept for `owner`."""
        return self.owner is not None and self.owner() is owner


class Engine:
    """A context on loaded weights. Its methods may be called from any thread; one computes at a time.

    Attributes:
        limit: Tokens that the context holds.
        vocabulary: The model's tokens.
    """

    def __init__(self, weights: Weights, settings: EngineSettings) -> None:
        self.weights, self.settings, self.library = weights, settings, weights.library
        self.vocabulary = weights.vocabulary
        wanted = settings.n_ctx or min(weights.trained_context, DEFAULT_CONTEXT)
        threads = settings.n_threads or default_threads()
        self._context = _context(weights, settings, wanted, threads)
        weakref.finalize(self, _free, weights, self._context).atexit = False
        self.limit = min(wanted, self.library.llama_n_ctx(self._context))
        self.lock = threading.Condition(threading.RLock())
        self._memory = self.library.llama_get_memory(self._context)
        if self._memory is None:  # a model that reads whole texts at once, like BERT
            raise EncoderOnly(weights)
        self._batch = BatchBuffer(settings.n_batch)
        self._slots = [Slot(number) for number in range(settings.n_sequences)]

    def advance(
        self, owner: object, slot: Slot | None, tokens: Sequence[int], same: int, cancelled: Callable[[], bool]
    ) -> tuple[Slot, int, Logits]:
        """Read the tokens that are not in memory yet.

        Args:
            owner: Who the memory is kept for; it is given up when the owner is gone.
            slot: Where the owner's tokens were last time.
            tokens: The whole text; at least one token.
            same: So many of them are known to be in `slot`.
            cancelled: Asked before each piece of `n_batch` tokens.

        Returns:
            The slot, how many tokens had to be computed, and the logits of the next token, [V].

        Raises:
            Cancelled: `cancelled` said so.
        """
        with self.lock:
            while True:
                if slot is None or not slot.belongs_to(owner):
                    self._await_slot()
                    slot = self._claim(owner, tokens)
                    same = _common(slot.tokens, tokens)
                same = self._trim(slot, min(same, len(tokens) - 1))
                slot.busy = True
                if self._read(slot, owner, tokens, cancelled):
                    break
            return slot, len(tokens) - same, self._batch.logits(self.library, self._context, self.vocabulary.size)

    def release(self, slot: Slot | None) -> None:
        """A generation has ended: others may take its place in memory, and until then it stays for reuse."""
        if slot is not None:
            with self.lock:
                slot.busy = False
                self.lock.notify_all()

    def drop(self, slot: Slot | None, owner: object) -> None:
        """The owner needs its slot no more; the tokens stay until the place is needed."""
        if slot is not None:
            with self.lock:
                if slot.belongs_to(owner):
                    slot.owner, slot.busy = None, False
                    self.lock.notify_all()

    def try_out(self) -> None:
        """Compute a few tokens.

        Raises:
            ModelFileError: The model cannot compute, or gives no numbers.
        """
        tokens = [token % self.vocabulary.size for token in (1, 2, 3, 5, 8, 13, 21, 34)]
        _, _, logits = self.advance(self, None, tokens, 0, lambda: False)
        if not np.isfinite(logits).all():
            raise ModelFileError(self.weights.path, "is damaged: the model computes values that are no numbers")

    def _read(self, slot: Slot, owner: object, tokens: Sequence[int], cancelled: Callable[[], bool]) -> bool:
        """Compute what the slot lacks; False if the slot was lost to another thread on the way."""
        while len(slot.tokens) < len(tokens):
            if cancelled():
                raise Cancelled("the generation was cancelled")
            start = len(slot.tokens)
            piece = tokens[start : start + self.settings.n_batch]
            if not self._decode(slot, piece, start):
                if not slot.belongs_to(owner) or len(slot.tokens) != start:
                    return False
                continue
            slot.tokens.extend(piece)
            slot.used = time.monotonic()
        return True

    def _await_slot(self) -> None:
        """Wait while every slot belongs to a generation that is going on."""
        while all(slot.busy for slot in self._slots):
            remaining = min(slot.used for slot in self._slots) + _GRACE_SECONDS - time.monotonic()
            if remaining <= 0:
                return
            self.lock.wait(remaining)

    def _claim(self, owner: object, tokens: Sequence[int]) -> Slot:
        """A slot for the owner, with as much of the text in it as can be found in memory."""
        donor = max(self._slots, key=lambda slot: (_common(slot.tokens, tokens), not _in_use(slot)))
        shared = _common(donor.tokens, tokens)
        if not _in_use(donor) and shared * 2 >= len(donor.tokens):
            slot = donor
        else:
            slot = self._free_slot(donor)
            self._empty(slot)
            if shared and self._memory is not None:
                self.library.llama_memory_seq_cp(self._memory, donor.number, slot.number, 0, shared)
                slot.tokens = donor.tokens[:shared]
        slot.owner, slot.used = weakref.ref(owner), time.monotonic()
        return slot

    def _free_slot(self, donor: Slot) -> Slot:
        slots = [slot for slot in self._slots if slot is not donor] or [donor]
        return min(slots, key=lambda slot: (slot.busy, _in_use(slot), bool(slot.tokens), slot.used))

    def _trim(self, slot: Slot, length: int) -> int:
        """Forget all but the first tokens of a slot; some models can only forget everything."""
        if length < len(slot.tokens):
            if not self.library.llama_memory_seq_rm(self._memory, slot.number, length, -1):
                self._empty(slot)
                return 0
            del slot.tokens[length:]
        return length

    def _empty(self, slot: Slot) -> None:
        self.library.llama_memory_seq_rm(self._memory, slot.number, -1, -1)
        slot.tokens, slot.owner, slot.busy = [], None, False

    def _decode(self, slot: Slot, tokens: Sequence[int], start: int) -> bool:
        """Compute tokens; False if there was no room and some has been made, or waited for."""
        status = self.library.llama_decode(self._context, self._batch.fill(tokens, start, slot.number))
        if status == 0:
            return True
        # the part of the batch that was computed is still in memory
        self.library.llama_memory_seq_rm(self._memory, slot.number, start, -1)
        if status != _NO_ROOM:
            reason = self.library.last_errors()
            raise ModelFileError(self.weights.path, f"llama.cpp could not compute (status {status}): {reason}")
        self._make_room(slot)
        return False

    def _make_room(self, keeper: Slot) -> None:
        """Empty the slot that was used longest ago; wait for generations that are going on in other threads."""
        others = [slot for slot in self._slots if slot is not keeper and slot.tokens]
        if not others:
            raise ModelFileError(self.weights.path, "llama.cpp has no room for a text that fits the context")
        victim = min(others, key=lambda slot: (slot.busy, _in_use(slot), slot.used))
        remaining = victim.used + _GRACE_SECONDS - time.monotonic()
        if victim.busy and remaining > 0:
            self.lock.wait(remaining)
        else:
            self._empty(victim)


def default_threads() -> int:
    """All cores that this process may use but one, at most 4: more help little and make a busy machine slow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cores - 1))


_engines: weakref.WeakValueDictionary[tuple[object, ...], Engine] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def open_engine(path: Path, settings: EngineSettings, *, force: bool = False) -> Engine:
    """The engine of a file and settings; one is made if there is none. It is freed when nothing refers to it.

    Args:
        force: Do not ask whether there is room in memory.

    Raises:
        ModelFileError: The file is no model, or a damaged one.
        NotEnoughMemory: There is no room for it, and `force` was not given.
        MissingLibrary: llama.cpp is not installed.
    """
    weights = load_weights(path, settings.loading, None if force else partial(_require_room, path, settings))
    with _lock:
        engine = _engines.get((id(weights), settings))
        if engine is None or engine.weights is not weights:
            if not force:
                _require_room(path, settings, loaded=True)
            engine = _engines[id(weights), settings] = Engine(weights, settings)
        return engine


def _require_room(path: Path, settings: EngineSettings, *, loaded: bool = False) -> None:
    use = Use(
        context=settings.n_ctx,
        batch=settings.n_batch,
        sequences=settings.n_sequences,
        kv_type=settings.kv_type,
        flash=settings.flash_attention is not False,
    )
    check_room(path, settings.loading, use, loaded=loaded)


def _context(weights: Weights, settings: EngineSettings, n_ctx: int, threads: int) -> Handle:
    library = weights.library
    if not library.llama_model_has_decoder(weights.handle) or library.llama_model_has_encoder(weights.handle):
        raise EncoderOnly(weights)
    params = library.context_params(
        n_ctx=n_ctx,
        n_batch=settings.n_batch,
        n_ubatch=settings.n_batch,
        n_seq_max=settings.n_sequences,
        n_threads=threads,
        n_threads_batch=threads,
        flash_attn_type=FLASH[settings.flash_attention],
        type_k=KV_TYPES[settings.kv_type],
        type_v=KV_TYPES[settings.kv_type],
        kv_unified=1,
    )
    context = library.context(weights.handle, params)
    if context is None:
        raise ModelFileError(weights.path, f"llama.cpp cannot make a context of {n_ctx}: {library.last_errors()}")
    return context


def _free(weights: Weights, context: Handle) -> None:
    weights.library.llama_free(context)  # before the weights that it uses


def _in_use(slot: Slot) -> bool:
    return slot.owner is not None and slot.owner() is not None


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two texts begin with in common."""
    length = min(len(left), len(right))
    if not length or left[0] != right[0]:
        return 0
    differing = np.flatnonzero(np.asarray(left[:length]) != np.asarray(right[:length]))
    return int(differing[0]) if len(differing) else length
