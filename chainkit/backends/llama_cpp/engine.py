"""One llama.cpp context, shared by all sessions on a model file: what has been read stays, and is never read twice."""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from chainkit.backends.llama_cpp.adapters import Adapter, put_on
from chainkit.backends.llama_cpp.batch import BatchBuffer
from chainkit.backends.llama_cpp.capi import Handle
from chainkit.backends.llama_cpp.passes import END, Part, Row, ends, groups
from chainkit.backends.llama_cpp.slots import Slot, Slots
from chainkit.backends.llama_cpp.token_table import table_rows
from chainkit.backends.llama_cpp.weights import Loading, Progress, Weights, check_room, load_weights
from chainkit.base.errors import ModelFileError, Unsupported
from chainkit.local.branches import Branches
from chainkit.local.lookup import Pace
from chainkit.local.requests import Answer, Request, common, still_known
from chainkit.local.sharing import WORTH_A_PASS, share
from chainkit.local.soft_prompt import SoftPrompt, is_virtual, sampled_tokens, vectors_of, virtual_count
from chainkit.local.threads import Cancelled
from chainkit.sizing.plan import Use

DEFAULT_CONTEXT = 4096
KV_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}
FLASH = {None: -1, False: 0, True: 1}
_NO_ROOM = 1
_SAMPLE = 1 << 14
_BRANCHES = 16  # options that are scored in one pass


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
        adapters: LoRA adapters that are put on the weights.
    """

    n_ctx: int | None = None
    n_batch: int = 512
    n_threads: int | None = None
    n_sequences: int = 8
    flash_attention: bool | None = None
    kv_type: str = "f16"
    loading: Loading = field(default_factory=Loading)
    adapters: tuple[Adapter, ...] = ()


class Engine:
    """A context on loaded weights. Its methods may be called from any thread; one computes at a time.

    Attributes:
        limit: Tokens that the context holds.
        vocabulary: The model's tokens.
        passes: Calls of llama.cpp so far.
        tokens_read: Tokens computed in them.
        pace: How long they take.
        crowded: Whether at the last call there was no room for all texts at once.
    """

    def __init__(self, weights: Weights, settings: EngineSettings) -> None:
        self.weights, self.settings, self.library = weights, settings, weights.library
        self.vocabulary = weights.vocabulary
        wanted = settings.n_ctx or min(weights.trained_context, DEFAULT_CONTEXT)
        # llama.cpp lowers it to the context without a word, and ends the process at a larger pass
        self.settings = settings = replace(settings, n_batch=min(settings.n_batch, wanted))
        threads = settings.n_threads or default_threads()
        whole = remembers_whole(weights)
        most = min(settings.n_batch, wanted)  # llama.cpp ends the process if there are more sequences
        texts = min(settings.n_sequences, most)
        branches = 0 if whole else min(_BRANCHES, most - texts)
        self._context = _context(weights, settings, wanted, threads, texts + branches)
        weakref.finalize(self, _free, weights, self._context).atexit = False
        put_on(weights, self._context, settings.adapters)
        self.limit = min(wanted, self.library.llama_n_ctx(self._context))
        self._alone = threading.RLock()  # what `lock` holds; the way to it is shorter
        self.lock = threading.Condition(self._alone)
        self._memory = self.library.llama_get_memory(self._context)
        if self._memory is None:  # a model that reads whole texts at once, like BERT
            raise EncoderOnly(weights)
        self.passes = self.tokens_read = 0
        self.pace = Pace()
        self.crowded = False
        self._fitting: weakref.WeakSet[SoftPrompt] = weakref.WeakSet()
        self._batch = BatchBuffer(settings.n_batch, 1 + branches)
        self._branch_numbers = range(texts, texts + branches)
        self._slots = Slots(self.library, self._memory, texts, self.lock, partial=not whole)

    @cached_property
    def fingerprint(self) -> str:
        """What makes its results different from those of other models and settings."""
        path = self.weights.path
        status, seen = path.stat(), hashlib.blake2b(digest_size=16)
        with path.open("rb") as file:  # a part of a large file, since all of it would take seconds
            for place in range(0, status.st_size, max(_SAMPLE, status.st_size // 64)):
                file.seek(place)
                seen.update(file.read(_SAMPLE))
        version = f"{self.library.layout.package} {self.library.layout.version}"
        return f"{seen.hexdigest()} {status.st_size} {self.settings!r} {version}"

    @property
    def rows(self) -> int:
        """How many texts it does well to compute at once."""
        return len(self._slots.all)

    @property
    def room(self) -> int:
        """Tokens that all texts together can have in memory."""
        return self.limit

    @property
    def looks_ahead(self) -> bool:
        """Whether tokens that may come next are computed in the same pass, and forgotten if they do not come."""
        return self._slots.partial

    def together(self, requests: Sequence[Request[Slot]]) -> list[Answer[Slot]]:
        """Read what is missing of all texts, in as few passes as can be; no owner may come twice.

        Raises:
            Cancelled: One of them was cancelled.
        """
        with self._alone:
            self.crowded = False
            if len(requests) == 1 and (answer := self._next(requests[0])) is not None:
                return [answer]
            rows = [Row(request, request.place) for request in requests]
            try:
                for start in range(0, len(rows), self.rows):
                    waiting = rows[start : start + self.rows]
                    while waiting:
                        self._settle(waiting)
                        waiting = self._read(waiting)
            except BaseException:  # its owner may not know its place yet, and so cannot release it
                for row in rows:
                    self.release(row.slot)
                raise
            return [row.answer() for row in rows]

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

    def state(self, slot: Slot) -> bytes:
        """What was computed of a slot's tokens, for `take_state`.

        Raises:
            Unsupported: The model cannot give it away.
        """
        with self.lock:
            size = self.library.llama_state_seq_get_size(self._context, slot.number)
            buffer = (ctypes.c_uint8 * size)()
            written = self.library.llama_state_seq_get_data(self._context, buffer, size, slot.number)
        if not 0 < written <= size:
            raise Unsupported(f"{self.weights.path}: llama.cpp cannot save what this model has read")
        return ctypes.string_at(buffer, written)

    def take_state(self, tokens: Sequence[int], data: bytes) -> bool:
        """Put back what was computed of tokens; it stays for reuse. False if llama.cpp does not take it."""
        owner = Slot(-1)
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        with self.lock:
            slot = self._slots.claim(owner, (), ())
            self._slots.empty(slot)
            taken = self.library.llama_state_seq_set_data(self._context, buffer, len(data), slot.number)
            if taken != len(data):
                self._slots.empty(slot)
                return False
            slot.tokens, slot.used = list(tokens), time.monotonic()
            return True

    def try_out(self) -> None:
        """Compute a few tokens.

        Raises:
            ModelFileError: The model cannot compute, or gives no numbers.
        """
        tokens = [token % self.vocabulary.size for token in (1, 2, 3, 5, 8, 13, 21, 34)]
        (answer,) = self.together([Request(self, None, tokens, 0, lambda: False)])
        self.drop(answer.place, self)
        if not np.isfinite(answer.logits).all():
            raise ModelFileError(self.weights.path, "is damaged: the model computes values that are no numbers")

    def _next(self, request: Request[Slot]) -> Answer[Slot] | None:
        """One more token of a text that is where it was, as in most passes; None leaves it to the longer way."""
        slot, tokens = request.place, request.tokens
        if slot is None or request.branches is not None or not slot.belongs_to(request.owner):
            return None
        held = len(slot.tokens)
        if held != request.known or held != len(tokens) - 1 or is_virtual(tokens[held]) or request.cancelled():
            return None
        batch = self._batch.fill_one(tokens[held], held, slot.number)
        start = time.monotonic()
        if self.library.llama_decode(self._context, batch):
            self.library.llama_memory_seq_rm(self._memory, slot.number, held, -1)
            return None
        slot.used = end = time.monotonic()
        self.pace.note(1, end - start)
        slot.tokens.append(tokens[held])
        slot.busy = True
        self.passes += 1
        self.tokens_read += 1
        logits = self._batch.logits(self.library, self._context, self.vocabulary.size)
        return Answer(slot, 1, 1, logits[None])

    def _settle(self, rows: Sequence[Row]) -> None:
        """A slot for each row, with as much of its text in it as can be found."""
        known = {id(row): still_known(row.slot.tokens, row.request) for row in rows if row.slot}
        while homeless := [row for row in rows if not row.settled]:
            for row in homeless:  # while one waits, others may lose theirs
                keep = [other.place for other in rows if other.settled]
                row.slot = self._slots.claim(row.request.owner, row.request.tokens, keep)
                row.slot.busy = True
                known[id(row)] = common(row.slot.tokens, row.request.tokens)
        for row in rows:
            row.place.busy = True
            row.start = self._slots.trim(row.place, min(known[id(row)], len(row.request.tokens) - 1))
            if len(row.request.tokens) - row.start > WORTH_A_PASS:
                row.start = self._slots.extend(row.place, row.request.tokens[:-1])

    def _read(self, rows: Sequence[Row]) -> list[Row]:
        """Compute what is missing; the rows that lost their place, or for whom there was no room beside the others."""
        if self._slots.partial:
            share(rows, self._read_up_to, self._copy)
        left = self._advance(rows, None)
        for row in rows:
            while row not in left and row.nodes:
                self._read_branches(row)
        return left

    def _copy(self, donor: Row, row: Row, length: int) -> None:
        self._slots.copy(donor.place, row.place, length)
        row.start = length

    def _read_up_to(self, row: Row, length: int) -> None:
        self._advance([row], length)

    def _advance(self, rows: Sequence[Row], length: int | None) -> list[Row]:
        """Compute texts up to a length or their ends, and those that are ready together; the rows that had to leave."""
        left: list[Row] = []
        while True:
            left += [row for row in rows if row not in left and not row.settled]
            waiting = [row for row in rows if row not in left and row.held < (length or len(row.request.tokens))]
            if not waiting:
                return left
            if any(row.request.cancelled() for row in rows):
                raise Cancelled("the generation was cancelled")
            parts = self._parts(waiting, length)
            if self._decode(parts) or self._slots.make_room([row.place for row in waiting]):
                continue
            if len(waiting) == 1:
                raise ModelFileError(self.weights.path, "llama.cpp has no room for a text that fits the context")
            self.crowded = True
            left.append(waiting[-1])  # it is read again when the others are done
            self._slots.empty(waiting[-1].place)

    def _parts(self, rows: Sequence[Row], length: int | None) -> list[Part]:
        """The next pass: `n_batch` tokens at most, with the branches of texts that are read with it."""
        parts, room, free = list[Part](), self.settings.n_batch, list(self._branch_numbers)
        for row in rows:
            if room <= 0:
                break
            tokens = row.request.tokens[row.held : min(length or len(row.request.tokens), row.held + room)]
            part = Part(row, tokens[: virtual_count(tokens) or len(tokens)])
            parts.append(part)
            room -= len(part.tokens)
            branches, nodes = row.request.branches, row.nodes
            if part.whole and branches and branches.chain and self.looks_ahead and len(nodes) <= room:
                part.chain = nodes
                room -= len(nodes)
            elif part.whole and branches and nodes and len(nodes) <= room and len(ends(branches, nodes)) <= len(free):
                part.branch(nodes, free)
                room -= len(nodes)
        return parts

    def _read_branches(self, row: Row) -> None:
        """Branches for which there was no room beside the text."""
        branches = row.request.branches
        assert branches is not None
        most, width = self.settings.n_batch, len(self._branch_numbers)
        for group in groups(branches, row.nodes, width, most) if width else ():
            part = Part(row, ())
            if len(group) > most:
                break
            part.branch(group, list(self._branch_numbers))
            while not self._decode([part]):
                self._make_room_for_branches(row)
        for node in row.nodes:  # a model without branches, or one that is longer than a pass
            self._read_node(row, branches, node)
        self._slots.trim(row.place, len(row.request.tokens))

    def _read_node(self, row: Row, branches: Branches, node: int) -> None:
        wanted, slot = [*row.request.tokens, *(branches.tokens[one] for one in branches.before(node))], row.place
        self._slots.trim(slot, min(common(slot.tokens, wanted), len(wanted) - 1))
        while len(slot.tokens) < len(wanted):
            start = len(slot.tokens)
            tokens = wanted[start : start + self.settings.n_batch]
            if not self._decode([Part(row, tokens[: virtual_count(tokens) or len(tokens)])]):
                self._make_room_for_branches(row)
        row.found[node] = self._batch.logits(self.library, self._context, self.vocabulary.size)

    def _make_room_for_branches(self, row: Row) -> None:
        if not self._slots.make_room([row.place]):
            raise ModelFileError(self.weights.path, "llama.cpp has no room for texts that fit the context")

    def _decode(self, parts: Sequence[Part]) -> bool:
        """One pass; False if there is no room for it. Soft prompts have a pass of their own, before all else."""
        if virtual := [part for part in parts if part.tokens and is_virtual(part.tokens[0])]:
            return self._decode_vectors(virtual)
        for part in parts:
            for number in part.numbers:
                self.library.llama_memory_seq_cp(self._memory, part.row.place.number, number, 0, part.start)
        wanted: list[tuple[Row, int, int]] = []
        if len(parts) == 1 and not parts[0].sequences and not parts[0].chain:  # the most frequent by far
            (part,) = parts
            batch = self._batch.fill(part.tokens, part.start, part.row.place.number)
            wanted += [(part.row, END, -1)] if part.whole else []
        else:
            items = [(part.row, *item) for part in parts for item in part.items()]
            batch = self._batch.fill_rows(
                [(token, at, numbers, node is not None) for _, token, at, numbers, node in items]
            )
            wanted += [(row, node, place) for place, (row, *_, node) in enumerate(items) if node is not None]
        start = time.perf_counter()
        status = self.library.llama_decode(self._context, batch)
        self.pace.note(batch.n_tokens, time.perf_counter() - start)
        self._clean_up(parts, failed=status != 0)
        if status not in (0, _NO_ROOM):
            reason = self.library.last_errors()
            raise ModelFileError(self.weights.path, f"llama.cpp could not compute (status {status}): {reason}")
        if status == 0:
            self._note(parts)
            for row, node, place in wanted:
                row.found[node] = self._batch.logits(self.library, self._context, self.vocabulary.size, place)
        return status == 0

    def _decode_vectors(self, parts: Sequence[Part]) -> bool:
        """One pass over virtual tokens; False if there is no room for it."""
        vectors = vectors_of([token for part in parts for token in part.tokens])
        places = [part.start + place for part in parts for place in range(len(part.tokens))]
        slots = [part.row.place.number for part in parts for _ in part.tokens]
        status = self.library.llama_decode(self._context, self._batch.fill_vectors(vectors, places, slots))
        self._clean_up(parts, failed=status != 0)
        if status not in (0, _NO_ROOM):
            reason = self.library.last_errors()
            raise ModelFileError(self.weights.path, f"llama.cpp could not compute (status {status}): {reason}")
        if status == 0:
            self._note(parts)
        return status == 0

    def require_fit(self, prompt: SoftPrompt) -> None:
        """Refuse a soft prompt of another model.

        Raises:
            SoftPromptMismatch: It is one.
        """
        if prompt not in self._fitting:
            rows = table_rows(self.weights.header, self.library, sampled_tokens(self.vocabulary.size))
            prompt.require_fit(self.library.llama_model_n_embd(self.weights.handle), self.vocabulary.size, rows)
            self._fitting.add(prompt)

    def _clean_up(self, parts: Sequence[Part], *, failed: bool) -> None:
        for part in parts:
            for number in part.numbers:
                self.library.llama_memory_seq_rm(self._memory, number, -1, -1)
            if failed:  # the part of the batch that was computed is still in memory
                self.library.llama_memory_seq_rm(self._memory, part.row.place.number, part.start, -1)

    def _note(self, parts: Sequence[Part]) -> None:
        self.passes += 1
        self.tokens_read += sum(len(part.tokens) + len(part.sequences) + len(part.chain) for part in parts)
        for part in parts:
            part.row.place.tokens.extend([*part.tokens, *part.chained])
            part.row.place.used = time.monotonic()
            part.row.passes += 1


def default_threads() -> int:
    """All cores that this process may use but one, at most 4: more help little and make a busy machine slow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cores - 1))


