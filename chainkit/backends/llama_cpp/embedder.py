"""A llama.cpp context that turns texts into vectors."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainkit.backends.llama_cpp.batch import BatchBuffer, BatchRow
from chainkit.backends.llama_cpp.capi import Handle
from chainkit.backends.llama_cpp.contexts import free_context
from chainkit.backends.llama_cpp.layouts import FLASH
from chainkit.backends.llama_cpp.processor import default_threads
from chainkit.backends.llama_cpp.settings import FileSettings
from chainkit.backends.llama_cpp.weights import Weights, check_room, load_weights
from chainkit.base.errors import ContextOverflow, ModelFileError
from chainkit.local.threads import OwnProcess
from chainkit.sizing.plan import Use

Matrix = NDArray[np.float32]

_POOLING = {None: -1, "none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
_LONGEST_BATCH = 2048
_SEQUENCES = 16


@dataclass(frozen=True, kw_only=True)
class EmbedderSettings:
    """What makes one embedder different from another on the same weights.

    Attributes:
        context_length: The longest text in tokens; None: what the model was trained on, at most 2048.
        n_threads: None: all cores but one, at most 4.
        flash_attention: None leaves it to llama.cpp.
        pooling: "mean", "cls" or "last"; None: what the file says; "rank": a score in place of a vector.
    """

    context_length: int | None = None
    n_threads: int | None = None
    flash_attention: bool | None = None
    pooling: str | None = None


class Embedder:
    """A context that turns texts into vectors; calls from several threads come one after the other."""

    def __init__(self, weights: Weights, settings: EmbedderSettings) -> None:
        self.weights, self.library, self.vocabulary = weights, weights.library, weights.vocabulary
        self._process = OwnProcess()
        self.limit = min(settings.context_length or _LONGEST_BATCH, weights.trained_context)
        threads = settings.n_threads or default_threads()
        params = self.library.context_params(
            n_ctx=self.limit,
            n_batch=self.limit,
            n_ubatch=self.limit,  # a text must be computed in one piece
            n_seq_max=_SEQUENCES,
            n_threads=threads,
            n_threads_batch=threads,
            embeddings=1,
            kv_unified=1,
            flash_attn_type=FLASH[settings.flash_attention],
            pooling_type=_POOLING[settings.pooling],
        )
        self._context: Handle = self.library.context(weights.handle, params)
        if self._context is None:
            reason = self.library.last_errors()
            raise ModelFileError(weights.path, f"llama.cpp cannot make a context of {self.limit}: {reason}")
        weakref.finalize(self, free_context, weights, self._context).atexit = False
        self._pooled = self.library.llama_pooling_type(self._context) > 0
        self._memory = self.library.llama_get_memory(self._context)
        self._batch = BatchBuffer(self.limit, kind=self.library.layout.batch)
        self._lock = threading.Lock()
        self.width = self.library.llama_model_n_embd_out(weights.handle)
        if settings.pooling == "rank":
            self.width = self.library.newer("llama_model_n_cls_out")(weights.handle)

    def embed(self, texts: Sequence[str]) -> Matrix:
        """One vector per text, [N, D]; texts are computed together as far as they fit into one batch.

        Raises:
            ContextOverflow: A text is longer than the model can read; nothing has been computed then.
        """
        return self.embed_tokens([self.vocabulary.tokenize(text, whole=True) for text in texts])

    def embed_tokens(self, tokenized: Sequence[Sequence[int]]) -> Matrix:
        """As `embed`, for tokens.

        Raises:
            ContextOverflow: A text is longer than the model can read; nothing has been computed then.
        """
        self._process.check()
        for tokens in tokenized:
            if len(tokens) > self.limit:
                raise ContextOverflow(len(tokens), self.limit, "split the text")
        result = np.zeros((len(tokenized), self.width), np.float32)
        order = [place for place in sorted(range(len(tokenized)), key=lambda i: len(tokenized[i])) if tokenized[place]]
        with self._lock:
            for group in self._groups(order, tokenized):
                result[group] = self._compute([tokenized[place] for place in group])
        return result

    def _groups(self, order: Sequence[int], tokenized: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        group: list[int] = []
        total = 0
        for place in order:
            if group and (total + len(tokenized[place]) > self.limit or len(group) == _SEQUENCES):
                yield group
                group, total = [], 0
            group.append(place)
            total += len(tokenized[place])
        if group:
            yield group

    def _compute(self, group: Sequence[Sequence[int]]) -> Matrix:
        each = ((number, at, token) for number, tokens in enumerate(group) for at, token in enumerate(tokens))
        rows = [BatchRow(token, at, (number,), wanted=True) for number, at, token in each]
        batch = self._batch.fill_rows(rows)
        if self._memory is None:  # an encoder
            status = self.library.llama_encode(self._context, batch)
        else:
            self.library.llama_memory_clear(self._memory, True)
            status = self.library.llama_decode(self._context, batch)
        if status != 0:
            reason = self.library.last_errors()
            raise ModelFileError(self.weights.path, f"llama.cpp could not compute (status {status}): {reason}")
        return np.stack([self._vector(number, sum(map(len, group[:number])), group) for number in range(len(group))])

    def _vector(self, number: int, first: int, group: Sequence[Sequence[int]]) -> NDArray[Any]:
        if self._pooled:
            pointer = self.library.llama_get_embeddings_seq(self._context, number)
            return np.ctypeslib.as_array(pointer, shape=(self.width,)).copy()
        # a model that does not say how to pool: the mean over its tokens
        rows = range(first, first + len(group[number]))
        pointers = [self.library.llama_get_embeddings_ith(self._context, row) for row in rows]
        return np.mean([np.ctypeslib.as_array(p, shape=(self.width,)) for p in pointers], axis=0)


def roomy_weights(file: FileSettings) -> Weights:
    """The weights of a file that is used for vectors or scores.

    Raises:
        NotEnoughMemory: They do not fit in the memory that is free, and `force` was not given.
        ModelFileError: The file is not a model, or a damaged one.
    """
    use = Use(context=1, batch=1)  # a model that reads whole texts at once remembers none
    before = None if file.force else partial(check_room, file.path, file.loading, use)
    return load_weights(file.path, file.loading, before, needs="embeddings")
