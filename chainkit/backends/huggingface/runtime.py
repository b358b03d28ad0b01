"""One causal model, shared by all sessions on it: what has been read stays in sequence, and is never read twice."""

from __future__ import annotations

import inspect
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.backends.huggingface import ragged
from chainkit.backends.huggingface.kv_cache import KeysValues, LibraryCache
from chainkit.backends.huggingface.libraries import torch, transformers
from chainkit.backends.huggingface.loading import Loaded
from chainkit.base.errors import Unsupported
from chainkit.local.branches import Branches
from chainkit.local.lookup import Pace
from chainkit.local.prefixes import PrefixTree
from chainkit.local.runtime import END, ForwardRequest, ForwardResult, KVSequence, PendingRead, common, still_known
from chainkit.local.sharing import WORTH_A_PASS, share
from chainkit.local.soft_prompt import SoftPrompt
from chainkit.local.threads import Cancelled, OwnProcess

PREFIX_BYTES = 1 << 30
_MANY_ROWS = 32  # more cost nearly as much per text as these
_ROW_TOKENS, _ROWS_BYTES = 512, 2 << 30  # a guess at the length of a text, and what all of them may take


@dataclass(eq=False, kw_only=True)
class TransformersSequence(KVSequence):
    """A text with its keys and values."""

    cache: KeysValues | LibraryCache

    def mend(self) -> None:
        """After a call that was cut short, forget keys and values beyond the tokens.

        Tokens are forgotten before keys and values are, and added after them: so whatever interrupts a call, both are
        the same again after this.
        """
        del self.tokens[self.cache.crop(len(self.tokens)) :]


@dataclass(eq=False, kw_only=True)
class TransformersRead(PendingRead):
    """A forward request while it is computed.

    Attributes:
        sequence: Where its text is kept.
    """

    sequence: TransformersSequence

    @property
    def held(self) -> int:
        """Number of its tokens in the KV cache."""
        return len(self.sequence.tokens)


