"""One causal model, shared by all sessions on it: what has been read stays in its caches, and is never read twice."""

from __future__ import annotations

import copy
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.backends.huggingface.libraries import torch, transformers
from chainkit.backends.huggingface.loading import Loaded
from chainkit.base.errors import Unsupported
from chainkit.steered.threads import Cancelled


@dataclass(eq=False)
class Memory:
    """Keys and values of one text, and the tokens they were computed from."""

    cache: Any
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


class Engine:
    """A loaded causal model with memories. Its methods may be called from any thread; one computes at a time.

    Attributes:
        loaded: The model.
        limit: Tokens that a text may have.
    """

    def __init__(self, loaded: Loaded, *, limit: int | None = None, n_batch: int = 512, n_memories: int = 4) -> None:
        self.loaded, self.vocabulary = loaded, loaded.vocabulary
        self.limit = min(limit, loaded.limit) if limit else loaded.limit
        self._n_batch, self._n_memories = n_batch, n_memories
        self._memories: list[Memory] = []

    def advance(
        self,
        owner: object,
        memory: Memory | None,
        tokens: Sequence[int],
        cancelled: Callable[[], bool],
        *,
        last: int = 1,
    ) -> tuple[Memory, int, NDArray[np.float32]]:
        """Read the tokens that are not in memory yet.

        Args:
            owner: Who the memory is kept for; others may have it when the owner is gone.
            memory: Where the owner's tokens were last time.
            tokens: The whole text; at least one token.
            cancelled: Asked before each piece of `n_batch` tokens.
            last: Of so many tokens at the end the logits are wanted.

        Returns:
            The memory, how many tokens had to be computed, and the logits behind each of the last tokens, [last, V].

        Raises:
            Cancelled: `cancelled` said so.
        """
        with self.loaded.lock, torch.inference_mode():
            if memory is None or not memory.belongs_to(owner):
                memory = self._claim(owner, tokens)
            same = min(common(memory.tokens, tokens), len(tokens) - last)
            same = self._trim(memory, same)
            rows: list[torch.Tensor] = []
            for start in range(same, len(tokens), self._n_batch):
                if cancelled():
                    raise Cancelled("the generation was cancelled")
                piece = tokens[start : start + self._n_batch]
                wanted = max(0, start + len(piece) - max(start, len(tokens) - last))
                logits = self._read(memory, piece, wanted)
                rows += [logits] if wanted else []
            memory.used = time.monotonic()
            return memory, len(tokens) - same, torch.cat(rows).float().cpu().numpy()

    @property
    def batches(self) -> bool:
        """Whether texts of different lengths can be computed at once: a recurrent layer would read the padding."""
        return self.new_cache().is_croppable

    def new_cache(self) -> Any:
        """An empty cache of the kinds of layers that the model has."""
        return transformers.DynamicCache(config=self.loaded.config)

    def _read(self, memory: Memory, piece: Sequence[int], wanted: int) -> torch.Tensor:
        """The logits of the last `wanted` tokens of a piece, [wanted, V]."""
        loaded, keep = self.loaded, max(wanted, 1)
        tokens = torch.tensor([piece], dtype=torch.long, device=loaded.device)
        # if computing fails half way, nothing of the cache may be taken for a text
        cache, known, memory.cache, memory.tokens = memory.cache, memory.tokens, None, []
        output = loaded.model(input_ids=tokens, past_key_values=cache, use_cache=True, **loaded.only_last(keep))
        known.extend(piece)
        memory.cache, memory.tokens = cache, known
        return output.logits[0, -keep:]

    def _claim(self, owner: object, tokens: Sequence[int]) -> Memory:
        """A memory for the owner, with as much of the text in it as can be found."""
        donor = max(self._memories, key=lambda memory: (common(memory.tokens, tokens), not memory.in_use), default=None)
        shared = common(donor.tokens, tokens) if donor else 0
        if donor is not None and shared and not donor.in_use and shared * 2 >= len(donor.tokens):
            memory = donor
        else:
            memory = self._fresh()
            if donor is not None and shared:
                memory.cache, memory.tokens = copy.deepcopy(donor.cache), list(donor.tokens)
        memory.owner, memory.used = weakref.ref(owner), time.monotonic()
        return memory

    def _fresh(self) -> Memory:
        """An empty memory; the one that was used longest ago makes room for it."""
        if len(self._memories) >= self._n_memories:
            victim = min(self._memories, key=lambda memory: (memory.in_use, memory.used))
            self._memories.remove(victim)
            victim.owner = None
        memory = Memory(self.new_cache())
        self._memories.append(memory)
        return memory

    def _trim(self, memory: Memory, length: int) -> int:
        """Forget all but the first tokens; some models can only forget everything."""
        surplus = len(memory.tokens) - length
        if memory.cache is None:
            memory.cache = self.new_cache()
        elif surplus > 0:
            if length and _can_crop(memory.cache):
                memory.cache.crop(-surplus)
            else:
                memory.cache, length = self.new_cache(), 0
            del memory.tokens[length:]
        return length


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two texts begin with in common."""
    length = min(len(left), len(right))
    if not length or left[0] != right[0]:
        return 0
    differing = np.flatnonzero(np.asarray(left[:length]) != np.asarray(right[:length]))
    return int(differing[0]) if len(differing) else length


def _can_crop(cache: Any) -> bool:
    """A layer with a sliding window that is full has lost what lies before the window; a recurrent one, everything."""
    return cache.is_croppable and not any(
        getattr(layer, "is_sliding", False) and layer.get_seq_length() >= layer.sliding_window for layer in cache.layers
    )


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
