"""Embeddings and groups beside their peers, in one run.

    python benchmarks/embeddings.py runtimes [SHORT LONG]    all-MiniLM-L6-v2: speed, start, memory, agreement
    python benchmarks/embeddings.py groups [FILE...]         labelled sets: do the groups that are found agree?
    python benchmarks/embeddings.py large [COUNT [PEER...]]  many vectors: time, memory, agreement

A FILE is text with a label, a tab and a sentence on each line, such as an export of banking77, CLINC150 or titles of
StackOverflow. A PEER is one of chainkit, kmeans, hdbscan, community, faiss. Every measurement is a process of
its own, with one thread. Needs the dev extra, and where they are wanted, openvino and faiss-cpu.
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


# --- groups


def groups(*files: str) -> None:
    import numpy as np
    from sklearn.metrics import adjusted_rand_score

    warnings.simplefilter("ignore")
    embed = encoder("chainkit onnxruntime float32")
    sets = [labelled(Path(file)) for file in files] or list(sentence_sets().values())
    scores: dict[str, list[tuple[float, bool, bool]]] = {}
    for rows in sets:
        texts, truth = [text for text, _ in rows], np.array([label for _, label in rows])
        vectors = embed(texts)
        for name, group in GROUPERS.items():
            first = group(vectors)
            order = np.random.default_rng(0).permutation(len(texts))
            same = adjusted_rand_score(first[order], group(vectors[order])) == 1
            right = len(set(first.tolist())) == len(set(truth.tolist()))
            scores.setdefault(name, []).append((adjusted_rand_score(truth, first), right, same))
    print(f"{'':28}{'mean ARI':>10}{'right k':>10}{'same in another order':>24}")
    for name, found in scores.items():
        ari, right, same = np.array(found, float).mean(axis=0)
        print(f"{name:28}{ari:10.3f}{right:10.2f}{same:24.2f}")


def labelled(path: Path) -> list[tuple[str, str]]:
    """A file of lines: label, tab, sentence."""
    lines = [line.split("\t", 1) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [(text, label) for label, text in lines]


def _chainkit(vectors):
    from chainkit.vectors import clusters

    return clusters(vectors).labels


def _best_silhouette(make):
    def group(vectors):
        from sklearn.metrics import silhouette_score  # not above: it would count as start and memory of every runtime

        most = min(len(vectors) - 1, 60)
        found = [make(k).fit_predict(vectors) for k in range(2, most + 1)]
        return max(found, key=lambda labels: silhouette_score(vectors, labels))

    return group


def _kmeans(k):
    from sklearn.cluster import KMeans

    return KMeans(k, n_init=4, random_state=0)


def _agglomerative(linkage):
    def make(k):
        from sklearn.cluster import AgglomerativeClustering

        return AgglomerativeClustering(k, metric="euclidean" if linkage == "ward" else "cosine", linkage=linkage)

    return make


def _hdbscan(vectors):
    from sklearn.cluster import HDBSCAN

    return HDBSCAN(min_cluster_size=2, copy=True).fit_predict(vectors)


def _community(vectors, threshold=0.5):
    import numpy as np
    from sentence_transformers import util

    labels = np.full(len(vectors), -1)
    for label, rows in enumerate(util.community_detection(vectors, threshold=threshold, min_community_size=2)):
        labels[rows] = label
    return labels


GROUPERS = {
    "chainkit": _chainkit,
    "k-means + silhouette": _best_silhouette(_kmeans),
    "Ward + silhouette": _best_silhouette(_agglomerative("ward")),
    "average + silhouette": _best_silhouette(_agglomerative("average")),
    "complete + silhouette": _best_silhouette(_agglomerative("complete")),
    "HDBSCAN": _hdbscan,
    "community_detection 0.5": _community,
}


# --- large


def measured_large(peer: str, path: str) -> dict[str, float]:
    import numpy as np

    warnings.simplefilter("ignore")
    vectors = np.load(path, mmap_mode="r")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    labels = LARGE_PEERS[peer](vectors)
    return {
        "cpu s": time.process_time() - start,
        "added MB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "k": len(set(labels.tolist())),
        "ari": agreement(path, labels),
    }


def agreement(path: str, labels) -> float:
    import numpy as np
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(np.load(f"{path}.truth.npy"), labels))


def _told_kmeans(vectors):
    from sklearn.cluster import MiniBatchKMeans

    return MiniBatchKMeans(200, random_state=0, n_init=1).fit_predict(vectors)  # it is told the number


def _told_faiss(vectors):
    import faiss
    import numpy as np

    found = faiss.Kmeans(vectors.shape[1], 200, seed=0, spherical=True)
    found.train(np.ascontiguousarray(vectors))
    return found.index.search(np.ascontiguousarray(vectors), 1)[1][:, 0]


def _large_hdbscan(vectors):
    from sklearn.cluster import HDBSCAN

    return HDBSCAN(min_cluster_size=10, copy=False).fit_predict(vectors)


LARGE_PEERS = {
    "chainkit": _chainkit,
    "kmeans": _told_kmeans,
    "faiss": _told_faiss,
    "community": lambda vectors: _community(vectors, threshold=0.45),
    "hdbscan": _large_hdbscan,
}


def large(count: str = "100000", *peers: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/vectors.npy"
        write_vectors(path, int(count))
        for peer in peers or ["chainkit", "kmeans"]:
            found = in_process("_large", peer, path)
            print(f"{peer:12}" + "".join(f"{key:>10} {value:9.3f}" for key, value in found.items()), flush=True)


def write_vectors(path: str, count: int) -> None:
    """Vectors of 384 around 200 centres of unequal weight; two of one group have a mean cosine of 0.6."""
    import numpy as np

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 384)) / 384**0.5
    truth = rng.choice(200, count, p=rng.dirichlet(np.full(200, 3.0)))
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (count, 384))
    for start in range(0, count, 20_000):
        block = centres[truth[start : start + 20_000]]
        vectors[start : start + 20_000] = block + rng.normal(size=block.shape) * 0.8 / 384**0.5
    np.save(f"{path}.truth.npy", truth)


def in_process(*arguments: str) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "STARTED": str(time.time())}
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parts = {"runtimes": runtimes, "groups": groups, "large": large}
    measured = {"_runtime": measured_runtime, "_large": measured_large}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*parts, *measured])
    parser.add_argument("rest", nargs="*")
    arguments = parser.parse_args()
    if arguments.part in measured:
        print(json.dumps(measured[arguments.part](*arguments.rest)))
    else:
        parts[arguments.part](*arguments.rest)


if __name__ == "__main__":
    main()
