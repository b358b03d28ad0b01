"""What chainkit's loop costs on top of llama.cpp: python benchmarks/gguf.py MODEL.gguf [TOKENS [PROMPT_TOKENS]]

`python -m benchmarks.gguf prefix` and `... draft` make models of their own, of 111 M parameters with random weights in
q8_0: the first compares the time to the first token of a call with that of a second one that shares 2,000 tokens, the
second measures decoding with a draft model of a quarter of the layers. The layers that the draft lacks change nothing
by their making, and some weights of the draft are disturbed: so most of its tokens are accepted, which is better than
what two trained models would do.

The reference is the shortest loop that is possible from Python on the same library: decode, argmax, decode. CPU time of
one thread; rounds are interleaved and the best of each is taken, because other processes disturb both alike.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from chainkit.backends.llama_cpp.libraries import library
from chainkit.backends.llama_cpp.models import GGUFModel
from chainkit.base.generation import GenerationRequest

os.environ["CHAINKIT_PREFIX_CACHE"] = "off"  # what an earlier run has read would not be measured

ROUNDS = 5
UNIT = "the cat sat on the mat. "
WIDTH, LAYERS, LIVE, HEADS, FF, WORDS = 1024, 8, 2, 16, 2816, 4000
SHARED = 2000


class BareLoop:
    """llama.cpp, with one thread if not told otherwise, and nothing around it."""

    def __init__(self, path, context_length, llama=None, threads=1):
        self.llama = llama or library()
        self.model = self.llama.load(path, self.llama.model_params(n_gpu_layers=0, load_mode=1))
        params = self.llama.context_params(
            n_ctx=context_length, n_batch=512, n_ubatch=512, n_threads=threads, n_threads_batch=threads
        )
        self.context = self.llama.context(self.model, params)
        self.size = self.llama.llama_vocab_n_tokens(self.llama.llama_model_get_vocab(self.model))
        self.get_one = self.llama._cdll["llama_batch_get_one"]
        self.get_one.restype, self.get_one.argtypes = self.llama.layout.batch, (ctypes.c_void_p, ctypes.c_int32)
        self.logits = self.llama._cdll["llama_get_logits_ith"]
        self.logits.restype, self.logits.argtypes = ctypes.POINTER(ctypes.c_float), (ctypes.c_void_p, ctypes.c_int32)

    def feed(self, tokens):
        for start in range(0, len(tokens), 512):
            piece = tokens[start : start + 512]
            array = (ctypes.c_int32 * len(piece))(*piece)
            if self.llama.llama_decode(self.context, self.get_one(ctypes.addressof(array), len(piece))):
                raise RuntimeError("llama_decode failed")
        pointer = self.logits(self.context, -1)
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
    stream = session.generate(GenerationRequest(max_tokens=count))
    next(stream)
    read, done = time.process_time(), 1
    for piece in stream:
        done += len(piece.tokens)
    return read - begun, (time.process_time() - read) / max(1, done - 1)


def beside(work, count):
    """Median seconds per token that pass outside llama_decode; other processes disturb them little."""
    llama, spans, inside = library(), [], [0.0]
    decode = llama.llama_decode

    def timed(context, batch):
        begun = time.process_time()
        status = decode(context, batch)
        inside[0] += time.process_time() - begun
        return status

    llama.llama_decode = timed
    try:
        work()  # reads the prompt
        for _ in range(count):
            begun, inside[0] = time.process_time(), 0.0
            if work() is None:
                break
            spans.append(time.process_time() - begun - inside[0])
    finally:
        llama.llama_decode = decode
    return np.median(spans)


def main(path, count=64, length=2048):
    model = GGUFModel(model=path, n_threads=1, max_tokens=count)
    context_length = model.runtime.context_length
    tokens = model.runtime.vocabulary.tokenize(UNIT * 400, whole=True)
    prompt = tokens[: min(length, context_length - count - 8)]
    loop = BareLoop(path, context_length)
    bare, ours, shared = [], [], []
    for _ in range(ROUNDS):
        bare.append(loop.run(prompt, count))
        ours.append(chainkit_run(model, prompt, count))
        shared.append(chainkit_run(model, prompt, 2, warm=prompt[:-16]))
    (bare_read, bare_step), (read, step) = np.min(bare, axis=0), np.min(ours, axis=0)
    print(f"{path}: {len(prompt)} tokens of prompt, {count} generated, {library().layout.package}, 1 thread")
    print(f"prompt  bare {bare_read * 1e3:8.2f} ms     chainkit {read * 1e3:8.2f} ms     speed {bare_read / read:.3f}x")
    print(f"decode  bare {bare_step * 1e6:8.1f} us/tok chainkit {step * 1e6:8.1f} us/tok speed {bare_step / step:.3f}x")
    tokens, pieces = [prompt], model.session().append(prompt).generate(GenerationRequest(max_tokens=count))
    stream = model.stream(model.runtime.vocabulary.detokenize(prompt[:-16]))
    works = (
        lambda: tokens.__setitem__(0, [loop.feed(tokens[0])]) or True,
        lambda: next(pieces, None),
        lambda: next(stream, None),
    )
    loop.llama.llama_memory_clear(loop.llama.llama_get_memory(loop.context), True)
    costs = " ".join(
        f"{name} {beside(work, count - 2) * 1e6:.0f}"
        for name, work in zip(("bare", "session", "stream"), works, strict=True)
    )
    print(f"outside llama_decode, us/tok: {costs}")
    print(
        f"prompt of which all but 16 tokens were read before: {np.min(shared, axis=0)[0] / read:.3f} of the first time"
    )


def random_model(path, layers, noise=0.0):
    """A Llama of so many layers; from the third on they add nothing to what the first two made."""
    import gguf  # the package of this name: found with `python -m benchmarks.gguf`, not with the path of this file

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("llama")
    words = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    words += ["\u2581".encode(), *(f"\u2581w{number}".encode() for number in range(WORDS - len(words) - 1))]
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * WORDS)
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (WORDS - 259))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    rng = np.random.default_rng(1)
    disturbed = np.random.default_rng(2)

    def matrix(name, rows, columns, scale, live=True):
        values = rng.standard_normal((rows, columns), dtype=np.float32) * (scale / columns**0.5 if live else 0)
        if noise and live:
            values += noise * values.std() * disturbed.standard_normal((rows, columns), dtype=np.float32)
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    matrix("token_embd.weight", WORDS, WIDTH, 4.0)
    matrix("output.weight", WORDS, WIDTH, 12.0)  # a model that is sure of itself
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(layers):
        block, live = f"blk.{layer}", layer < LIVE
        for name, rows, columns in (("attn_q", WIDTH, WIDTH), ("attn_k", WIDTH, WIDTH), ("attn_v", WIDTH, WIDTH)):
            matrix(f"{block}.{name}.weight", rows, columns, 1.5)
        matrix(f"{block}.attn_output.weight", WIDTH, WIDTH, 1.5, live)
        matrix(f"{block}.ffn_gate.weight", FF, WIDTH, 1.5)
        matrix(f"{block}.ffn_up.weight", FF, WIDTH, 1.5)
        matrix(f"{block}.ffn_down.weight", WIDTH, FF, 1.5, live)
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{norm}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def first_token(model, tokens):
    """Seconds of CPU and of the clock until the first token."""
    session = model.session().append(tokens)
    begun, clock = time.process_time(), time.perf_counter()
    next(session.generate(GenerationRequest(max_tokens=2)))
    spent = time.process_time() - begun, time.perf_counter() - clock
    session.close()
    return spent


def prefix(folder):
    model = GGUFModel(model=random_model(folder / "large.gguf", LAYERS), n_threads=1)
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(3):
        shared = rng.integers(300, WORDS, SHARED).tolist()
        ends = [rng.integers(300, WORDS, 16).tolist() for _ in range(2)]
        first, second = (first_token(model, shared + end) for end in ends)
        shares.append((second[0] / first[0], second[1] / first[1]))
        print(f"to the first token: first call {first[0]:.3f} s, second {second[0]:.4f} s (CPU)")
    cpu, clock = np.median(shares, axis=0)
    print(f"{SHARED} tokens shared, 16 new: the second call takes {cpu:.3f} of the first (CPU), {clock:.3f} (clock)")


def draft(folder, count=128):
    large = random_model(folder / "large.gguf", LAYERS)
    for noise in (0.0, 0.05, 0.3):
        small = random_model(folder / f"small-{noise}.gguf", LIVE, noise)
        alone = GGUFModel(model=large, n_threads=1)
        for at_once in (2, 4, 8):
            drafted = GGUFModel(model=large, draft=small, draft_tokens=at_once, n_threads=1)
            spent, texts = {}, {}
            for _ in range(2):
                for name, model in (("alone", alone), ("drafted", drafted)):
                    model.unload()
                    session = model.session("w5 w6")
                    session.logits()
                    begun = time.process_time()
                    texts[name] = [
                        token for p in session.generate(GenerationRequest(max_tokens=count)) for token in p.tokens
                    ]
                    spent[name] = min(time.process_time() - begun, spent.get(name, 1e9))
                    counters = session.counters
            assert counters.drafted
            same = sum(a == b for a, b in zip(texts["alone"], texts["drafted"], strict=False))
            print(
                f"noise {noise}, {at_once} at once: {counters.accepted}/{counters.drafted} drafts accepted, "
                f"{counters.passes} passes for {len(texts['drafted'])} tokens, "
                f"{spent['alone'] / spent['drafted']:.2f}x as fast (CPU), {same}/{count} tokens equal"
            )


if __name__ == "__main__":
    if sys.argv[1] in ("prefix", "draft"):
        with tempfile.TemporaryDirectory() as place:
            {"prefix": prefix, "draft": draft}[sys.argv[1]](Path(place))
    else:
        main(sys.argv[1], *map(int, sys.argv[2:]))
