"""The libraries that run GGUF files, side by side: how fast they read and write, and whether they write the same.

    python -m benchmarks.engines speed [MODEL.gguf ...] [--prompt 256] [--written 32] [--threads 1 --threads 2]
    python -m benchmarks.engines random [Q4_0 ...]        # a Llama of 1.1 billion random weights, in four quantizations
    python -m benchmarks.engines ask [MODEL.gguf ...]     # a question over 1,500 tokens of text, answered by a chat
    python -m benchmarks.engines texts [MODEL.gguf ...]   # 20 greedy texts of 64 tokens, and the perplexity of pages

The model is SmolLM2 if none is named. The contenders are a loop on the library's C functions with nothing around it,
and chainkit with each library that is installed. They take turns in one process, forward and back, each round on
another text, so that nothing is known from the round before. Speeds are tokens per second of CPU, of all threads
together; the best round counts. Ratios are the median of those of each round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gguf import BareLoop
from benchmarks.sizing import Dims, write
from chainkit.backends.llama_cpp.libraries import opened
from chainkit.backends.llama_cpp.models import GGUFChat, GGUFModel
from chainkit.backends.llama_cpp.smollm2 import packaged
from chainkit.base.errors import MissingLibrary
from chainkit.base.generation import GenerationRequest
from chainkit.decoding.sampler import log_softmax

os.environ["CHAINKIT_PREFIX_CACHE"] = "off"  # what an earlier run has read would not be measured

ROOT = Path(__file__).parents[1]
REFERENCE = "xllamacpp"
BARE = ("xllamacpp", "llama_cpp")
ENGINES = ("xllamacpp", "ik_llama_cpp")
BILLION = Dims("billion", 2048, 20, 16, 16, 5632, 8192)
PAGES = ("docs/raspberry-pi.md", "docs/knowledge.md", "docs/embeddings.md")
PAGE_TOKENS = 480
PROMPTS = (
    "The capital of France is",
    "Water boils at a temperature of",
    "Once upon a time there was a small house near the sea.",
    "To bake bread you need flour, water, salt and",
    "The three laws of motion were written by",
    "A good letter to a customer begins with",
    "def fibonacci(n):",
    "The difference between a frog and a toad is that",
    "Dear Sir or Madam, I am writing to",
    "In winter the days are short because",
    "The largest planet of the solar system is",
    "Question: How many legs does a spider have? Answer:",
    "My favourite season is autumn, since",
    "To repair a flat tyre, first",
    "The history of the bicycle begins in",
    "SELECT name, age FROM people WHERE",
    "A triangle with three equal sides is called",
    "Meine Schwester wohnt in Berlin und",
    "The doctor told the patient that",
    "List of fruits: apple, banana, cherry,",
)


def installed(names: Sequence[str]) -> list[str]:
    """Those of the packages that can be loaded here."""
    found = []
    for name in names:
        try:
            opened(name)
        except MissingLibrary as error:
            print(f"without {name}: {error}")
        else:
            found.append(name)
    return found


# speed


@dataclass
class Bare:
    """A loop on a library."""

    package: str
    loop: BareLoop

    def __str__(self) -> str:
        return f"bare loop, {self.package}"

    def run(self, prompt: list[int], count: int) -> tuple[float, float]:
        return self.loop.run(prompt, count)


@dataclass
class Ours:
    """chainkit on a library."""

    package: str
    model: GGUFModel

    def __str__(self) -> str:
        return f"chainkit, {self.package}"

    def run(self, prompt: list[int], count: int) -> tuple[float, float]:
        session = self.model.session().append(prompt)
        begun = time.process_time()
        stream = session.generate(GenerationRequest(max_tokens=count))
        done = len(next(stream).tokens)
        read = time.process_time()
        for piece in stream:
            done += len(piece.tokens)
        spent = time.process_time() - read
        session.close()
        assert done > count // 2, f"the text ended after {done} tokens"
        return read - begun, spent / (done - 1)


def contenders(path: str, context: int, threads: int) -> Iterator[Bare | Ours]:
    for package in installed(BARE):
        yield Bare(package, BareLoop(path, context, opened(package), threads))
    for package in installed(ENGINES):
        model = GGUFModel(model=path, n_threads=threads, context_length=context, engine=package)
        engine = model.runtime.weights.engine
        if engine.library == package:
            yield Ours(package, model)
        else:
            print(f"not on {package}: {engine.reason}")


def speed(path: str, length: int, count: int, threads: int, rounds: int) -> None:
    context = length + count + 64
    all_of_them = list(contenders(path, context, threads))
    tokens = text_tokens(next(one.model for one in all_of_them if isinstance(one, Ours)), length + 97 * (rounds + 1))
    spent: dict[str, list[tuple[float, float]]] = {}
    for one in all_of_them:
        one.run(tokens[:16], 4)  # touches all weights
    for number in range(1, rounds + 1):
        prompt = tokens[97 * number : 97 * number + length]
        for one in all_of_them[:: 1 if number % 2 else -1]:
            spent.setdefault(str(one), []).append(one.run(prompt, count))
    load = os.getloadavg()[0]
    print(f"\n{Path(path).name}: {length} tokens read, {count} written, {threads} threads, load {load:.1f}\n")
    print("| | read, tokens per CPU s | to the bare loop | written | to the bare loop |\n|---|---|---|---|---|")
    first = spent[f"bare loop, {REFERENCE}"]
    for one in all_of_them:
        rows = spent[str(one)]
        reading, writing = length / min(row[0] for row in rows), 1 / min(row[1] for row in rows)
        ratios = [statistics.median(a[part] / b[part] for a, b in zip(first, rows, strict=True)) for part in range(2)]
        print(f"| {one} | {reading:.0f} | {ratios[0]:.2f}x | {writing:.1f} | {ratios[1]:.2f}x |", flush=True)
    for one in all_of_them:
        if isinstance(one, Ours):
            one.model.unload()


def text_tokens(model: GGUFModel | GGUFChat, count: int) -> list[int]:
    """The beginning of this project's documentation, over and over."""
    vocabulary = model.runtime.vocabulary
    text = "\n".join((ROOT / page).read_text("utf-8") for page in PAGES)[:20_000]
    tokens = [token for token in vocabulary.tokenize(text, whole=True) if not vocabulary.is_end(token)]
    return (tokens * (count // len(tokens) + 1))[:count]


def random_weights(kinds: Sequence[str], threads: Sequence[int], rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="chainkit-engines-") as folder:
        for kind in kinds:
            path = Path(folder) / f"billion-{kind}.gguf"
            write(path, BILLION, kind)
            for count in threads:
                speed(str(path), 128, 16, count, rounds)
            path.unlink()


# a question


def ask(path: str, rounds: int) -> None:
    """CPU for a question over passages, as `chainkit ask` puts it to a model; another text each round."""
    chats = {
        name: GGUFChat(model=path, n_threads=1, context_length=2048, engine=name, max_tokens=48)
        for name in installed(ENGINES)
    }
    spent: dict[str, list[tuple[float, int, int]]] = {}
    for number in range(rounds + 1):
        for name, chat in list(chats.items())[:: -1 if number % 2 else 1]:
            vocabulary = chat.runtime.vocabulary
            text = vocabulary.detokenize(
                text_tokens(chat, 1450 + 200 * rounds)[200 * number :][: 1450 if number else 16]
            )
            prompt = f"{text}\n\nAnswer from this text alone: which commands does it show, and what do they do?"
            begun = time.process_time()
            usage: Any = chat.invoke(prompt).usage_metadata
            found = time.process_time() - begun, usage["input_tokens"], usage["output_tokens"]
            if number:  # the first makes what is made once
                spent.setdefault(name, []).append(found)
    print(f"\n{Path(path).name}, one thread, load {os.getloadavg()[0]:.1f}\n")
    print("| | tokens read, written | CPU s | to the first |\n|---|---|---|---|")
    first = spent[REFERENCE]
    for name, rows in sorted(spent.items(), key=lambda item: ENGINES.index(item[0])):
        share = statistics.median(row[0] / other[0] for row, other in zip(rows, first, strict=True))
        cpu, read, written = (statistics.median(row[part] for row in rows) for part in range(3))
        print(f"| chainkit, {name} | {read:.0f}, {written:.0f} | {cpu:.2f} | {share:.2f} |")


# texts


@dataclass
class Written:
    """A greedy text, and the log-probabilities of all tokens before each of its tokens."""

    tokens: list[int]
    logs: list[np.ndarray]


def greedy(model: GGUFModel, prompt: str, count: int) -> Written:
    session, found = model.session(prompt), Written([], [])
    for _ in range(count):
        logits = session.logits()
        found.logs.append(log_softmax(logits))
        found.tokens.append(int(logits.argmax()))
        session.append(found.tokens[-1:])
    session.close()
    return found


def texts(path: str, count: int) -> None:
    models = [GGUFModel(model=path, n_threads=1, context_length=1024, engine=name) for name in installed(ENGINES)]
    if len({model.runtime.weights.engine.library for model in models}) < 2:
        print(f"{Path(path).name} runs on one library only")
        return
    ours, other = models
    print(f"\n{Path(path).name}: {other.runtime.weights.engine.reason}\n")
    print("| prompt | alike | the reference's token | by it, by the other | the other's | by it, by the other |")
    print("|---|---|---|---|---|---|")
    whole, gaps = 0, []
    for prompt in PROMPTS:
        one, two = (greedy(model, prompt, count) for model in (ours, other))
        place = next((n for n in range(count) if one.tokens[n] != two.tokens[n]), None)
        if place is None:
            whole += 1
            print(f"| {prompt} | all {count} | | | | |")
            continue
        cells = []
        for token in (one.tokens[place], two.tokens[place]):
            name = ours.runtime.vocabulary.piece(token).decode("utf-8", "replace")
            cells += [f"{name!r}", f"{one.logs[place][token]:.3f}, {two.logs[place][token]:.3f}"]
        first, second = one.logs[place][one.tokens[place]], one.logs[place][two.tokens[place]]
        gaps.append(float(first - second))
        print(f"| {prompt} | {place} | {' | '.join(cells)} |", flush=True)
    print(f"\n{whole} of {len(PROMPTS)} alike", end="")
    if gaps:
        print(f"; where they part the reference's two are {min(gaps):.3f} to {max(gaps):.3f} apart", end="")
    print(f", median {statistics.median(gaps):.3f}" if gaps else "")
    pages(models)


def pages(models: Sequence[GGUFModel]) -> None:
    """The perplexity of pages of text, each read in one go."""
    print("\n| page | " + " | ".join(model.engine for model in models) + " | difference |\n|---|---|---|---|")
    sums = [0.0] * len(models)
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        found = []
        for model in models:
            tokens = model.runtime.vocabulary.tokenize(text, whole=True)[: PAGE_TOKENS + 1]
            session: Any = model.session().append(tokens[:1])
            found.append(session.score_tokens([tokens[1:]])[0] / PAGE_TOKENS)
            session.close()
        sums = [total + value for total, value in zip(sums, found, strict=True)]
        print(row(page, found))
    print(row("all", [total / len(PAGES) for total in sums]))


def row(name: str, means: Sequence[float]) -> str:
    perplexities = np.exp(-np.asarray(means))
    cells = " | ".join(f"{value:.3f}" for value in perplexities)
    return f"| {name} | {cells} | {perplexities[-1] / perplexities[0] - 1:+.2%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "random", "ask", "texts"])
    parser.add_argument("what", nargs="*", help="files, or quantizations of the random weights")
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--written", type=int, default=32)
    parser.add_argument("--threads", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    threads = asked.threads or [1, 2]
    if asked.part == "random":
        random_weights(asked.what or ["Q4_0", "Q4_K_M", "Q6_K", "Q8_0"], threads, asked.rounds)
        return
    for path in asked.what or [str(packaged())]:
        if asked.part == "texts":
            texts(path, 64)
        elif asked.part == "ask":
            ask(path, asked.rounds)
        else:
            for count in threads:
                speed(path, asked.prompt, asked.written, count, asked.rounds)


if __name__ == "__main__":
    main()
