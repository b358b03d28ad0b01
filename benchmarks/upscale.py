"""Time and memory of up-scaling 0.8 GB of random Llama weights from 32 to 48 layers, beside a plain copy.

python -m benchmarks.upscale [ROUNDS] [--naive]

Each measurement is a process of its own; "copy" writes the same bytes with copy_file_range, the least there is to do.
--naive adds transformers by hand: load, copy layers, save. Files are made in a temporary folder (about 4 GB) and
removed. Memory is the largest resident size of the process above that of an empty Python (Linux only).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DEPTH, DROP, WIDTH, INNER, TOKENS = 32, 8, 1024, 2560, 16_000
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": TOKENS,
    "dtype": "float16",
}
LAYER = {
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (WIDTH, WIDTH),
    "self_attn.v_proj": (WIDTH, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (INNER, WIDTH),
    "mlp.up_proj": (INNER, WIDTH),
    "mlp.down_proj": (WIDTH, INNER),
    "input_layernorm": (WIDTH,),
    "post_attention_layernorm": (WIDTH,),
}
GGUF_NAMES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_norm", "ffn_norm")


def tensors() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (TOKENS, WIDTH), "model.norm.weight": (WIDTH,)}
    shapes["lm_head.weight"] = (TOKENS, WIDTH)
    return shapes | {
        f"model.layers.{layer}.{part}.weight": shape for layer in range(DEPTH) for part, shape in LAYER.items()
    }


def write_folder(folder: Path) -> None:
    folder.mkdir()
    header, offset = {}, 0
    for name, shape in tensors().items():
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in tensors().values():
            file.write((random.standard_normal(int(np.prod(shape)), np.float32) * 0.02).astype(np.float16).tobytes())
    (folder / "config.json").write_text(json.dumps(CONFIG))


def write_gguf(path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(DEPTH)
    random = np.random.default_rng(0)
    for name, shape in tensors().items():
        layer, _, part = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
        known = part in LAYER
        short = (
            f"blk.{layer}.{GGUF_NAMES[list(LAYER).index(part)]}.weight" if known else f"{name.split('.')[-2]}.weight"
        )
        writer.add_tensor(short, (random.standard_normal(shape, np.float32) * 0.02).astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def copy(source: Path, target: Path, count: int) -> None:
    """So many bytes, over and over from the same file."""
    size = source.stat().st_size
    with source.open("rb") as reader, target.open("wb") as writer:
        while count:
            step = min(count, 1 << 26)
            start = writer.tell() % max(1, size - step)
            done = os.copy_file_range(reader.fileno(), writer.fileno(), step, offset_src=start)
            writer.seek(0, os.SEEK_END)
            count -= done


def naive(source: str, target: str) -> None:
    import copy as copying

    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float16)
    layers = model.model.layers
    order = [*range(DEPTH - DROP), *range(DROP, DEPTH)]
    model.model.layers = torch.nn.ModuleList(copying.deepcopy(layers[number]) for number in order)
    model.config.num_hidden_layers = len(order)
    model.save_pretrained(target)


def child(what: str, source: str, target: str, count: int) -> None:
    from chainkit.upscaling.make import upscale  # what is imported is not timed, of neither

    start, cpu = time.perf_counter(), time.process_time()
    if what == "copy":
        copy(Path(source), Path(target), count)
    elif what == "naive":
        naive(source, target)
    elif what == "upscale":
        upscale(source, target, drop=DROP)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps([seconds, used, peak_mib()]))


def peak_mib() -> float:
    """Of this process; getrusage would give that of the process which started it, if larger."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def measured(what: str, source: Path, target: Path, count: int = 0) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.upscale", "--child", what, str(source), str(target), str(count)]
    os.sync()
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    subprocess.run(["rm", "-rf", str(target)], check=True)
    return answer


def bare_mib() -> float:
    code = "print(open('/proc/self/status').read())"
    status = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def main(rounds: int, with_naive: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, file, target = Path(name) / "hf", Path(name) / "model.gguf", Path(name) / "out"
        write_folder(folder)
        write_gguf(file)
        weights = folder / "model.safetensors"
        bare = bare_mib()
        import chainkit

        needed = chainkit.upscale(folder, drop=DROP, dry_run=True).new_bytes or 0
        print(f"{weights.stat().st_size / 1e9:.2f} GB -> {needed / 1e9:.2f} GB; python {bare:.0f} MiB")
        rows: dict[str, list[list[float]]] = {"copy": [], "hf": [], "gguf": []}
        for _ in range(rounds):
            rows["copy"].append(measured("copy", weights, target, needed))
            rows["hf"].append(measured("upscale", folder, target))
            rows["gguf"].append(measured("upscale", file, target))
        if with_naive:
            rows["naive"] = [measured("naive", folder, target)]
        floor = statistics.median(row[0] for row in rows["copy"])
        for what, found in rows.items():
            seconds, cpu, memory = (statistics.median(column) for column in zip(*found, strict=True))
            spread = " ".join(f"{row[0]:.2f}" for row in found)
            above = memory - bare
            print(f"{what:6} {seconds:6.2f} s ({spread}) {seconds / floor:5.2f}x  cpu {cpu:.2f} s  +{above:.0f} MiB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("rounds", type=int, nargs="?", default=5)
        parser.add_argument("--naive", action="store_true")
        chosen = parser.parse_args()
        main(chosen.rounds, chosen.naive)
