"""One llama.cpp context, shared by all sessions on a model file; its KV cache serves as their prompt cache."""

from __future__ import annotations

import ctypes
import hashlib
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from chainkit.backends.llama_cpp.adapters import put_on
from chainkit.backends.llama_cpp.batch import BatchBuffer
from chainkit.backends.llama_cpp.contexts import (
    EncoderOnly,
    LlamaSettings,
    free_context,
    needs,
    new_context,
    remembers_whole,
    threads,
)
from chainkit.backends.llama_cpp.engines import known
from chainkit.backends.llama_cpp.exact import PASS, alike, parts_rows, rows, tidy
from chainkit.backends.llama_cpp.passes import LlamaRead, PassPart, ends, groups, pass_rows
from chainkit.backends.llama_cpp.prefixes import DiskPrefixes
from chainkit.backends.llama_cpp.sequences import LlamaSequence, LlamaSequences
from chainkit.backends.llama_cpp.token_table import table_rows
from chainkit.backends.llama_cpp.weights import Progress, Weights, check_room, load_weights
from chainkit.base.errors import ModelFileError, Unsupported
from chainkit.local.branches import Branches
from chainkit.local.lookup import Pace
from chainkit.local.runtime import END, ForwardRequest, ForwardResult, KVSequence, common, still_known
from chainkit.local.sharing import WORTH_A_PASS, share
from chainkit.local.soft_prompt import SoftPrompt, is_virtual, sampled_tokens, vectors_of, virtual_count
from chainkit.local.threads import Cancelled, OwnProcess
from chainkit.sizing.plan import Use, default_sequences

DEFAULT_CONTEXT = 4096
_NO_ROOM = 1
_SAMPLE = 1 << 14
_BRANCHES = 16  # options that are scored in one pass


