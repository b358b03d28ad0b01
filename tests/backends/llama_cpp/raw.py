"""The reference: llama.cpp called as its own examples call it, with nothing of chainkit's runtime in between."""

from __future__ import annotations

import ctypes

import numpy as np

from chainkit.backends.llama_cpp.capi import Library
from chainkit.backends.llama_cpp.libraries import library


class Raw:
    """A model and a context of its own."""

    def __init__(self, path, context_length: int = 512, kv_type: int = 1, flash: int = -1) -> None:
        self.llama: Library = library()
        self.model = self.llama.load(str(path), self.llama.model_params(n_gpu_layers=0))
        assert self.model, self.llama.last_errors()
        self.vocab = self.llama.llama_model_get_vocab(self.model)
        self.size = self.llama.llama_vocab_n_tokens(self.vocab)
        params = self.llama.context_params(
            n_ctx=context_length,
            n_batch=512,
            n_threads=1,
            n_threads_batch=1,
            flash_attn_type=flash,
            type_k=kv_type,
            type_v=kv_type,
        )
        self.context = self.llama.context(self.model, params)
        assert self.context

    def tokenize(self, text: str, add: bool, special: bool = False) -> list[int]:
        data = text.encode()
        buffer = (ctypes.c_int32 * (len(data) + 8))()
        count = self.llama.llama_tokenize(
            self.vocab, data, len(data), ctypes.addressof(buffer), len(buffer), add, special
        )
        return list(buffer[:count])

    def greedy(self, tokens: list[int], count: int) -> list[int]:
        result: list[int] = []
        feed, held = list(tokens), 0
        while len(result) < count:
            self.decode(feed, held)
            held += len(feed)
            address = self.llama.llama_get_logits_ith(self.context, -1)
            pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            token = int(np.ctypeslib.as_array(pointer, shape=(self.size,)).argmax())
            if self.llama.llama_vocab_is_eog(self.vocab, token):
                break
            result.append(token)
            feed = [token]
        return result

    def decode(self, tokens: list[int], start: int) -> None:
        """Tokens of the first sequence; the last one's logits are wanted."""
        count = len(tokens)
        ids, places, ones = (ctypes.c_int32 * count)(*tokens), (ctypes.c_int32 * count)(), (ctypes.c_int32 * count)()
        places[:], ones[:] = range(start, start + count), [1] * count
        first = ctypes.c_int32(0)
        sequences = (ctypes.c_void_p * count)(*[ctypes.addressof(first)] * count)
        wanted = (ctypes.c_int8 * count)(*[0] * (count - 1), 1)
        arrays = {"token": ids, "pos": places, "n_seq_id": ones, "seq_id": sequences, "logits": wanted}
        addresses = {name: ctypes.addressof(array) for name, array in arrays.items()}
        assert self.llama.llama_decode(self.context, self.llama.layout.batch(n_tokens=count, **addresses)) == 0

    def close(self) -> None:
        self.llama.llama_free(self.context)
        self.llama.llama_model_free(self.model)
