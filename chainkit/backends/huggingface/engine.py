"""One causal model, shared by all sessions on it: what has been read stays in memory, and is never read twice."""

from __future__ import annotations

import inspect
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.backends.huggingface import ragged
from chainkit.backends.huggingface.libraries import torch, transformers
from chainkit.backends.huggingface.loading import Loaded
from chainkit.backends.huggingface.memory import KeysValues, LibraryCache
from chainkit.base.errors import Unsupported
from chainkit.local.branches import Branches
from chainkit.local.lookup import Pace
from chainkit.local.prefixes import PrefixTree
from chainkit.local.requests import Answer, Request, common, still_known
from chainkit.local.sharing import WORTH_A_PASS, share
from chainkit.local.soft_prompt import SoftPrompt
from chainkit.local.threads import Cancelled

PREFIX_BYTES = 1 << 30
_MANY_ROWS = 32  # more cost nearly as much per text as these
_ROW_TOKENS, _ROWS_BYTES = 512, 2 << 30  # a guess at the length of a text, and what all of them may take


@dataclass(eq=False)
class Memory:
    """What was computed of one text, and its tokens."""

    cache: KeysValues | LibraryCache
    tokens: list[int] = field(default_factory=list)
    owner: weakref.ref[object] | None = None
    used: float = 0.0

    def belongs_to(self, owner: object) -> bool:
        """Whether this memory is kept for `owner`."""
        return self.owner is not None and self.owner() is owner

    @property
    def in_use(self) -> bool:
        """Whether its owner is still there."""
        return self.owner is not None and self.owner() is not None


@dataclass(eq=False)
class _Row:
    request: Request[Memory]
    memory: Memory
    start: int  # so many tokens were known
    passes: int = 0
    logits: NDArray[np.float32] | None = None

    @property
    def held(self) -> int:
        """So many of its tokens are in memory."""
        return len(self.memory.tokens)


