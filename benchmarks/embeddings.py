"""Embeddings beside their peers, in one run.

    python benchmarks/embeddings.py runtimes [SHORT LONG]    all-MiniLM-L6-v2: speed, start, memory, agreement

Every measurement is a process of its own, with one thread. Needs the dev extra, and where it is wanted, openvino.
Groups are measured by groups.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

SETS = Path(__file__).with_name("sentence_sets.txt")


def sentence_sets() -> dict[str, list[tuple[str, str]]]:
    """The labelled sets of this project: (sentence, label) by the name of the set."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = label = ""
    for line in SETS.read_text("utf-8").splitlines():
        if line.startswith("= "):
            name = line[2:]
        elif line.startswith("- "):
            label = line[2:]
        elif line and not line.startswith("#"):
            found.setdefault(name, []).append((line, label))
    return found


def short_and_long(shorts: int = 2000, longs: int = 500) -> tuple[list[str], list[str]]:
    """Sentences of about 12 tokens, and passages of about 200, spliced from those of the sets."""
    rng = random.Random(7)
    words = [text.split() for rows in sentence_sets().values() for text, _ in rows]

    def spliced() -> str:
        first, second = rng.choice(words), rng.choice(words)
        return " ".join(first[: len(first) // 2 + 1] + second[len(second) // 2 - 1 :])

    return [spliced() for _ in range(shorts)], [". ".join(spliced() for _ in range(16)) for _ in range(longs)]


# --- runtimes


def encoder(name: str):
    """A function from texts to vectors."""
    if name.startswith("sentence-transformers"):
        import torch
        from sentence_transformers import SentenceTransformer

        from chainkit.backends.sentence.weights import find_folder

        torch.set_num_threads(1)
        model = SentenceTransformer(str(find_folder("")), device="cpu")
        return model.encode
    from chainkit.backends.sentence import SentenceEmbeddings

    runtime, precision = name.split()[1:]
    return SentenceEmbeddings(runtime=runtime, precision=precision, n_threads=1).embed_array


def measured_runtime(name: str, shorts: str, longs: str, out: str) -> dict[str, float]:
    import numpy as np

    warnings.simplefilter("ignore")
    encode = encoder(name)
    encode(["A first sentence."])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "start cpu s": usage.ru_utime + usage.ru_stime,
        "start wall s": time.time() - float(os.environ["STARTED"]),
        "loaded MB": _resident_mb(),
    }
    short, long = short_and_long(int(shorts), int(longs))
    vectors = []
    for key, texts in (("short", short), ("long", long)):
        encode(texts[:16])  # shapes and caches are warm on both sides
        before = time.process_time()
        result = encode(texts)
        found[f"{key} per cpu s"] = len(texts) / (time.process_time() - before)
        vectors.append(np.asarray(result))
    found["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.save(out, np.concatenate(vectors))
    return found


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def runtimes(shorts: str = "2000", longs: str = "500") -> None:
    import numpy as np

    names = ["sentence-transformers", "chainkit onnxruntime float32", "chainkit onnxruntime int8"]
    if importlib.util.find_spec("openvino"):
        names += ["chainkit openvino float32", "chainkit openvino auto", "chainkit openvino int8"]
    rows, vectors = {}, {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            out = f"{folder}/v.npy"
            in_process("_runtime", name, "1", "1", out)  # files are in the system's cache, graphs are written
            rows[name] = in_process("_runtime", name, shorts, longs, out)
            vectors[name] = np.load(out)
    peer = rows[names[0]]
    header = ["short per cpu s", "long per cpu s", "start cpu s", "start wall s", "loaded MB", "peak MB"]
    print(f"{'':32}" + "".join(f"{key:>24}" for key in header) + f"{'cosine least / mean':>24}")
    for name in names:
        cosine = (vectors[name] * vectors[names[0]]).sum(axis=1)
        cells = "".join(f"{rows[name][key]:15.2f} ({rows[name][key] / peer[key]:5.2f}x)" for key in header)
        print(f"{name:32}{cells}{cosine.min():14.5f} / {cosine.mean():.5f}")


def in_process(*arguments: str) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "STARTED": str(time.time())}
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["runtimes", "_runtime"])
    parser.add_argument("rest", nargs="*")
    arguments = parser.parse_args()
    if arguments.part == "_runtime":
        print(json.dumps(measured_runtime(*arguments.rest)))
    else:
        runtimes(*arguments.rest)


if __name__ == "__main__":
    main()