class TransformersRuntime:
    """A loaded causal model with a KV cache. Its methods may be called from any thread; one computes at a time.

    Attributes:
        loaded: The model.
        context_length: Number of tokens that a text may have.
        ragged: Whether several texts are computed in one pass; some kinds of models can only one at a time.
        prefixes: Prefix tree of finished texts.
        passes: Forward passes so far.
        tokens_read: Tokens computed in them.
        pace: How long they take.
    """

    takes_soft_prompts = True
    crowded = False
    room: int | None = None

    def __init__(
        self,
        loaded: Loaded,
        *,
        context_length: int | None = None,
        n_batch: int = 512,
        n_sequences: int = 4,
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        self.loaded, self.vocabulary = loaded, loaded.vocabulary
        self._process = OwnProcess()
        self.context_length = min(context_length, loaded.context_length) if context_length else loaded.context_length
        self.ragged = _looks_fit(loaded)
        self.prefixes: PrefixTree[KeysValues] = PrefixTree(prefix_bytes)
        self.passes = self.tokens_read = 0
        self.pace = Pace()
        self._n_batch, self._n_sequences = n_batch, n_sequences
        self._sequences: list[TransformersSequence] = []
        self._whole = True  # whether the last call came to its end

    def fingerprint(self) -> str:
        """What makes its results different from those of other models and settings."""
        loaded, model = self.loaded, self.loaded.model
        commit = getattr(model.config, "_commit_hash", None)
        kind = f"{model.dtype} {loaded.device} {getattr(model.config, 'quantization_config', None)}"
        return f"{loaded.name} {loaded.stamp} {commit} {kind} transformers {transformers.__version__}"

    @property
    def parallel(self) -> int:
        """Number of texts that are best computed in one pass."""
        if not self.ragged:
            return 1
        config = self.loaded.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        token = 2 * config.num_hidden_layers * heads * width * self.loaded.model.dtype.itemsize
        return max(1, min(_MANY_ROWS, _ROWS_BYTES // (token * _ROW_TOKENS)))

    @property
    def looks_ahead(self) -> bool:
        """Whether tokens that may come next are computed in the same pass."""
        return self.ragged

    def forward(self, requests: Sequence[ForwardRequest]) -> list[ForwardResult]:
        """Compute the missing tokens of all texts in as few passes as possible; an owner may appear only once.

        Raises:
            Cancelled: One of them was cancelled.
        """
        self._process.check()
        with self.loaded.lock, torch.inference_mode():
            if not self._whole:
                ragged.restore(self.loaded)
                for sequence in self._sequences:
                    sequence.mend()
            self._whole = False
            reads = self._placed(requests)
            if self.ragged:
                try:
                    share(reads, self._read_up_to, self._copy_row)
                    self._read_rows(reads)
                except ragged.Unfit:
                    self.ragged = False
                    self._sequences.clear()
                    reads = self._placed(requests)
            if not self.ragged:
                for read in reads:
                    self._read_alone(read)
            self._whole = True
            return [read.result(read.sequence) for read in reads]

    def pause(self, sequence: KVSequence | None) -> None:
        """No text waits for a sequence here: who needs one takes the one that was used longest ago."""

    def require_fit(self, prompt: SoftPrompt) -> None:
        """Refuse a soft prompt of another model.

        Raises:
            SoftPromptMismatch: It is one.
        """
        self.loaded.require_fit(prompt)

    def drop(self, sequence: KVSequence | None, owner: object) -> None:
        """Release the owner's sequence; its content is kept until others need the room."""
        if sequence is not None:
            with self.loaded.lock:
                if sequence.belongs_to(owner):
                    sequence.owner = None
                    self._sweep()

    def _placed(self, requests: Sequence[ForwardRequest]) -> list[TransformersRead]:
        """A sequence for each request, with as much of its text in it as can be found."""
        reads: list[TransformersRead] = []
        for request in requests:
            sequence = request.sequence
            assert sequence is None or isinstance(sequence, TransformersSequence)
            if sequence is None or not sequence.belongs_to(request.owner) or sequence not in self._sequences:
                sequence = self._claim(request.owner, request.tokens, [read.sequence for read in reads])
                known = len(sequence.tokens)
            else:
                known = still_known(sequence.tokens, request)
            known = self._trim(sequence, min(known, len(request.tokens) - 1))
            if len(request.tokens) - known > WORTH_A_PASS:
                known = self._extend(sequence, request.tokens[:-1])
            reads.append(TransformersRead(request=request, sequence=sequence, start=known))
        return reads

    def _claim(
        self, owner: object, tokens: Sequence[int], busy: Sequence[TransformersSequence]
    ) -> TransformersSequence:
        self._sweep()
        donor = max(self._sequences, key=lambda one: (common(one.tokens, tokens), not one.in_use), default=None)
        shared = common(donor.tokens, tokens) if donor else 0
        stored = self.prefixes.longest(tokens)
        if donor is not None and shared and not donor.in_use and shared == len(donor.tokens) and donor not in busy:
            sequence = donor
        else:
            sequence = self._fresh(busy)
            if stored > shared and isinstance(sequence.cache, KeysValues):
                self._extend(sequence, tokens)
            elif donor is not None and shared:
                self._copy(donor, sequence, shared)
        sequence.owner, sequence.used = weakref.ref(owner), time.monotonic()
        return sequence

    def _extend(self, sequence: TransformersSequence, tokens: Sequence[int]) -> int:
        """Extend a sequence by cached KV data of the next tokens; returns its new length."""
        start = 0
        cache = sequence.cache
        if not isinstance(cache, KeysValues):
            return len(sequence.tokens)
        for stretch, count in self.prefixes.find(tokens):
            held = len(sequence.tokens)
            if start + count > held >= start:
                cache.take(stretch.part(held - start, count), count - (held - start))
                sequence.tokens.extend(tokens[held : start + count])
            start += count
        return len(sequence.tokens)

    def _copy(self, donor: TransformersSequence, sequence: TransformersSequence, length: int) -> None:
        """Give a sequence the first tokens of another."""
        if isinstance(donor.cache, KeysValues):
            sequence.cache, sequence.tokens = donor.cache.part(0, length), donor.tokens[:length]
        else:
            sequence.cache, sequence.tokens = donor.cache.copied(), list(donor.tokens)

    def _fresh(self, busy: Sequence[TransformersSequence]) -> TransformersSequence:
        """An empty sequence; the one that was used longest ago makes room for it."""
        idle = [sequence for sequence in self._sequences if sequence not in busy]
        if idle and len(self._sequences) >= self._n_sequences:
            victim = min(idle, key=lambda sequence: (sequence.in_use, sequence.used))
            victim.owner = None
            self._retire(victim)
        sequence = TransformersSequence(cache=KeysValues() if self.ragged else LibraryCache(self.loaded.config))
        self._sequences.append(sequence)
        return sequence

    def _sweep(self) -> None:
        """Put what nobody works on any more into the tree."""
        if self.ragged:
            for sequence in [sequence for sequence in self._sequences if not sequence.in_use]:
                self._retire(sequence)

    def _retire(self, sequence: TransformersSequence) -> None:
        self._sequences.remove(sequence)
        if isinstance(sequence.cache, KeysValues):
            self.prefixes.add(sequence.tokens, sequence.cache)

    def _trim(self, sequence: TransformersSequence, length: int) -> int:
        """Forget all but the first tokens; some models can only forget everything."""
        if length < len(sequence.tokens):
            length = sequence.cache.crop(length)
            del sequence.tokens[length:]
        return length

    def _read_up_to(self, read: TransformersRead, length: int) -> None:
        while read.held < length:
            _check([read])
            self._pass([self._span(read, min(self._n_batch, length - read.held))], [read])

    def _copy_row(self, donor: TransformersRead, read: TransformersRead, length: int) -> None:
        self._copy(donor.sequence, read.sequence, length)
        read.start = length

    def _read_rows(self, reads: Sequence[TransformersRead]) -> None:
        """Read all that is missing, `n_batch` tokens at once, and those who are ready together."""
        waiting = list(reads)
        while waiting:
            _check(reads)
            room, chosen, spans = self._n_batch, list[TransformersRead](), list[ragged.TextSpan]()
            for read in waiting:
                missing = len(read.request.tokens) - read.held
                if room <= 0:
                    break
                spans.append(self._span(read, min(room, missing), read.request.branches if missing <= room else None))
                chosen.append(read)
                room -= len(spans[-1].tokens)
            self._pass(spans, chosen)
            waiting = [read for read in waiting if not read.logits]

    def _span(self, read: TransformersRead, count: int, branches: Branches | None = None) -> ragged.TextSpan:
        """The next tokens of a read, and after its last one the inner nodes of its branches."""
        request, start = read.request, read.held
        tokens = list(request.tokens[start : start + count])
        last = [count - 1] if start + count == len(request.tokens) else []
        assert isinstance(read.sequence.cache, KeysValues)
        if branches is None or not branches.inner:
            return ragged.TextSpan(read.sequence.cache, tokens, last)
        numbers = {node: count + place for place, node in enumerate(branches.inner)} | {-1: count - 1}
        tokens += [branches.tokens[node] for node in branches.inner]
        parents = [*range(-1, count - 1), *(numbers[branches.parents[node]] for node in branches.inner)]
        return ragged.TextSpan(read.sequence.cache, tokens, [*last, *range(count, len(tokens))], parents)

    def _pass(self, spans: Sequence[ragged.TextSpan], reads: Sequence[TransformersRead]) -> None:
        """One forward pass; reads whose text is read get their logits."""
        start, count = time.perf_counter(), sum(len(span.tokens) for span in spans)
        logits = ragged.read(self.loaded, spans).float().cpu().numpy()
        self.pace.note(count, time.perf_counter() - start)
        self.passes += 1
        self.tokens_read += count
        place = 0
        for span, read in zip(spans, reads, strict=True):
            tokens, sequence = read.request.tokens, read.sequence
            sequence.tokens.extend(tokens[len(sequence.tokens) : len(sequence.tokens) + len(span.tokens)])
            branches = read.request.branches
            if span.parents is not None and branches is not None and branches.chain:
                sequence.tokens.extend(branches.tokens[node] for node in branches.inner)
            sequence.cache.crop(len(sequence.tokens))  # other branches are not kept
            sequence.used = time.monotonic()
            read.passes += 1
            if span.wanted:
                nodes = (END, *read.wanted) if span.parents is not None else (END,)
                read.logits |= dict(zip(nodes, logits[place : place + len(span.wanted)], strict=True))
                place += len(span.wanted)

    def _read_alone(self, read: TransformersRead) -> None:
        """Read with the library's own cache; branches one after the other."""
        request = read.request
        read.logits[END] = self._read_to(read, request.tokens)
        branches = request.branches or Branches([])
        for node in branches.inner:
            path = [branches.tokens[before] for before in branches.before(node)]
            read.logits[node] = self._read_to(read, [*request.tokens, *path])
        self._trim(read.sequence, len(request.tokens))

    def _read_to(self, read: TransformersRead, tokens: Sequence[int]) -> NDArray[np.float32]:
        sequence = read.sequence
        start = self._trim(sequence, min(common(sequence.tokens, tokens), len(tokens) - 1))
        read.start = min(read.start, start)
        logits = torch.empty(0)
        for begin in range(start, len(tokens), self._n_batch):
            _check([read])
            logits = self._read_piece(sequence, tokens[begin : begin + self._n_batch])
            read.passes += 1
            self.passes += 1
            self.tokens_read += len(tokens[begin : begin + self._n_batch])
        sequence.used = time.monotonic()
        return logits.float().cpu().numpy()

    def _read_piece(self, sequence: TransformersSequence, piece: Sequence[int]) -> torch.Tensor:
        """The logits after the last token of a piece, [V]."""
        loaded, held, known = self.loaded, sequence.cache, sequence.tokens
        assert isinstance(held, LibraryCache)
        tokens = torch.tensor([piece], dtype=torch.long, device=loaded.device)
        # if computing fails half way, nothing of the cache may be taken for a text
        sequence.cache, sequence.tokens = LibraryCache(loaded.config), []
        read = loaded.inputs(tokens) | loaded.only_last(1)
        output = loaded.model(**loaded.cached(held.cache), **read)
        known.extend(piece)
        held.length = len(known)
        sequence.cache, sequence.tokens = held, known
        return output.logits[0, -1]


def _check(reads: Sequence[TransformersRead]) -> None:
    if any(read.request.cancelled() for read in reads):
        raise Cancelled("the generation was cancelled")


def _looks_fit(loaded: Loaded) -> bool:
    """Whether the layers keep keys and values of all tokens, or of a window, and positions can be given."""
    config = loaded.config
    cache = transformers.DynamicCache(config=config)
    kinds = {type(layer).__name__ for layer in cache.layers}
    rope = getattr(config, "rope_parameters", None) or {}
    changing = {"dynamic", "longrope"} & {str(value) for value in _values(rope)}  # they look at the longest text
    return (
        kinds <= {"DynamicLayer", "DynamicSlidingWindowLayer"}
        and "position_ids" in inspect.signature(loaded.model.forward).parameters
        and not changing
    )


def _values(settings: Any) -> list[object]:
    if isinstance(settings, dict):
        return [inner for value in settings.values() for inner in _values(value)]
    return [settings]


_runtimes: weakref.WeakValueDictionary[tuple[int, ...], TransformersRuntime] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def open_runtime(loaded: Loaded, *, context_length: int | None, n_batch: int, n_sequences: int) -> TransformersRuntime:
    """The runtime of a model and settings; one is made if there is none. It is freed when nothing refers to it.

    Raises:
        Unsupported: The model is an encoder-decoder, which cannot continue a text.
    """
    if loaded.encodes:
        raise Unsupported(f"{loaded.name} reads with an encoder and writes with a decoder; it is only an llm('hf:...')")
    with _lock:
        key = (id(loaded), context_length or 0, n_batch, n_sequences)
        runtime = _runtimes.get(key)
        if runtime is None or runtime.loaded is not loaded:
            runtime = _runtimes[key] = TransformersRuntime(
                loaded, context_length=context_length, n_batch=n_batch, n_sequences=n_sequences
            )
        return runtime
