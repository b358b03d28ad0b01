"""Groups of sentences beside their peers: the right number, many vectors, names, and what embeds them.

    python benchmarks/groups.py short                  the 20 sets of sentence_sets.txt
    python benchmarks/groups.py draws FILE... [-n 60]  draws of 100 to 9,000 texts and 3 groups to all of them
    python benchmarks/groups.py large FILE [-n COUNT]  noisy copies of real sentences: time, memory, agreement
    python benchmarks/groups.py names FILE...          does a group's name share a word with its label?
    python benchmarks/groups.py models EN DE [--folder FOLDER --prompt "query: "]
                                                       MiniLM, static vectors, a multilingual model: speed, start,
                                                       memory, STS-B

A FILE has a JSON object with "text" and "label" on each line, such as CLINC150 or Banking77; EN and DE have "a", "b"
and "score". Peers are measured where they are installed: leidenalg with igraph, umap-learn (for BERTopic's recipe),
faiss-cpu, sentence-transformers, model2vec. One thread; CPU time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402 - after the number of threads
from embeddings import sentence_sets  # noqa: E402

NEIGHBOURS = 15  # of the graph that Leiden parts


def read(path: str) -> tuple[list[str], np.ndarray]:
    rows = {row["text"]: row["label"] for row in map(json.loads, Path(path).read_text("utf-8").splitlines())}
    return list(rows), np.array(list(rows.values()))


def embedded(texts: list[str]) -> np.ndarray:
    from chainkit.backends.sentence import SentenceEmbeddings

    return SentenceEmbeddings(runtime="onnxruntime", precision="float32", n_threads=1).embed_array(texts)


# --- what finds groups; those that are told get the true number


def chainkit(vectors: np.ndarray, told: int) -> np.ndarray:
    from chainkit import clusters

    return clusters(vectors).labels


def kmeans(vectors: np.ndarray, told: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    return KMeans(told, n_init=3, random_state=0).fit_predict(vectors)


def ward_silhouette(vectors: np.ndarray, told: int) -> np.ndarray:
    from scipy.cluster.hierarchy import cut_tree, linkage
    from sklearn.metrics import silhouette_score

    tree = linkage(vectors, "ward")
    most = min(len(vectors) // 2, 400)
    numbers = sorted({round(k) for k in np.geomspace(2, most, 40)})
    cuts = cut_tree(tree, numbers).T
    return max(cuts, key=lambda labels: silhouette_score(vectors, labels))


def hdbscan(vectors: np.ndarray, told: int) -> np.ndarray:
    from sklearn.cluster import HDBSCAN

    return HDBSCAN(min_cluster_size=5, copy=True).fit_predict(vectors)


def leiden(vectors: np.ndarray, told: int) -> np.ndarray:
    import igraph
    import leidenalg

    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    nearest = np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    edges = [(row, int(other)) for row, others in enumerate(nearest) for other in others]
    graph = igraph.Graph(n=len(vectors), edges=edges, edge_attrs={"weight": [float(cosines[edge]) for edge in edges]})
    graph = graph.simplify(combine_edges="max")
    parts = leidenalg.find_partition(
        graph, leidenalg.RBConfigurationVertexPartition, weights="weight", resolution_parameter=1.0, seed=0
    )
    return np.array(parts.membership)


def bertopic(vectors: np.ndarray, told: int) -> np.ndarray:
    """BERTopic's recipe: UMAP to five dimensions, HDBSCAN with groups of ten."""
    import umap
    from sklearn.cluster import HDBSCAN

    places = umap.UMAP(n_neighbors=15, n_components=5, min_dist=0.0, metric="cosine", random_state=0)
    return HDBSCAN(min_cluster_size=10, copy=True).fit_predict(places.fit_transform(vectors))