class LlamaRuntime:
    """A context on loaded weights. Its methods may be called from any thread; one computes at a time.

    Attributes:
        context_length: Number of tokens that the context holds.
        vocabulary: The model's tokens.
        passes: Calls of llama.cpp so far.
        tokens_read: Tokens computed in them.
        pace: How long they take.
        crowded: Whether at the last call there was no room for all texts at once.
    """

    def __init__(self, weights: Weights, settings: LlamaSettings) -> None:
        self.weights, self.settings, self.library = weights, settings, weights.library
        self._process = OwnProcess()
        self.vocabulary = weights.vocabulary
        wanted = settings.context_length or min(weights.trained_context, DEFAULT_CONTEXT)
        # llama.cpp lowers it to the context without a word, and ends the process at a larger pass
        self.settings = settings = replace(settings, n_batch=min(settings.n_batch, wanted))
        whole = remembers_whole(weights)
        most = min(settings.n_batch, wanted)  # llama.cpp ends the process if there are more sequences
        texts = min(settings.n_sequences or default_sequences(states=whole), most, self.library.sequences or most)
        branches = 0 if whole or self.library.sequences else min(_BRANCHES, most - texts)
        # chosen once, so that the context and the files of prefixes agree on them
        single, batch = threads(weights, settings)
        chosen = replace(settings, n_threads=single, n_threads_batch=batch)
        self._context = new_context(weights, chosen, wanted, texts + branches)
        weakref.finalize(self, free_context, weights, self._context).atexit = False
        put_on(weights, self._context, settings.adapters)
        self.context_length = min(wanted, self.library.llama_n_ctx(self._context))
        self._alone = threading.RLock()  # what `lock` holds; the way to it is shorter
        self.lock = threading.Condition(self._alone)
        self._memory = self.library.llama_get_memory(self._context)
        if self._memory is None:  # a model that reads whole texts at once, like BERT
            raise EncoderOnly(weights)
        self.passes = self.tokens_read = 0
        self.pace = Pace(None if settings.repeatable else dict(weights.engine.costs))
        self.crowded = False
        self._whole = True  # whether the last call came to its end
        self._fingerprint: str | None = None
        self._fitting: weakref.WeakSet[SoftPrompt] = weakref.WeakSet()
        self._batch = BatchBuffer(settings.n_batch, texts + branches, self.library.layout.batch)
        self._branch_numbers = range(texts, texts + branches)
        self._sequences = LlamaSequences(
            self.library, self._memory, texts, self.lock, partial=not whole, rows=rows(weights)
        )
        spare = self._branch_numbers[0] if branches > 0 else None
        self._files = DiskPrefixes(weights, chosen, self._context, self._sequences, spare)

    def fingerprint(self) -> str:
        """Key of everything that its results depend on."""
        if self._fingerprint is not None:
            return self._fingerprint
        path = self.weights.path
        status, seen = path.stat(), hashlib.blake2b(digest_size=16)
        with path.open("rb") as file:  # a part of a large file, since all of it would take seconds
            for place in range(0, status.st_size, max(_SAMPLE, status.st_size // 64)):
                file.seek(place)
                seen.update(file.read(_SAMPLE))
        version = f"{self.library.layout.package} {self.library.layout.version}"
        self._fingerprint = f"{seen.hexdigest()} {status.st_size} {self.settings!r} {version}"
        return self._fingerprint

    @property
    def takes_soft_prompts(self) -> bool:
        """Whether virtual tokens can stand before a text."""
        return True

    @property
    def parallel(self) -> int:
        """Number of texts that are best computed in one pass."""
        return len(self._sequences.all)

    @property
    def room(self) -> int:
        """Number of tokens that all texts together can have in the KV cache."""
        return self.context_length

    @property
    def looks_ahead(self) -> bool:
        """Whether tokens that may come next are computed in the same pass, and forgotten if they do not come."""
        return self._sequences.partial

    def forward(self, requests: Sequence[ForwardRequest]) -> list[ForwardResult]:
        """Compute the missing tokens of all texts in as few passes as possible; an owner may appear only once.

        Raises:
            Cancelled: One of them was cancelled.
        """
        self._process.check()
        with self._alone:
            if not self._whole:
                self._mend()
            self._whole = False  # until this call has come to its end
            self.crowded = False
            if len(requests) == 1 and (result := self._next(requests[0])) is not None:
                self._whole = True
                return [result]
            reads = [LlamaRead(request, sequence=_own(request.sequence)) for request in requests]
            try:
                for start in range(0, len(reads), self.parallel):
                    waiting = reads[start : start + self.parallel]
                    while waiting:
                        self._settle(waiting)
                        waiting = self._read(waiting)
            except BaseException:  # its owner may not know its place yet, and so cannot release it
                for read in reads:
                    self.pause(read.sequence)
                raise
            self._whole = True
            return [read.result(read.place) for read in reads]

    def _mend(self) -> None:
        """After a call that was cut short, make llama.cpp's memory again what the sequences say."""
        for number in self._branch_numbers:
            self.library.llama_memory_seq_rm(self._memory, number, -1, -1)
        for sequence in self._sequences.all:
            self._sequences.mend(sequence)
            sequence.busy = sequence.busy and sequence.in_use
        self._whole = True

    def pause(self, sequence: KVSequence | None) -> None:
        """A generation has ended: others may take its place in memory, and until then it stays for reuse."""
        if isinstance(sequence, LlamaSequence):
            with self.lock:
                sequence.busy = False
                if self._whole:
                    self._files.keep(sequence)
                self.lock.notify_all()

    def drop(self, sequence: KVSequence | None, owner: object) -> None:
        """The owner needs its sequence no more; the tokens stay until the place is needed."""
        if isinstance(sequence, LlamaSequence):
            with self.lock:
                if sequence.belongs_to(owner):
                    if self._whole:
                        self._files.keep(sequence)
                    sequence.owner, sequence.busy = None, False
                    self.lock.notify_all()

    def state(self, sequence: KVSequence | None) -> bytes:
        """The KV data of a sequence's tokens, for `take_state`.

        Raises:
            Unsupported: The model cannot give it away.
        """
        with self.lock:
            if not self._whole:
                self._mend()
            assert isinstance(sequence, LlamaSequence)
            size = self.library.llama_state_seq_get_size(self._context, sequence.number)
            buffer = (ctypes.c_uint8 * size)()
            written = self.library.llama_state_seq_get_data(self._context, buffer, size, sequence.number)
        if not 0 < written <= size:
            raise Unsupported(f"{self.weights.path}: llama.cpp cannot save what this model has read")
        return ctypes.string_at(buffer, written)

    def take_state(self, tokens: Sequence[int], data: bytes) -> bool:
        """Restore KV data of tokens for reuse. False if llama.cpp rejects it."""
        owner = LlamaSequence(number=-1)
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        with self.lock:
            if not self._whole:
                self._mend()
            self._whole = False
            sequence = self._sequences.claim(owner, (), ())
            self._sequences.empty(sequence)
            taken = self.library.llama_state_seq_set_data(self._context, buffer, len(data), sequence.number)
            if taken == len(data):
                sequence.tokens, sequence.used = list(tokens), time.monotonic()
                sequence.exact = len(tokens)  # the file says the same each time
                self._sequences.mixed(holes=False)
            else:
                self._sequences.empty(sequence)
            self._whole = True
            return taken == len(data)

    def try_out(self) -> None:
        """Compute a few tokens.

        Raises:
            ModelFileError: The model cannot compute, or gives no numbers.
        """
        tokens = [token % self.vocabulary.size for token in (1, 2, 3, 5, 8, 13, 21, 34)]
        (result,) = self.forward([ForwardRequest(self, None, tokens, 0, lambda: False)])
        self.drop(result.sequence, self)
        if not np.isfinite(result.logits).all():
            raise ModelFileError(self.weights.path, "is damaged: the model computes values that are not numbers")

    def _next(self, request: ForwardRequest) -> ForwardResult | None:
        """One more token of a text that is where it was, as in most passes; None leaves it to the longer way."""
        sequence, tokens = _own(request.sequence), request.tokens
        if sequence is None or request.branches is not None or not sequence.belongs_to(request.owner):
            return None
        held = len(sequence.tokens)
        if held != request.known or held != len(tokens) - 1 or is_virtual(tokens[held]) or request.cancelled():
            return None
        if self._sequences.holes and self._is_alone(sequence):
            return None
        batch = self._batch.fill_one(tokens[held], held, sequence.number)
        start = time.monotonic()
        if self.library.llama_decode(self._context, batch):
            self.library.llama_memory_seq_rm(self._memory, sequence.number, held, -1)
            return None
        sequence.used = end = time.monotonic()
        self.pace.note(1, end - start)
        sequence.tokens.append(tokens[held])
        self._sequences.appended(sequence, held, 1 if self._sequences.rows == 1 else 0)
        sequence.busy = True
        self.passes += 1
        self.tokens_read += 1
        logits = self._batch.logits(self.library, self._context, self.vocabulary.size)
        return ForwardResult(sequence, 1, 1, logits[None])

    def _settle(self, reads: Sequence[LlamaRead]) -> None:
        """A sequence for each read, with as much of its text in it as can be found."""
        if len(reads) == 1 and self._is_alone(reads[0].sequence):
            self._settle_alone(reads[0])
            return
        known = {id(read): still_known(read.sequence.tokens, read.request) for read in reads if read.sequence}
        while homeless := [read for read in reads if not read.settled]:
            for read in homeless:  # while one waits, others may lose theirs
                keep = [other.place for other in reads if other.settled]
                read.sequence = self._sequences.claim(read.request.owner, read.request.tokens, keep)
                read.sequence.busy = True
                held = common(read.sequence.tokens, read.request.tokens)
                restored = self._files.restore(read.sequence, read.request.tokens, held)
                read.restored = restored > 0
                known[id(read)] = restored or common(read.sequence.tokens, read.request.tokens)
        for read in reads:
            read.place.busy = True
            read.start = self._sequences.trim(read.place, min(known[id(read)], len(read.request.tokens) - 1))
            if len(read.request.tokens) - read.start > WORTH_A_PASS:
                read.start = self._sequences.extend(read.place, read.request.tokens[:-1])

    def _is_alone(self, sequence: LlamaSequence | None) -> bool:
        """Whether nothing else is computed beside a sequence whose text shall be the same each time."""
        if not self.settings.repeatable:
            return False
        others = (other for other in self._sequences.all if other is not sequence)
        return self._sequences.partial and not any(other.busy for other in others)

    def _settle_alone(self, read: LlamaRead) -> None:
        """A sequence for a text computed alone; it reuses only bit-exact prefixes."""
        request, sequences = read.request, self._sequences
        if read.settled:
            known = min(still_known(read.place.tokens, request), len(request.tokens) - 1)
            donor = max(sequences.all, key=lambda other: sequences.reusable(other, request.tokens))
            more = sequences.reusable(donor, request.tokens)
            if sequences.rows == 1 and donor is not read.place and more - known > WORTH_A_PASS:
                sequences.copy(donor, read.place, more)
                known = more
        else:
            read.sequence = sequences.claim_alone(request.owner, request.tokens)
            known = sequences.reusable(read.place, request.tokens)
        read.place.busy = True
        read.start = sequences.trim(read.place, known)

    def _read(self, reads: Sequence[LlamaRead]) -> list[LlamaRead]:
        """Compute missing tokens; returns the reads that lost their sequence or did not fit beside the others."""
        if self._sequences.partial:
            share(reads, self._read_up_to, self._copy)
        left = self._advance(reads, None)
        waiting = [read for read in reads if read not in left and read.nodes]
        for parts in self._branch_passes(waiting) if len(waiting) > 1 else ():
            self._decode(parts)  # where there is no room, each gets a separate pass
        for read in waiting:
            while read.nodes:
                self._read_branches(read)
        return left

    def _copy(self, donor: LlamaRead, read: LlamaRead, length: int) -> None:
        self._sequences.copy(donor.place, read.place, length)
        read.start = length

    def _read_up_to(self, read: LlamaRead, length: int) -> None:
        self._advance([read], length)

    def _advance(self, reads: Sequence[LlamaRead], length: int | None) -> list[LlamaRead]:
        """Compute texts up to a length or their ends, in common passes; gives the reads that had to leave."""
        left: list[LlamaRead] = []
        while True:
            left += [read for read in reads if read not in left and not read.settled]
            waiting = [read for read in reads if read not in left and read.held < (length or len(read.request.tokens))]
            if not waiting:
                return left
            if any(read.request.cancelled() for read in reads):
                raise Cancelled("the generation was cancelled")
            if self._sequences.holes and len(reads) == 1 and self._is_alone(waiting[0].place):
                self._tidy(waiting[0])
            parts = self._parts(waiting, length)
            if self._decode(parts) or self._sequences.make_room([read.place for read in waiting]):
                continue
            if len(waiting) == 1:
                raise ModelFileError(self.weights.path, "llama.cpp has no room for a text that fits the context")
            self.crowded = True
            left.append(waiting[-1])  # it is read again when the others are done
            self._sequences.empty(waiting[-1].place)

    def _tidy(self, read: LlamaRead) -> None:
        room = self.context_length - max(0, len(read.request.tokens) - read.held) - PASS
        if not tidy(self.library, self._context, self._memory, self._sequences, read.place, room):
            read.start = 0

    def _parts(self, reads: Sequence[LlamaRead], length: int | None) -> list[PassPart]:
        """The next pass: `n_batch` tokens at most, with the branches of texts that are read with it."""
        parts, room, free = list[PassPart](), self.settings.n_batch, list(self._branch_numbers)
        for read in reads:
            if room <= 0:
                break
            most = min(room, self.settings.n_batch - read.held % self.settings.n_batch) if read.restored else room
            tokens = read.request.tokens[read.held : min(length or len(read.request.tokens), read.held + most)]
            part = PassPart(read, tokens[: virtual_count(tokens) or len(tokens)])
            parts.append(part)
            room -= len(part.tokens)
            branches, nodes = read.request.branches, read.nodes
            chain = self._chain(branches, nodes) if part.whole and branches and nodes else []
            if chain and len(chain) <= room:
                part.chain = chain
                room -= len(chain)
            elif part.whole and branches and nodes and len(nodes) <= room and len(ends(branches, nodes)) <= len(free):
                part.branch(nodes, free)
                room -= len(nodes)
        return parts

    def _chain(self, branches: Branches, nodes: Sequence[int]) -> Sequence[int]:
        """Nodes that can be read as a part of the text: all of one option, or the first option if it has no place."""
        if not self.looks_ahead:
            return ()
        return nodes if branches.chain else () if self._branch_numbers else branches.before(ends(branches, nodes)[0])

    def _branch_passes(self, reads: Sequence[LlamaRead]) -> Iterator[list[PassPart]]:
        """Passes over the branches of several texts."""
        parts, room, free = list[PassPart](), self.settings.n_batch, list(self._branch_numbers)
        for read in reads:
            branches, nodes = read.request.branches, read.nodes
            assert branches is not None
            wide = len(ends(branches, nodes))
            if len(nodes) > self.settings.n_batch or wide > len(self._branch_numbers):
                continue
            if len(nodes) > room or wide > len(free):
                yield parts
                parts, room, free = [], self.settings.n_batch, list(self._branch_numbers)
            part = PassPart(read, ())
            part.branch(nodes, free)
            parts.append(part)
            room -= len(nodes)
        if parts:
            yield parts

    def _read_branches(self, read: LlamaRead) -> None:
        """Branches for which there was no room beside the text."""
        branches = read.request.branches
        assert branches is not None
        most, width = self.settings.n_batch, len(self._branch_numbers)
        for group in groups(branches, read.nodes, width, most) if width else ():
            part = PassPart(read, ())
            if len(group) > most:
                break
            part.branch(group, list(self._branch_numbers))
            while not self._decode([part]):
                self._make_room_for_branches(read)
        for end in ends(branches, read.nodes):  # a model without branches, or one that is longer than a pass
            self._read_path(read, branches, branches.before(end))
        self._sequences.trim(read.place, len(read.request.tokens))

    def _read_path(self, read: LlamaRead, branches: Branches, path: Sequence[int]) -> None:
        """Read nodes that follow one another as if they were a part of the text."""
        text, sequence, most = read.request.tokens, read.place, self.settings.n_batch
        wanted = [*text, *(branches.tokens[node] for node in path)]
        first = next(place for place, node in enumerate(path) if node not in read.logits)
        self._sequences.trim(sequence, min(common(sequence.tokens, wanted), len(text) + first))
        while (start := len(sequence.tokens)) < len(wanted):
            tokens = text[start : start + most]
            part = PassPart(read, tokens[: virtual_count(tokens) or len(tokens)])
            if not tokens:
                part.chain = path[start - len(text) :][:most]
            if not self._decode([part]):
                self._make_room_for_branches(read)

    def _make_room_for_branches(self, read: LlamaRead) -> None:
        if not self._sequences.make_room([read.place]):
            raise ModelFileError(self.weights.path, "llama.cpp has no room for texts that fit the context")

    def _decode(self, parts: Sequence[PassPart]) -> bool:
        """One pass; False if there is no room for it. Soft prompts get a separate pass before all else."""
        if virtual := [part for part in parts if part.tokens and is_virtual(part.tokens[0])]:
            return self._decode_vectors(virtual)
        for part in parts:
            for number in part.numbers:
                self.library.llama_memory_seq_cp(self._memory, part.read.place.number, number, 0, part.start)
        wanted: list[tuple[LlamaRead, int, int]] = []
        if len(parts) == 1 and not parts[0].sequences and not parts[0].chain:  # the most frequent by far
            (part,) = parts
            batch = self._batch.fill(part.tokens, part.start, part.read.place.number)
            wanted += [(part.read, END, -1)] if part.whole else []
        else:
            rows = pass_rows(parts, join=self._sequences.partial)
            batch = self._batch.fill_rows(rows)
            wanted += [(*one, place) for place, row in enumerate(rows) for one in row.wanted]
        start = time.perf_counter()
        status = self.library.llama_decode(self._context, batch)
        if len(wanted) == batch.n_tokens:  # scores cost time, too
            self.pace.note(batch.n_tokens, time.perf_counter() - start)
        self._clean_up(parts, failed=status != 0)
        if status not in (0, _NO_ROOM):
            reason = self.library.last_errors()
            raise ModelFileError(self.weights.path, f"llama.cpp could not compute (status {status}): {reason}")
        if status == 0:
            self._note(parts, batch.n_tokens)
            for read, node, place in wanted:
                read.logits[node] = self._batch.logits(self.library, self._context, self.vocabulary.size, place)
        return status == 0

    def _decode_vectors(self, parts: Sequence[PassPart]) -> bool:
        """One pass over virtual tokens; False if there is no room for it."""
        vectors = vectors_of([token for part in parts for token in part.tokens])
        places = [part.start + place for part in parts for place in range(len(part.tokens))]
        sequences = [part.read.place.number for part in parts for _ in part.tokens]
        status = self.library.llama_decode(self._context, self._batch.fill_vectors(vectors, places, sequences))
        self._clean_up(parts, failed=status != 0)
        if status not in (0, _NO_ROOM):
            reason = self.library.last_errors()
            raise ModelFileError(self.weights.path, f"llama.cpp could not compute (status {status}): {reason}")
        if status == 0:
            self._note(parts, len(vectors))
        return status == 0

    def require_fit(self, prompt: SoftPrompt) -> None:
        """Refuse a soft prompt of another model.

        Raises:
            SoftPromptMismatch: It is one.
        """
        if prompt not in self._fitting:
            reads = table_rows(self.weights.header, self.library, sampled_tokens(self.vocabulary.size))
            prompt.require_fit(self.library.llama_model_n_embd(self.weights.handle), self.vocabulary.size, reads)
            self._fitting.add(prompt)

    def _clean_up(self, parts: Sequence[PassPart], *, failed: bool) -> None:
        for part in parts:
            for number in part.numbers:
                self.library.llama_memory_seq_rm(self._memory, number, -1, -1)
            if failed:  # the part of the batch that was computed is still in memory
                self.library.llama_memory_seq_rm(self._memory, part.read.place.number, part.start, -1)

    def _note(self, parts: Sequence[PassPart], total: int) -> None:
        self.passes += 1
        counts = [len(part.tokens) + len(part.sequences) + len(part.chain) for part in parts]
        sequences, blocks = self._sequences, self._sequences.rows == 1 or total == sum(counts)
        self.tokens_read += total
        for part, row in zip(parts, parts_rows(counts), strict=True):
            new = len(part.tokens) + len(part.chain)
            part.read.place.tokens.extend([*part.tokens, *part.chained])
            exact = alike(total, row, new, sequences.rows) if blocks else 0
            if len(parts) == 1:
                self._files.note(part.read.place, part.start, part.tokens)
                sequences.appended(part.read.place, part.start, exact)
            else:
                sequences.exact(part.read.place, part.start, exact)
            part.read.place.used = time.monotonic()
            part.read.passes += 1
            part.read.start += part.joined
        if len(parts) > 1:
            sequences.mixed(holes=any(part.sequences for part in parts))


def _own(sequence: KVSequence | None) -> LlamaSequence | None:
    assert sequence is None or isinstance(sequence, LlamaSequence)
    return sequence


_runtimes: weakref.WeakValueDictionary[tuple[object, ...], LlamaRuntime] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def open_runtime(
    path: Path, settings: LlamaSettings, *, force: bool = False, on_progress: Progress | None = None
) -> LlamaRuntime:
    """The runtime of a file and settings; one is made if there is none. It is freed when nothing refers to it.

    Args:
        force: Do not ask whether there is room in memory.
        on_progress: Called with the part of the weights that is loaded, from 0 to 1.

    Raises:
        ModelFileError: The file is not a model, or a damaged one.
        NotEnoughMemory: There is no room for it, and `force` was not given.
        MissingLibrary: llama.cpp is not installed.
    """
    before = None if force else partial(_require_room, path, settings)
    weights = load_weights(path, settings.loading, before, on_progress, needs=needs(settings))
    with _lock:
        runtime = _runtimes.get((id(weights), settings))
        if runtime is None or runtime.weights is not weights:
            if not force:
                _require_room(path, settings, loaded=True)
            runtime = _runtimes[id(weights), settings] = LlamaRuntime(weights, settings)
        return runtime


def _require_room(path: Path, settings: LlamaSettings, *, loaded: bool = False) -> None:
    loading = settings.loading
    engine = known(path, loading.engine, repack=loading.repack, probe=loading.probe, needs=needs(settings))
    use = Use(
        context=settings.context_length,
        batch=settings.n_batch,
        sequences=settings.n_sequences,
        kv_type=settings.kv_type,
        flash=settings.flash_attention is not False,
        repack=loading.repack,
        engine=engine.library if engine else "",
    )
    check_room(path, loading, use, loaded=loaded)