class Engine:
    """A loaded causal model with memories. Its methods may be called from any thread; one computes at a time.

    Attributes:
        loaded: The model.
        limit: Tokens that a text may have.
        ragged: Whether several texts are computed in one pass; some kinds of models can only one at a time.
        prefixes: What is kept of texts that nobody works on any more.
        passes: Forward passes so far.
        tokens_read: Tokens computed in them.
        pace: How long they take.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        limit: int | None = None,
        n_batch: int = 512,
        n_memories: int = 4,
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        self.loaded, self.vocabulary = loaded, loaded.vocabulary
        self.limit = min(limit, loaded.limit) if limit else loaded.limit
        self.ragged = _looks_fit(loaded)
        self.prefixes: PrefixTree[KeysValues] = PrefixTree(prefix_bytes)
        self.passes = self.tokens_read = 0
        self.pace = Pace()
        self._n_batch, self._n_memories = n_batch, n_memories
        self._memories: list[Memory] = []

    @cached_property
    def fingerprint(self) -> str:
        """What makes its results different from those of other models and settings."""
        loaded, model = self.loaded, self.loaded.model
        commit = getattr(model.config, "_commit_hash", None)
        kind = f"{model.dtype} {loaded.device} {getattr(model.config, 'quantization_config', None)}"
        return f"{loaded.name} {loaded.stamp} {commit} {kind} transformers {transformers.__version__}"

    @property
    def rows(self) -> int:
        """How many texts it does well to compute at once."""
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

    def together(self, requests: Sequence[Request[Memory]]) -> list[Answer[Memory]]:
        """Read what is missing of all texts, in as few passes as can be; no owner may come twice.

        Raises:
            Cancelled: One of them was cancelled.
        """
        with self.loaded.lock, torch.inference_mode():
            rows = self._placed(requests)
            if self.ragged:
                try:
                    share(rows, self._read_up_to, self._copy_row)
                    self._read_rows(rows)
                except ragged.Unfit:
                    self.ragged = False
                    self._memories.clear()
                    rows = self._placed(requests)
            if not self.ragged:
                for row in rows:
                    self._read_alone(row)
            return [_answer(row) for row in rows]

    def require_fit(self, prompt: SoftPrompt) -> None:
        """Refuse a soft prompt of another model.

        Raises:
            SoftPromptMismatch: It is one.
        """
        self.loaded.require_fit(prompt)

    def drop(self, memory: Memory | None, owner: object) -> None:
        """The owner needs its memory no more; what was read is kept until others need the place."""
        if memory is not None:
            with self.loaded.lock:
                if memory.belongs_to(owner):
                    memory.owner = None
                    self._sweep()

    def _placed(self, requests: Sequence[Request[Memory]]) -> list[_Row]:
        """A memory for each request, with as much of its text in it as can be found."""
        rows: list[_Row] = []
        for request in requests:
            memory = request.place
            if memory is None or not memory.belongs_to(request.owner) or memory not in self._memories:
                memory = self._claim(request.owner, request.tokens, [row.memory for row in rows])
                known = len(memory.tokens)
            else:
                known = still_known(memory.tokens, request)
            known = self._trim(memory, min(known, len(request.tokens) - 1))
            if len(request.tokens) - known > WORTH_A_PASS:
                known = self._extend(memory, request.tokens[:-1])
            rows.append(_Row(request, memory, known))
        return rows

    def _claim(self, owner: object, tokens: Sequence[int], busy: Sequence[Memory]) -> Memory:
        self._sweep()
        donor = max(self._memories, key=lambda memory: (common(memory.tokens, tokens), not memory.in_use), default=None)
        shared = common(donor.tokens, tokens) if donor else 0
        stored = self.prefixes.longest(tokens)
        if donor is not None and shared and not donor.in_use and shared == len(donor.tokens) and donor not in busy:
            memory = donor
        else:
            memory = self._fresh(busy)
            if stored > shared and isinstance(memory.cache, KeysValues):
                self._extend(memory, tokens)
            elif donor is not None and shared:
                self._copy(donor, memory, shared)
        memory.owner, memory.used = weakref.ref(owner), time.monotonic()
        return memory

    def _extend(self, memory: Memory, tokens: Sequence[int]) -> int:
        """Put behind what is in memory what is known of the tokens that follow it; how many are there then."""
        start = 0
        cache = memory.cache
        if not isinstance(cache, KeysValues):
            return len(memory.tokens)
        for stretch, count in self.prefixes.find(tokens):
            held = len(memory.tokens)
            if start + count > held >= start:
                cache.take(stretch.part(held - start, count), count - (held - start))
                memory.tokens.extend(tokens[held : start + count])
            start += count
        return len(memory.tokens)

    def _copy(self, donor: Memory, memory: Memory, length: int) -> None:
        """Give a memory the first tokens of another."""
        if isinstance(donor.cache, KeysValues):
            memory.cache, memory.tokens = donor.cache.part(0, length), donor.tokens[:length]
        else:
            memory.cache, memory.tokens = donor.cache.copied(), list(donor.tokens)

    def _fresh(self, busy: Sequence[Memory]) -> Memory:
        """An empty memory; the one that was used longest ago makes room for it."""
        idle = [memory for memory in self._memories if memory not in busy]
        if idle and len(self._memories) >= self._n_memories:
            victim = min(idle, key=lambda memory: (memory.in_use, memory.used))
            victim.owner = None
            self._retire(victim)
        memory = Memory(KeysValues() if self.ragged else LibraryCache(self.loaded.config))
        self._memories.append(memory)
        return memory

    def _sweep(self) -> None:
        """Put what nobody works on any more into the tree."""
        if self.ragged:
            for memory in [memory for memory in self._memories if not memory.in_use]:
                self._retire(memory)

    def _retire(self, memory: Memory) -> None:
        self._memories.remove(memory)
        if isinstance(memory.cache, KeysValues):
            self.prefixes.add(memory.tokens, memory.cache)

    def _trim(self, memory: Memory, length: int) -> int:
        """Forget all but the first tokens; some models can only forget everything."""
        if length < len(memory.tokens):
            length = memory.cache.crop(length)
            del memory.tokens[length:]
        return length

    def _read_up_to(self, row: _Row, length: int) -> None:
        while row.held < length:
            _check([row])
            self._pass([self._span(row, min(self._n_batch, length - row.held))], [row])

    def _copy_row(self, donor: _Row, row: _Row, length: int) -> None:
        self._copy(donor.memory, row.memory, length)
        row.start = length

    def _read_rows(self, rows: Sequence[_Row]) -> None:
        """Read all that is missing, `n_batch` tokens at once, and those who are ready together."""
        waiting = list(rows)
        while waiting:
            _check(rows)
            room, chosen, spans = self._n_batch, list[_Row](), list[ragged.Span]()
            for row in waiting:
                missing = len(row.request.tokens) - row.held
                if room <= 0:
                    break
                spans.append(self._span(row, min(room, missing), row.request.branches if missing <= room else None))
                chosen.append(row)
                room -= len(spans[-1].tokens)
            self._pass(spans, chosen)
            waiting = [row for row in waiting if row.logits is None]

    def _span(self, row: _Row, count: int, branches: Branches | None = None) -> ragged.Span:
        """The next tokens of a row, and behind its last one the inner nodes of its branches."""
        request, start = row.request, row.held
        tokens = list(request.tokens[start : start + count])
        last = [count - 1] if start + count == len(request.tokens) else []
        assert isinstance(row.memory.cache, KeysValues)
        if branches is None or not branches.inner:
            return ragged.Span(row.memory.cache, tokens, last)
        numbers = {node: count + place for place, node in enumerate(branches.inner)} | {-1: count - 1}
        tokens += [branches.tokens[node] for node in branches.inner]
        parents = [*range(-1, count - 1), *(numbers[branches.parents[node]] for node in branches.inner)]
        return ragged.Span(row.memory.cache, tokens, [*last, *range(count, len(tokens))], parents)

    def _pass(self, spans: Sequence[ragged.Span], rows: Sequence[_Row]) -> None:
        """One forward pass; rows whose text is read get their logits."""
        start, read = time.perf_counter(), sum(len(span.tokens) for span in spans)
        logits = ragged.read(self.loaded, spans).float().cpu().numpy()
        self.pace.note(read, time.perf_counter() - start)
        self.passes += 1
        self.tokens_read += read
        place = 0
        for span, row in zip(spans, rows, strict=True):
            tokens, memory = row.request.tokens, row.memory
            memory.tokens.extend(tokens[len(memory.tokens) : len(memory.tokens) + len(span.tokens)])
            branches = row.request.branches
            if span.parents is not None and branches is not None and branches.chain:
                memory.tokens.extend(branches.tokens[node] for node in branches.inner)
            memory.cache.crop(len(memory.tokens))  # other branches are not kept
            memory.used = time.monotonic()
            row.passes += 1
            if span.wanted:
                row.logits = logits[place : place + len(span.wanted)]
                place += len(span.wanted)

    def _read_alone(self, row: _Row) -> None:
        """Read with the library's own cache; branches one after the other."""
        request = row.request
        found = [self._read_to(row, request.tokens)]
        branches = request.branches or Branches([])
        for node in branches.inner:
            behind = [branches.tokens[before] for before in branches.before(node)]
            found.append(self._read_to(row, [*request.tokens, *behind]))
        self._trim(row.memory, len(request.tokens))
        row.logits = np.stack(found)

    def _read_to(self, row: _Row, tokens: Sequence[int]) -> NDArray[np.float32]:
        memory = row.memory
        start = self._trim(memory, min(common(memory.tokens, tokens), len(tokens) - 1))
        row.start = min(row.start, start)
        logits = torch.empty(0)
        for begin in range(start, len(tokens), self._n_batch):
            _check([row])
            logits = self._read_piece(memory, tokens[begin : begin + self._n_batch])
            row.passes += 1
            self.passes += 1
            self.tokens_read += len(tokens[begin : begin + self._n_batch])
        memory.used = time.monotonic()
        return logits.float().cpu().numpy()

    def _read_piece(self, memory: Memory, piece: Sequence[int]) -> torch.Tensor:
        """The logits behind the last token of a piece, [V]."""
        loaded, held, known = self.loaded, memory.cache, memory.tokens
        assert isinstance(held, LibraryCache)
        tokens = torch.tensor([piece], dtype=torch.long, device=loaded.device)
        # if computing fails half way, nothing of the cache may be taken for a text
        memory.cache, memory.tokens = LibraryCache(loaded.config), []
        read = loaded.inputs(tokens) | loaded.only_last(1)
        output = loaded.model(**loaded.cached(held.cache), **read)
        known.extend(piece)
        held.length = len(known)
        memory.cache, memory.tokens = held, known
        return output.logits[0, -1]


def _answer(row: _Row) -> Answer[Memory]:
    assert row.logits is not None
    return Answer(row.memory, len(row.request.tokens) - row.start, row.passes, row.logits)


def _check(rows: Sequence[_Row]) -> None:
    if any(row.request.cancelled() for row in rows):
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


_engines: weakref.WeakValueDictionary[tuple[int, ...], Engine] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def open_engine(loaded: Loaded, *, limit: int | None, n_batch: int, n_memories: int) -> Engine:
    """The engine of a model and settings; one is made if there is none. It is freed when nothing refers to it.

    Raises:
        Unsupported: The model reads with an encoder, so a text of its own cannot be continued.
    """
    if loaded.encodes:
        raise Unsupported(f"{loaded.name} reads with an encoder and writes with a decoder; it is only an llm('hf:...')")
    with _lock:
        key = (id(loaded), limit or 0, n_batch, n_memories)
        engine = _engines.get(key)
        if engine is None or engine.loaded is not loaded:
            engine = _engines[key] = Engine(loaded, limit=limit, n_batch=n_batch, n_memories=n_memories)
        return engine