def mini_batch(vectors: np.ndarray, told: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans

    return MiniBatchKMeans(told, random_state=0, n_init=1).fit_predict(vectors)


def faiss(vectors: np.ndarray, told: int) -> np.ndarray:
    import faiss as library

    rows = np.ascontiguousarray(vectors)
    found = library.Kmeans(rows.shape[1], told, seed=0, spherical=True)
    found.train(rows)
    return found.index.search(rows, 1)[1][:, 0]


NEEDS = {"leiden": "leidenalg", "bertopic": "umap", "faiss": "faiss"}
PEERS = {peer.__name__: peer for peer in (chainkit, kmeans, ward_silhouette, hdbscan, leiden, bertopic)}
LARGE_PEERS = {peer.__name__: peer for peer in (chainkit, mini_batch, faiss)}


def installed(name: str) -> bool:
    return name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None


# --- draws


def drawn(vectors: np.ndarray, truth: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draws of 3 groups to all, in even and uneven shares, of 100 texts to all of those groups."""
    names = np.unique(truth)
    for seed in range(count):
        rng = np.random.default_rng(1000 + seed)
        k = round(np.exp(rng.uniform(np.log(3), np.log(len(names)))))
        total = min(9000, k * len(truth) // len(names))
        size = round(np.exp(rng.uniform(np.log(min(total, max(100, 6 * k))), np.log(total))))
        shares = np.full(k, 1 / k) if seed % 2 else rng.dirichlet(np.full(k, 2.0))
        parts = []
        for name, share in zip(rng.choice(names, k, replace=False), shares, strict=True):
            rows = np.flatnonzero(truth == name)
            parts.append(rng.choice(rows, min(len(rows), max(3, round(size * share))), replace=False))
        rows = rng.permutation(np.concatenate(parts))
        yield vectors[rows], truth[rows]


def draws(files: list[str], count: int, peers: list[str]) -> None:
    from sklearn.metrics import adjusted_rand_score

    sets = [(embedded(texts), truth) for texts, truth in map(read, files)]
    found: dict[str, list[tuple[float, float, float]]] = {}
    for vectors, truth in (draw for each in sets for draw in drawn(*each, -(-count // len(sets)))):
        k = len(set(truth))
        line = f"n {len(truth):5} groups {k:3}"
        for name in peers:
            start = time.process_time()
            labels = PEERS[name](vectors, k)
            took = time.process_time() - start
            number = len(set(labels.tolist()) - {-1}) or 1
            found.setdefault(name, []).append((adjusted_rand_score(truth, labels), max(k / number, number / k), took))
            line += f" | {name} {found[name][-1][0]:.3f} ({number})"
        print(line, flush=True)
    told = np.array([ari for ari, _, _ in found["kmeans"]])
    print(f"\n{'':18}{'mean ARI':>10}{'of k-means':>12}{'worst':>8}{'within 1.35':>13}{'CPU s':>8}")
    for name, rows in found.items():
        ari, factor, took = np.array(rows).T
        within, worst, share = (factor <= 1.35).mean(), (ari / told).min(), ari.mean() / told.mean()
        print(f"{name:18}{ari.mean():10.3f}{share:12.3f}{worst:8.2f}{within:13.2f}{took.mean():8.2f}")


def short() -> None:
    from sklearn.metrics import adjusted_rand_score

    found = []
    for name, rows in sentence_sets().items():
        truth = [label for _, label in rows]
        vectors = embedded([text for text, _ in rows])
        labels = chainkit(vectors, 0)
        found.append((adjusted_rand_score(truth, labels), len(set(labels)) == len(set(truth))))
        print(f"{name:24}{found[-1][0]:8.3f} {len(set(labels)):3} of {len(set(truth))}")
    print("mean ARI, right number:", *np.round(np.mean(found, axis=0), 3))


# --- many vectors


def large(files: list[str], count: int, noise: float, peers: list[str]) -> None:
    texts, truth = read(files[0])
    vectors = embedded(texts)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/vectors.npy"
        rng = np.random.default_rng(5)
        rows = rng.integers(0, len(vectors), count)
        copies = np.lib.format.open_memmap(path, "w+", np.float32, (count, vectors.shape[1]))
        for start in range(0, count, 20_000):
            block = vectors[rows[start : start + 20_000]]
            copies[start : start + 20_000] = block + rng.normal(size=block.shape) * noise / block.shape[1] ** 0.5
        copies.flush()
        np.save(f"{folder}/truth.npy", np.unique(truth, return_inverse=True)[1][rows])
        del copies
        for peer in peers:
            command = [sys.executable, __file__, "_large", peer, path]
            print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, end="", flush=True)


def measured_large(peer: str, path: str) -> None:
    from sklearn.metrics import adjusted_rand_score

    vectors, truth = np.load(path, mmap_mode="r"), np.load(Path(path).with_name("truth.npy"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    labels = LARGE_PEERS[peer](vectors, len(set(truth.tolist())))
    took = time.process_time() - start
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    ari, number = adjusted_rand_score(truth, labels), len(set(labels.tolist()))
    print(f"{len(vectors):9,} {peer:12} ARI {ari:.3f} groups {number} CPU s {took:.1f} MB {added:.0f}")


# --- names


def names(files: list[str]) -> None:
    from chainkit import clusters
    from chainkit.base.stems import stem

    def parts(text: str) -> set[str]:
        return {stem(word) for word in re.split(r"[\W_]+", text.lower()) if len(word) > 2}

    for file in files:
        texts, truth = read(file)
        rows = np.random.default_rng(0).permutation(len(texts))[:2000]
        found = clusters([texts[row] for row in rows], embedded([texts[row] for row in rows]))
        hits = 0
        for group in found.groups:
            label = Counter(truth[rows[list(group.members)]]).most_common(1)[0][0]
            hits += bool(parts(label) & parts(group.name))
            print(f"{label:40} {group.name}")
        print(f"{Path(file).name}: {hits} of {found.k} names share a stem with the label ({hits / found.k:.2f})")


# --- models


MODELS = {
    "MiniLM, onnxruntime float32": "minilm:?runtime=onnxruntime&precision=float32&n_threads=1",
    "MiniLM, onnxruntime int8": "minilm:?runtime=onnxruntime&precision=int8&n_threads=1",
    "MiniLM, OpenVINO bfloat16": "minilm:?runtime=openvino&precision=bfloat16&n_threads=1",
    "MiniLM, OpenVINO int8": "minilm:?runtime=openvino&precision=int8&n_threads=1",
    "MiniLM, sentence-transformers": "sentence-transformers",
    "static, wordllama": "static:wordllama",
    "static, model2vec": "model2vec",
    "static, sentence-transformers": "sentence-transformers static",
}
MULTILINGUAL = {  # of a folder that is named on the command line
    "onnxruntime float32": "minilm:{}?runtime=onnxruntime&precision=float32&n_threads=1",
    "onnxruntime int8": "minilm:{}?runtime=onnxruntime&precision=int8&n_threads=1",
    "OpenVINO bfloat16": "minilm:{}?runtime=openvino&precision=bfloat16&n_threads=1",
    "OpenVINO int8": "minilm:{}?runtime=openvino&precision=int8&n_threads=1",
    "sentence-transformers": "sentence-transformers {}",
}


def models(files: list[str], folder: str, prompt: str) -> None:
    rows = [(name, spec, "") for name, spec in MODELS.items()]
    if folder:
        rows += [(f"{Path(folder).name}, {name}", spec.format(folder), prompt) for name, spec in MULTILINGUAL.items()]
    for row in rows:
        command = [sys.executable, __file__, "_model", *row, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(done.stdout.strip() or f"{row[0]}: {done.stderr.strip().splitlines()[-1]}", flush=True)


def measured_model(name: str, spec: str, prompt: str, *files: str) -> None:
    encode = _encoder(spec, prompt)
    encode(["A first sentence."])
    started = time.process_time()  # Python, numpy and the libraries included
    texts = [text for rows in sentence_sets().values() for text, _ in rows] * (20 if "static" in name else 1)
    texts = [f"{text} {row}" for row, text in enumerate(texts)]
    encode(texts[:64])
    start = time.process_time()
    encode(texts)
    speed = len(texts) / (time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    from scipy.stats import spearmanr

    scores = []
    for file in files:
        rows = list(map(json.loads, Path(file).read_text("utf-8").splitlines()))
        first, second = (np.asarray(encode([row[side] for row in rows])) for side in "ab")
        lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        cosines = (first * second).sum(axis=1) / np.maximum(lengths, 1e-9)
        scores.append(f"{spearmanr(cosines, [row['score'] for row in rows])[0]:.4f}")
    print(f"{name:34} {speed:9.0f}/CPU s  start {started:.2f} CPU s  {peak:.0f} MB  STS-B {' '.join(scores)}")


def _encoder(spec: str, prompt: str):
    if spec == "model2vec":
        from model2vec import StaticModel

        return StaticModel(*_word_vectors(), normalize=True).encode
    if spec == "sentence-transformers static":
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import StaticEmbedding

        vectors, tokenizer = _word_vectors()
        return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=vectors)], device="cpu").encode
    if spec.startswith("sentence-transformers"):
        import torch
        from sentence_transformers import SentenceTransformer

        from chainkit.backends.sentence.weights import find_folder

        torch.set_num_threads(1)
        model = SentenceTransformer(str(find_folder(spec.partition(" ")[2])), device="cpu")
        return lambda texts: model.encode([prompt + text for text in texts])
    from chainkit import embeddings

    model = embeddings(spec)
    return lambda texts: model.embed_array([prompt + text for text in texts])


def _word_vectors():
    """The vectors of the wordllama package, N x D, and their tokenizer, for other libraries."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    package = Path(importlib.util.find_spec("wordllama").origin).parent
    (weights,) = package.glob("weights/*.safetensors")
    (tokenizer,) = package.glob("tokenizers/*.json")
    return load_file(weights)["embedding.weight"].astype(np.float32), Tokenizer.from_file(str(tokenizer))


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["short", "draws", "large", "names", "models", "_large", "_model"])
    parser.add_argument("files", nargs="*")
    parser.add_argument("-n", type=int, default=0, help="draws, or vectors")
    parser.add_argument("--noise", type=float, default=0.5, help="length of the noise beside a vector of length 1")
    parser.add_argument("--folder", default="", help="a multilingual model of sentence-transformers")
    parser.add_argument("--prompt", default="", help="what that model wants before each text")
    parser.add_argument("--peers", nargs="*", help="of those named in the source")
    given = parser.parse_args()
    match given.part:
        case "short":
            short()
        case "draws":
            draws(given.files, given.n or 60, given.peers or list(filter(installed, PEERS)))
        case "large":
            large(given.files, given.n or 100_000, given.noise, given.peers or list(filter(installed, LARGE_PEERS)))
        case "names":
            names(given.files)
        case "models":
            models(given.files, given.folder, given.prompt)
        case "_large":
            measured_large(*given.files)
        case "_model":
            measured_model(*given.files)


if __name__ == "__main__":
    main()
