"""What a plan says against what a process takes: resident memory after a text that filled the whole context.

    python benchmarks/sizing.py            # 20 combinations, each in a process of its own; one model was held out
    python benchmarks/sizing.py --table    # the table of docs/sizing.md, from the models' published settings

The models have random weights; memory does not depend on what they say. Files go into a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chainkit.backends.llama_cpp import gguf_writer
from chainkit.sizing import PIS, Use, gguf_model, plan, quantized, this_machine
from chainkit.sizing.gguf import model_from
from chainkit.sizing.header import TENSOR_TYPES
from chainkit.sizing.model import WeightShape
from chainkit.sizing.quantization import BLOCKS
from chainkit.sizing.shapes import config_model
from chainkit.sizing.verdict import judge

KINDS = {name: number for number, (name, _, _) in TENSOR_TYPES.items()}


@dataclass(frozen=True)
class Dims:
    """The size of a Llama, and which kind of vocabulary it has."""

    name: str
    width: int
    layers: int
    heads: int
    shared: int
    inner: int
    words: int
    bytewise: bool = False


SMALL = Dims("small", 768, 10, 12, 12, 2048, 32_000)
GROUPED = Dims("grouped", 1024, 8, 16, 4, 3584, 50_000, bytewise=True)
HELD_OUT = Dims("held-out", 896, 14, 14, 2, 2432, 64_000, bytewise=True)  # looked at after the formula was made

COMBINATIONS = [
    (SMALL, "F16", Use(context=2048)),
    (SMALL, "F16", Use(context=2048, mmap=False)),
    (SMALL, "Q8_0", Use(context=512)),
    (SMALL, "Q8_0", Use(context=4096)),
    (SMALL, "Q8_0", Use(context=4096, mmap=False)),
    (SMALL, "Q8_0", Use(context=2048, kv_type="q8_0")),
    (SMALL, "Q4_0", Use(context=2048)),
    (SMALL, "Q4_0", Use(context=2048, mmap=False)),
    (SMALL, "Q4_0", Use(context=2048, repack=False)),
    (SMALL, "Q4_K_M", Use(context=512, batch=128)),
    (SMALL, "Q4_K_M", Use(context=4096)),
    (SMALL, "Q4_K_M", Use(context=2048, kv_type="f32")),
    (GROUPED, "Q4_K_M", Use(context=2048)),
    (GROUPED, "Q8_0", Use(context=2048, mmap=False)),
    (HELD_OUT, "Q4_K_M", Use(context=4096)),
    (HELD_OUT, "Q4_K_M", Use(context=4096, mmap=False)),
    (HELD_OUT, "Q8_0", Use(context=1024, batch=256)),
    (HELD_OUT, "Q4_0", Use(context=2048, kv_type="q8_0")),
    (HELD_OUT, "Q5_K_M", Use(context=3000)),
    (HELD_OUT, "F16", Use(context=2048)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the models are written; by default a temporary folder")
    parser.add_argument("--only", default="", help="combinations whose model has this name")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(json.loads(asked.child))
    elif asked.table:
        table()
    else:
        folder = asked.folder or Path(tempfile.mkdtemp(prefix="chainkit-sizing-"))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            compare(folder, asked.only)
        finally:
            shutil.rmtree(folder)


def compare(folder: Path, only: str) -> None:
    worst: dict[bool, float] = {True: 0.0, False: 0.0}
    print("model     type    ctx   batch kv    mmap  repack  plan MB  measured MB  error   file + kv")
    for dims, kind, use in COMBINATIONS:
        if only not in dims.name:
            continue
        path = folder / f"{dims.name}-{kind}.gguf"
        if not path.exists():
            write(path, dims, kind)
        machine = this_machine()
        planned = plan(gguf_model(path), use, repacked=machine.repacked)
        measured = resident(path, use)
        error, naive = planned.resident / measured - 1, (path.stat().st_size + planned.cache) / measured - 1
        held_out = dims is HELD_OUT
        worst[held_out] = max(worst[held_out], abs(error))
        settings = f"{use.context:<5} {use.batch:<5} {use.kv_type:<5} {use.mmap!s:<5} {use.repack!s:<6}"
        print(
            f"{dims.name:<9} {kind:<7} {settings} {planned.resident / 1e6:8.1f}  {measured / 1e6:11.1f}  "
            f"{error:+6.1%}  {naive:+7.1%}",
            flush=True,
        )
    print(f"worst error: {worst[False]:.1%} on the models that the formula was made with, {worst[True]:.1%} held out")


def resident(path: Path, use: Use) -> int:
    """Bytes that a process of its own has in memory when the whole context is full."""
    settings = {
        "model": str(path),
        "context_length": use.context,
        "n_batch": use.batch,
        "kv_type": use.kv_type,
        "use_mmap": use.mmap,
        "repack": use.repack,
        "n_threads": 1,
        "probe": False,
    }
    run = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(settings)], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(run.stdout.split()[-1])


def child(settings: dict[str, object]) -> None:
    import chainkit

    model = chainkit.llm("gguf:" + str(settings.pop("model")), **settings)
    session = model.session()
    rng = np.random.default_rng(0)
    session.append([1, *rng.integers(300, 30_000, session.context_length - 1).tolist()])
    session.next_tokens(1)
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    print(int(line.split()[1]) * 1024)


def write(path: Path, dims: Dims, kind: str) -> None:
    """A Llama of random weights."""
    values = settings(dims) | (bytewise(dims.words) if dims.bytewise else sentencepiece(dims.words))
    plain = tuple(WeightShape(name, "F32", shape, 4 * int(np.prod(shape))) for name, shape in shapes(dims).items())
    weights = quantized(model_from(path.name, values, plain), kind).weights
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(gguf_writer.header(values, [(w.name, w.shape, KINDS[w.type], w.nbytes) for w in weights]))
        for weight in weights:
            data = blocks(weight.type, weight.values, rng) if len(weight.shape) > 1 else np.ones(weight.values, "<f4")
            raw = data.tobytes()
            assert len(raw) == weight.nbytes, weight
            file.write(raw.ljust(gguf_writer.padded(len(raw)), b"\0"))


def blocks(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random values; in a quantized type random bits under a small scale."""
    if kind in ("F32", "F16"):
        return (rng.standard_normal(count, np.float32) * 0.02).astype("<f4" if kind == "F32" else "<f2")
    size, nbytes = BLOCKS[kind]
    data = rng.integers(0, 256, (count // size, nbytes), np.uint8)
    small = np.frombuffer(np.float16(1e-4).tobytes(), np.uint8)
    places = {"Q6_K": [208], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q5_1": [0, 2]}.get(kind, [0])
    for place in places:
        data[:, place : place + 2] = small
    return data


def settings(dims: Dims) -> dict[str, gguf_writer.Value]:
    return {
        "general.architecture": "llama",
        "general.name": dims.name,
        "llama.context_length": 8192,
        "llama.embedding_length": dims.width,
        "llama.block_count": dims.layers,
        "llama.feed_forward_length": dims.inner,
        "llama.attention.head_count": dims.heads,
        "llama.attention.head_count_kv": dims.shared,
        "llama.rope.dimension_count": dims.width // dims.heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }


def shapes(dims: Dims) -> dict[str, tuple[int, ...]]:
    width, keys = dims.width, dims.width // dims.heads * dims.shared
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (width, dims.words)}
    for layer in range(dims.layers):
        block = {
            "attn_norm": (width,),
            "attn_q": (width, width),
            "attn_k": (width, keys),
            "attn_v": (width, keys),
            "attn_output": (width, width),
            "ffn_norm": (width,),
            "ffn_gate": (width, dims.inner),
            "ffn_up": (width, dims.inner),
            "ffn_down": (dims.inner, width),
        }
        found |= {f"blk.{layer}.{name}.weight": shape for name, shape in block.items()}
    return found | {"output_norm.weight": (width,), "output.weight": (width, dims.words)}


def sentencepiece(words: int) -> dict[str, gguf_writer.Value]:
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    tokens += ["\u2581".encode() + b"w%d" % number for number in range(words - len(tokens))]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (words - 259)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": -np.arange(words, dtype=np.float32),
        "tokenizer.ggml.token_type": np.asarray(kinds, np.int32),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }


def bytewise(words: int) -> dict[str, gguf_writer.Value]:
    """A byte-level vocabulary in which each token joins two before it."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in visible] + [chr(256 + place) for place in range(256 - len(visible))]
    tokens, merges, known = list(letters), [], set(letters)
    rng = np.random.default_rng(0)
    while len(tokens) < words - 1:
        left, right = (tokens[int(place)] for place in rng.integers(0, min(len(tokens), 4000), 2))
        if left + right not in known and len(left + right) < 12:
            known.add(left + right)
            tokens.append(left + right)
            merges.append(f"{left} {right}")
    tokens.append("<|end|>")
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [token.encode() for token in tokens],
        "tokenizer.ggml.token_type": np.asarray([1] * (words - 1) + [3], np.int32),
        "tokenizer.ggml.merges": [merge.encode() for merge in merges],
        "tokenizer.ggml.bos_token_id": words - 1,
        "tokenizer.ggml.eos_token_id": words - 1,
        "tokenizer.ggml.add_bos_token": False,
    }


LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32_000,
    "max_position_embeddings": 4096,
}
BLOOM = {
    "model_type": "bloom",
    "hidden_size": 14_336,
    "n_layer": 70,
    "num_attention_heads": 112,
    "vocab_size": 250_880,
    "seq_length": 2048,
}
PUBLISHED = {
    "Llama-2-7B": LLAMA,
    "Llama-2-13B": LLAMA
    | {"hidden_size": 5120, "intermediate_size": 13_824, "num_hidden_layers": 40, "num_attention_heads": 40},
    "SOLAR-10.7B": LLAMA | {"intermediate_size": 14_336, "num_hidden_layers": 48, "num_key_value_heads": 8},
    "BLOOM-176B": BLOOM,
}


def table() -> None:
    """Markdown: what published models need and where they fit, from their settings alone."""
    places = ["pi4-4gb", "pi4-8gb", "pi5-16gb"]
    heads = [
        "model",
        "weights as",
        "weights",
        "cache",
        "needed",
        "Pi 5 at most, mmap and copies",
        *("4 GB", "8 GB", "16 GB"),
    ]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for name, config in PUBLISHED.items():
        plain = config_model(name, config)
        context = min(plain.trained_context or 4096, 4096)
        for kind in ("F16", "Q8_0", "Q4_K_M") if name != "BLOOM-176B" else ("BF16", "Q8_0", "Q4_K_M"):
            model = quantized(plain, kind)
            verdicts = [judge(model, PIS[place], Use(context=context)) for place in places]
            planned = plan(model, Use(context=context), repacked=PIS["pi5-16gb"].repacked)
            sizes = [planned.weights, planned.cache, planned.needed, planned.with_mmap]
            answers = [f"{verdict}, tightly" if "tight" in verdict.advice else str(verdict) for verdict in verdicts]
            cells = [name, kind, *(f"{nbytes / 1e9:.2f}" for nbytes in sizes), *answers]
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
