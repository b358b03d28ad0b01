"""The index at size: opening, searching, and indexing against bare embedding. `python benchmarks/knowledge.py [N]`."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge import Index
from chainkit.knowledge.index.store import Store, Stored
from chainkit.knowledge.readers.split import Passage

WIDTH = 384
QUERIES = 200


def vocabulary(rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Invented words, frequent as words are (Zipf)."""
    words = ["".join(rng.choice(list("abcdefghijklmnoprstuvw"), rng.integers(3, 10))) for _ in range(30_000)]
    share = 1 / np.arange(10, len(words) + 10)
    return words, share / share.sum()


def filled(file: Path, count: int, rng: np.random.Generator) -> np.ndarray:
    """An index of random unit vectors around 1,000 centres, with texts of 70 words; the vectors."""
    words, share = vocabulary(rng)
    centres = rng.normal(size=(1_000, WIDTH))
    index = Index(file, FakeEmbeddings(dimensions=WIDTH))
    index._encoder.recognise(index._store)
    store, parts = index._store, []
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        vectors = (centres[rng.integers(0, 1_000, size)] + rng.normal(size=(size, WIDTH))).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        parts.append(vectors)
        texts = rng.choice(words, (size, 70), p=share)
        path = f"/made/{start}.txt"
        store.stage(
            (Passage(text=" ".join(row), path=path, position=n, first_line=n, last_line=n), vectors[n].tobytes())
            for n, row in enumerate(texts)
        )
        store.commit([Stored(path, "x")])
    index.close()
    return np.concatenate(parts)


class Fixed(FakeEmbeddings):
    """Gives a vector made before, so that only the search is timed."""

    def embed_query(self, text: str) -> list[float]:
        return VECTORS[int(text.split()[0]) % QUERIES]


VECTORS: list = []


def timed(calls) -> tuple[float, float, float]:
    """Median and 95th percentile of the wall time, and the median of the CPU time, in ms."""
    wall, cpu = [], []
    for call in calls:
        started, used = time.perf_counter(), time.process_time()
        call()
        wall.append(1000 * (time.perf_counter() - started))
        cpu.append(1000 * (time.process_time() - used))
    return float(np.median(wall)), float(np.percentile(wall, 95)), float(np.median(cpu))


def prepared(count: int, file: Path) -> None:
    """Make the index, the questions and the right answers, in a process of its own, whose memory is not measured."""
    rng = np.random.default_rng(5)
    vectors = filled(file, count, rng)
    queries = (vectors[rng.integers(0, count, QUERIES)] + 0.05 * rng.normal(size=(QUERIES, WIDTH))).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact = np.array([np.argpartition(-(vectors @ query), 10)[:10] + 1 for query in queries[:50]])
    np.savez(file.with_suffix(".npz"), queries=queries, exact=exact)


def resident() -> float:
    """Memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def searching(count: int, folder: Path) -> None:
    file = folder / "index.sqlite"
    maker = multiprocessing.get_context("spawn").Process(target=prepared, args=(count, file))
    maker.start()
    maker.join()
    made = np.load(file.with_suffix(".npz"))
    VECTORS[:] = made["queries"].tolist()
    exact = [set(row.tolist()) for row in made["exact"]]
    words, share = vocabulary(np.random.default_rng(5))
    rng = np.random.default_rng(9)
    asked = [f"{n} {' '.join(rng.choice(words, 6, p=share))}" for n in range(QUERIES)]
    before = resident()
    started, used = time.perf_counter(), time.process_time()
    index = Index(file, Fixed(dimensions=WIDTH))
    index.nearest(VECTORS[0], 10)
    opened = time.perf_counter() - started, time.process_time() - used
    recall = np.mean([len({hit.id for hit in index.nearest(VECTORS[n], 10)} & exact[n]) / 10 for n in range(50)])
    by_meaning = timed([lambda n=n: index.nearest(VECTORS[n], 10) for n in range(QUERIES)])
    fused = timed([lambda text=text: index.find(text, 10) for text in asked])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    sizes = f"file {file.stat().st_size / 1e6:.0f} MB, vectors {count * WIDTH * 4 / 1e6:.0f} MB"
    print(f"{count:,} passages x {WIDTH}, {sizes}, recall@10 {recall:.3f}")
    print(f"  open and first search: {opened[0]:.2f} s ({opened[1]:.2f} s CPU)")
    print(f"  by meaning: p50 {by_meaning[0]:.1f} ms, p95 {by_meaning[1]:.1f}, CPU {by_meaning[2]:.1f}")
    print(f"  by meaning and six words: p50 {fused[0]:.1f} ms, p95 {fused[1]:.1f}, CPU {fused[2]:.1f}")
    print(f"  memory before opening {before:.0f} MB, afterwards {resident():.0f} MB, at most {peak:.0f} MB")
    index.close()


def indexing(folder: Path, files: int = 250, sections: int = 20) -> None:
    """A folder of about 5,000 passages: bare embedding, first run, second run."""
    from chainkit.backends.sentence import SentenceEmbeddings

    words, share = vocabulary(np.random.default_rng(6))
    rng = np.random.default_rng(7)
    docs = folder / "docs"
    docs.mkdir()
    for n in range(files):
        text = "\n\n".join(
            f"## {rng.choice(words)}\n\n{' '.join(rng.choice(words, 35, p=share))}." for _ in range(sections)
        )
        (docs / f"{n}.md").write_text(text, "utf-8")
    embeddings = SentenceEmbeddings(model="", n_threads=1)
    embeddings.embed_array(["warm"])
    used = time.process_time()
    with Index(folder / "speed.sqlite", embeddings) as index:
        index.add(docs)
        first = time.process_time() - used
        used = time.process_time()
        index.update()
        second = time.process_time() - used
        rows = index._store.passages(range(1, len(index) + 1))
    texts = [row.passage.context for row in rows.values()]
    used = time.process_time()
    embeddings.embed_array(texts)
    bare = time.process_time() - used
    print(f"{len(texts):,} passages: bare embedding {bare:.1f} s CPU, first run {first:.1f} s: {bare / first:.2f}x")
    print(f"  second run, nothing changed: {second:.3f} s CPU, {100 * second / first:.2f} % of the first")


def store_alone(folder: Path) -> None:
    started = time.perf_counter()
    Store(folder / "empty.sqlite").close()
    print(f"an empty index is made in {1000 * (time.perf_counter() - started):.0f} ms")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        searching(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, Path(name))
    with tempfile.TemporaryDirectory() as name:
        store_alone(Path(name))
        if len(sys.argv) <= 2:
            indexing(Path(name))