_engines: weakref.WeakValueDictionary[tuple[object, ...], Engine] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def open_engine(
    path: Path, settings: EngineSettings, *, force: bool = False, on_progress: Progress | None = None
) -> Engine:
    """The engine of a file and settings; one is made if there is none. It is freed when nothing refers to it.

    Args:
        force: Do not ask whether there is room in memory.
        on_progress: Called with the part of the weights that is loaded, from 0 to 1.

    Raises:
        ModelFileError: The file is no model, or a damaged one.
        NotEnoughMemory: There is no room for it, and `force` was not given.
        MissingLibrary: llama.cpp is not installed.
    """
    weights = load_weights(
        path, settings.loading, None if force else partial(_require_room, path, settings), on_progress
    )
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


def remembers_whole(weights: Weights) -> bool:
    """Whether the model keeps a text as one state, which cannot be shared from a place in its midst."""
    library = weights.library
    return library.llama_model_is_recurrent(weights.handle) or library.llama_model_is_hybrid(weights.handle)


def _context(weights: Weights, settings: EngineSettings, n_ctx: int, threads: int, sequences: int) -> Handle:
    library = weights.library
    if not library.llama_model_has_decoder(weights.handle) or library.llama_model_has_encoder(weights.handle):
        raise EncoderOnly(weights)
    params = library.context_params(
        n_ctx=n_ctx,
        n_batch=settings.n_batch,
        n_ubatch=settings.n_batch,
        n_seq_max=sequences,
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
