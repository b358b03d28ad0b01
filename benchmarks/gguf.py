"""What chainkit's loop costs on top of llama.cpp: python benchmarks/gguf.py MODEL.gguf [TOKENS [PROMPT_TOKENS]]

The reference is the shortest loop that is possible from Python on the same library: decode, argmax, decode. CPU time of
one thread; rounds are interleaved and the best of each is taken, because other processes disturb both alike.
"""

from __future__ import annotations

import ctypes
import sys
import time

import numpy as np

from chainkit.backends.llama_cpp.capi import library
from chainkit.backends.llama_cpp.layouts import Batch
from chainkit.backends.llama_cpp.models import GGUFModel
from chainkit.base.sampling import Sampling

ROUNDS = 5
UNIT = "the cat sat on the mat. "


class BareLoop:
    """llama.cpp with one thread and nothing around it."""

    def __init__(self, path, n_ctx):
        self.llama = library()
        self.model = self.llama.load(path, self.llama.model_params(n_gpu_layers=0, load_mode=1))
        params = self.llama.context_params(n_ctx=n_ctx, n_batch=512, n_ubatch=512, n_threads=1, n_threads_batch=1)
        self.context = self.llama.context(self.model, params)
        self.size = self.llama.llama_vocab_n_tokens(self.llama.llama_model_get_vocab(self.model))
        self.get_one = self.llama._cdll["llama_batch_get_one"]
        self.get_one.restype, self.get_one.argtypes = Batch, (ctypes.c_void_p, ctypes.c_int32)

    def feed(self, tokens):
        for start in range(0, len(tokens), 512):
            piece = tokens[start : start + 512]
            array = (ctypes.c_int32 * len(piece))(*piece)
            if self.llama.llama_decode(self.context, self.get_one(ctypes.addressof(array), len(piece))):
                raise RuntimeError("llama_decode failed")
        pointer = self.llama.llama_get_logits_ith(self.context, -1)
        return int(np.ctypeslib.as_array(pointer, shape=(self.size,)).argmax())

    def run(self, prompt, count):
        self.llama.llama_memory_clear(self.llama.llama_get_memory(self.context), True)
        begun = time.process_time()
        token = self.feed(prompt)
        read = time.process_time()
        for _ in range(count - 1):
            token = self.feed([token])
        return read - begun, (time.process_time() - read) / (count - 1)


def chainkit_run(model, prompt, count, warm=()):
    """Seconds for the prompt and per token; `warm` is read before."""
    model.unload()
    session = model.session()
    if warm:
        session.append(warm).logits()
    session.append(prompt[len(warm) :])
    begun = time.process_time()
    stream = session.generate(Sampling(max_tokens=count))
    next(stream)
    read, done = time.process_time(), 1
    for piece in stream:
        done += len(piece.tokens)
    return read - begun, (time.process_time() - read) / max(1, done - 1)


def main(path, count=64, length=2048):
    model = GGUFModel(model=path, n_threads=1, max_tokens=count)
    n_ctx = model.engine.limit
    tokens = model.engine.vocabulary.tokenize(UNIT * 400, whole=True)
    prompt = tokens[: min(length, n_ctx - count - 8)]
    loop = BareLoop(path, n_ctx)
    bare, ours, shared = [], [], []
    for _ in range(ROUNDS):
        bare.append(loop.run(prompt, count))
        ours.append(chainkit_run(model, prompt, count))
        shared.append(chainkit_run(model, prompt, 2, warm=prompt[:-16]))
    (bare_read, bare_step), (read, step) = np.min(bare, axis=0), np.min(ours, axis=0)
    print(f"{path}: {len(prompt)} tokens of prompt, {count} generated, {library().layout.package}, 1 thread")
    print(f"prompt  bare {bare_read * 1e3:8.2f} ms     chainkit {read * 1e3:8.2f} ms     speed {bare_read / read:.3f}x")
    print(f"decode  bare {bare_step * 1e6:8.1f} us/tok chainkit {step * 1e6:8.1f} us/tok speed {bare_step / step:.3f}x")
    print(
        f"prompt of which all but 16 tokens were read before: {np.min(shared, axis=0)[0] / read:.3f} of the first time"
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
