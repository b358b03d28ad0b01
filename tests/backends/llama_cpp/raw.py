"""The reference: llama.cpp called as its own examples call it, with nothing of chainkit's runtime in between."""

from __future__ import annotations

import ctypes

import numpy as np

from chainkit.backends.llama_cpp.capi import Library, library


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
        init = self.llama._cdll["llama_batch_get_one"]
        from chainkit.backends.llama_cpp.layouts import LlamaBatch

        init.restype, init.argtypes = LlamaBatch, (ctypes.c_void_p, ctypes.c_int32)
        result: list[int] = []
        feed = list(tokens)
        while len(result) < count:
            array = (ctypes.c_int32 * len(feed))(*feed)
            assert self.llama.llama_decode(self.context, init(ctypes.addressof(array), len(feed))) == 0
            address = self.llama.llama_get_logits_ith(self.context, -1)
            pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            token = int(np.ctypeslib.as_array(pointer, shape=(self.size,)).argmax())
            if self.llama.llama_vocab_is_eog(self.vocab, token):
                break
            result.append(token)
            feed = [token]
        return result

    def close(self) -> None:
        self.llama.llama_free(self.context)
        self.llama.llama_model_free(self.model)
