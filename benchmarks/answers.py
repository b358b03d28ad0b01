"""Answers over documents, measured: `python -m benchmarks.answers DATA [PART ...]`.

DATA is a folder of public sets: `cranfield` (BEIR layout), `squad2/articles.jsonl` and `xquad/LANGUAGE.jsonl` (a line
for each article: paragraphs with questions, answers, and whether a question is impossible), `chunking` (corpora and
`questions.jsonl` with spans), and optionally `ask` (a folder `firm` with `questions.jsonl`). Parts:

    search     nDCG@10 of the default, words, meaning, a fixed half, reciprocal ranks, and BM25 over pairs of characters
    refusals   AUC of `confidence` with each question's paragraph there, against that taken away alone or with its
               article, and against misleading questions
    answers    right, wrong and not answered, with each model of --model SPEC (several), and without one
    chunking   recall and overlap of at most 2,000 characters
    fit        the weights of `confidence`, and its AUC with the weights of one half of the articles judged on the other

`--count N` questions of each set (100), `--set NAME` for some sets alone in `answers`; `fit` is not among the default
parts.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from chainkit.knowledge import Index
from chainkit.knowledge.answer import extract
from chainkit.knowledge.answer.answer import Answer, Asking, begun
from chainkit.knowledge.answer.confidence import Evidence
from chainkit.knowledge.answer.work import result
from chainkit.knowledge.evaluation import ndcg
from chainkit.knowledge.index.search import Hit
from chainkit.knowledge.public import read_public_set
from chainkit.knowledge.readers.plain import sentences, stems
from chainkit.knowledge.readers.scripts import tokens
from chainkit.registry import answering

LANGUAGES = ("en", "de", "zh", "ar")
MOST_CHARACTERS = 2_000


@dataclass(frozen=True)
class Asked:
    """A question with its right answers, none where the documents hold none, and the number of its paragraph."""

    question: str
    answers: tuple[str, ...]
    paragraph: int
    impossible: bool


def articles(path: Path) -> tuple[list[str], list[Asked]]:
    paragraphs: list[str] = []
    asked: list[Asked] = []
    for line in path.read_text("utf-8").splitlines():
        for paragraph in json.loads(line)["paragraphs"]:
            for one in paragraph["questions"]:
                answers = () if one.get("impossible") else tuple(one["answers"])
                asked.append(Asked(one["question"], answers, len(paragraphs), bool(one.get("impossible"))))
            paragraphs.append(paragraph["context"])
    random.Random(0).shuffle(asked)
    return paragraphs, asked


def sets(data: Path) -> dict[str, Path]:
    found = {"squad2": data / "squad2" / "articles.jsonl"}
    return found | {language: data / "xquad" / f"{language}.jsonl" for language in LANGUAGES}


def filled(index: Index, paragraphs: Sequence[str], folder: Path) -> None:
    for number, text in enumerate(paragraphs):
        (folder / f"{number}.txt").write_text(text, "utf-8")
    index.add(folder)


def auc(good: Sequence[float], bad: Sequence[float]) -> float:
    """The chance that a good one is above a bad one; equal ones count half."""
    pairs = [(one > other) + (one == other) / 2 for one in good for other in bad]
    return sum(pairs) / len(pairs)


def search(data: Path, count: int) -> None:
    print("nDCG@10 | default | words | meaning | a half each | reciprocal ranks | BM25 over pairs")
    found = read_public_set(data / "cranfield")
    row("cranfield", dict(found.documents), dict(found.questions), {k: set(v) for k, v in found.right.items()})
    for name, path in sets(data).items():
        paragraphs, asked = articles(path)
        chosen = [one for one in asked if one.answers][:count]
        texts = {str(n): text for n, text in enumerate(paragraphs)}
        questions = {str(n): one.question for n, one in enumerate(chosen)}
        row(name, texts, questions, {str(n): {str(one.paragraph)} for n, one in enumerate(chosen)})


def row(name: str, texts: dict[str, str], questions: dict[str, str], right: dict[str, set[str]]) -> None:
    with Index(None) as index:
        index.add_texts(list(texts.values()), ids=list(texts))
        bm25 = Bm25(texts)
        scores: dict[str, list[float]] = {}
        for key, question in questions.items():
            ways = {str(way): index.find(question, 100, dense_weight=way) for way in (None, 0.0, 1.0, 0.5)}
            ranked = {way: [hit.passage.path for hit in hits] for way, hits in ways.items()}
            ranks = Counter[str]()
            for way in ("0.0", "1.0"):
                for place, path in enumerate(ranked[way]):
                    ranks[path] += 1 / (60 + place)  # pyright: ignore[reportArgumentType]
            ranked["ranks"] = [path for path, _ in ranks.most_common(10)]
            ranked["bm25"] = bm25.ranked(question)
            for way, paths in ranked.items():
                scores.setdefault(way, []).append(ndcg(paths[:10], right[key]))
    print(name, *(f"{np.mean(scores[way]):.3f}" for way in scores), sep=" | ", flush=True)


class Bm25:
    """Plain BM25 (k1 1.2, b 0.75) over words, and over pairs of characters where there are no spaces."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._names = list(texts)
        self._counts = [Counter(tokens(text)) for text in texts.values()]
        self._lengths = np.array([sum(one.values()) for one in self._counts])
        self._frequency = Counter(term for one in self._counts for term in one)

    def ranked(self, question: str) -> list[str]:
        total, norms = len(self._names), 1.2 * (0.25 + 0.75 * self._lengths / self._lengths.mean())
        scores = np.zeros(total)
        for term in set(tokens(question)):
            weight = math.log(1 + (total - self._frequency[term] + 0.5) / (self._frequency[term] + 0.5))
            times = np.array([one[term] for one in self._counts])
            scores += weight * times * 2.2 / (times + norms)
        return [self._names[at] for at in np.argsort(-scores, kind="stable")[:10]]


@contextmanager
def away(index: Index, folder: Path, numbers: Iterable[int]) -> Iterator[None]:
    """Some paragraphs are taken out of the index for a while."""
    files = {folder / f"{number}.txt": "" for number in numbers}
    for file in files:
        files[file] = file.read_text("utf-8")
        file.unlink()
    index.update()
    yield
    for file, text in files.items():
        file.write_text(text, "utf-8")
    index.update()


def owners(path: Path) -> list[int]:
    """For each paragraph the number of its article."""
    lines = path.read_text("utf-8").splitlines()
    return [number for number, line in enumerate(lines) for _ in json.loads(line)["paragraphs"]]


def judged(one: Asked, index: Index) -> tuple[Answer, float]:
    """An answer, and the plain sum to hold its confidence against: cosine and share of words of the best passage."""
    wanted = stems(one.question)
    hits = index.find(one.question)
    sums = [hit.meaning + len(wanted & stems(hit.passage.context)) / len(wanted) for hit in hits]
    return result(begun_answer(one, index)), max(sums, default=0.0)


def without(asked: Sequence[Asked], index: Index, folder: Path, groups: Sequence[int]) -> list[tuple[Answer, float]]:
    """Answers to questions while all paragraphs of the same group as their own are away."""
    found: list[tuple[Answer, float]] = []
    for group in sorted({groups[one.paragraph] for one in asked}):
        with away(index, folder, [number for number, other in enumerate(groups) if other == group]):
            found += [judged(one, index) for one in asked if groups[one.paragraph] == group]
    return found


def refusals(data: Path, count: int) -> None:
    print("AUC, and that of the plain sum: paragraph away | article away | misleading", end=" | ")
    print("there: refused | nearest | paragraph away: refused | nearest | article away: refused | nearest")
    for name, path in sets(data).items():
        paragraphs, asked = articles(path)
        known = [one for one in asked if one.answers]
        kept, taken = known[1 : 2 * count : 2], known[0 : 2 * count : 2]
        with TemporaryDirectory() as made, Index(None) as index:
            folder = Path(made)
            filled(index, paragraphs, folder)
            there = [judged(one, index) for one in kept]
            gone = without(taken, index, folder, range(len(paragraphs)))
            far = without(taken, index, folder, owners(path))
            tricks = [judged(one, index) for one in asked if one.impossible][:count]
        aucs = [
            f"{auc([one.confidence for one, _ in there], [one.confidence for one, _ in bad]):.3f}, "
            f"{auc([plain for _, plain in there], [plain for _, plain in bad]):.3f}"
            for bad in (gone, far, tricks)
            if bad
        ]
        shares = [
            f"{np.mean([answer.outcome == outcome for answer, _ in some]):.2f}"
            for some in (there, gone, far)
            for outcome in ("refusal", "nearest")
        ]
        print(name, *aucs, *[""] * (not tricks), *shares, sep=" | ", flush=True)


def fit(data: Path, count: int) -> None:
    """Weights for languages that MiniLM knows, knows in part, and does not know."""
    for names in (("squad2", "en"), ("de",), ("zh", "ar")):
        found = {name: evidence(sets(data)[name], count) for name in names}
        for half in (0, 1):
            weights = logistic(*rows_of(found, lambda article, half=half: article % 2 == half))
            for name in names:
                features, there = rows_of({name: found[name]}, lambda article, half=half: article % 2 != half)
                sure = features @ weights
                print(name, f"{auc(sure[there], sure[~there]):.3f}", sep=" | ", flush=True)
        print(*names, logistic(*rows_of(found, lambda _: True)).round(2).tolist(), flush=True)


def evidence(path: Path, count: int) -> list[tuple[int, bool, tuple[float, ...]]]:
    """For each question twice its article, whether its paragraph is there, and what speaks for the best sentence."""
    seen: list[Evidence] = []
    held = extract._Held  # pyright: ignore[reportPrivateUsage]
    weigh = held.evidence

    def noted(self: Any, best: int, meaning: Any, hits: Sequence[Hit]) -> Evidence:
        seen.append(weigh(self, best, meaning, hits))
        return seen[-1]

    paragraphs, asked = articles(path)
    articles_of = owners(path)
    found: list[tuple[int, bool, tuple[float, ...]]] = []
    held.evidence = noted
    try:
        with TemporaryDirectory() as folder, Index(None) as index:
            filled(index, paragraphs, Path(folder))
            for one in [one for one in asked if one.answers][:count]:
                for numbers in ((), (one.paragraph,)):
                    with away(index, Path(folder), numbers):
                        if not result(begun_answer(one, index)).passages:
                            continue
                        features = seen[-1].features
                        alone = seen[-1].meaning is None  # so judged by words; others of the language are left out
                        if alone == (path.stem in ("zh", "ar")):
                            found += [(articles_of[one.paragraph], not numbers, features)]
    finally:
        held.evidence = weigh
    return found


def rows_of(found: dict[str, list[Any]], wanted: Callable[[int], bool]) -> tuple[Any, Any]:
    """Features (N, F) and whether the paragraph was there (N,), of the articles that are wanted."""
    rows = [(features, there) for one in found.values() for article, there, features in one if wanted(article)]
    return np.array([features for features, _ in rows]), np.array([there for _, there in rows])


def logistic(features: Any, there: Any, ridge: float = 0.01) -> Any:
    """Weights of a logistic regression by Newton's method; the first feature is 1."""
    scale = np.maximum(features.std(axis=0), 1e-9) * (np.arange(features.shape[1]) > 0) + (
        np.arange(features.shape[1]) == 0
    )
    scaled = features / scale
    keep = np.diag([0.0, *[ridge] * (features.shape[1] - 1)])
    weights = np.zeros(features.shape[1])
    for _ in range(40):
        sure = 1 / (1 + np.exp(-scaled @ weights))
        slope = scaled.T @ (sure - there) / len(there) + keep @ weights
        bend = (scaled.T * (sure * (1 - sure))) @ scaled / len(there) + keep
        weights -= np.linalg.lstsq(bend, slope, rcond=None)[0]
    return weights / scale


def begun_answer(one: Asked, index: Any, **settings: Any) -> Any:
    stream = yield from begun(one.question, index, Asking(**settings))
    yield from stream.steps
    return stream.finished[0]


def answers(data: Path, count: int, specs: Sequence[str], chosen_sets: Sequence[str]) -> None:
    shown = "who answers", "set", "right", "wrong", "not answered, of those without", "verbatim"
    print(*shown, "own sentence: holds the answer, where its quotes do", "CPU s a question", sep=" | ")
    for name, path in sets(data).items():
        if name not in chosen_sets:
            continue
        paragraphs, asked = articles(path)
        chosen = [one for one in asked if one.answers][:count]
        chosen += [one for one in asked if one.impossible][:count]
        with TemporaryDirectory() as folder, Index(None) as index:
            filled(index, paragraphs, Path(folder))
            told(name, index, chosen, specs)
    firm = data / "ask"
    if firm.is_dir() and "firm" in chosen_sets:
        rows = [json.loads(line) for line in (firm / "questions.jsonl").read_text("utf-8").splitlines()]
        with Index(None) as index:
            index.add(firm / "firm")
            told("firm", index, [Asked(one["question"], tuple(one["answers"]), 0, False) for one in rows], specs)


def told(name: str, index: Index, asked: Sequence[Asked], specs: Sequence[str]) -> None:
    for spec in ("", *specs):
        model = answering(spec) if spec else None
        begin = time.process_time()
        given = [(one, result(begun_answer(one, index, model=model))) for one in asked]
        seconds = (time.process_time() - begin) / len(asked)
        right = sum(holds(answer.text, one.answers) for one, answer in given if one.answers)
        wrong = sum(answer.answered and not holds(answer.text, one.answers) for one, answer in given if one.answers)
        none = [answer for one, answer in given if not one.answers]
        refused = sum(not answer.answered for answer in none)
        quotes = all(
            any(citation.quote in passage.text for passage in answer.passages)
            for _, answer in given
            for citation in answer.citations
        )
        known = len(given) - len(none)
        # a sentence of the model stands above the quotes
        own = [(one, *answer.text.split("\n\n", 1)) for one, answer in given if answer.model and "\n\n" in answer.text]
        own = [(holds(said, one.answers), holds(rest, one.answers)) for one, said, rest in own if one.answers]
        good = f"{sum(said for said, _ in own)} of {len(own)}, {sum(rest for _, rest in own)}"
        shown = f"{right} of {known}", wrong, f"{refused} of {len(none)}", quotes, good, f"{seconds:.2f}"
        print(spec or "no model", name, *shown, sep=" | ", flush=True)


def holds(text: str, answers: Sequence[str]) -> bool:
    folded = " ".join(text.lower().split())
    return any(" ".join(answer.lower().split()) in folded for answer in answers)


def chunking(data: Path) -> None:
    rows = [json.loads(line) for line in (data / "chunking" / "questions.jsonl").read_text("utf-8").splitlines()]
    corpora = sorted({one["corpus"] for one in rows})
    shares: dict[bool, dict[str, list[tuple[float, float]]]] = {
        cut: {name: [] for name in corpora} for cut in (False, True)
    }
    for name in corpora:
        file = data / "chunking" / f"{name}.md"
        text = file.read_text("utf-8")
        with Index(None) as index:
            index.add(file)
            for one in [one for one in rows if one["corpus"] == name]:
                wanted = {at for span in one["spans"] for at in range(span["start_index"], span["end_index"])}
                hits = index.find(one["question"], 12)
                for cut, known in shares.items():
                    found = characters(hits, text, cut=cut)
                    known[name].append((len(wanted & found) / len(wanted), len(wanted & found) / len(wanted | found)))
    print("chunking: recall at an IoU, all |", " | ".join(corpora))
    for cut, known in shares.items():
        means = [np.mean(some, axis=0) for some in ([*chain(*known.values())], *known.values())]
        print(
            "last passage cut" if cut else "whole passages",
            *(f"{a:.3f} {b:.3f}" for a, b in means),
            sep=" | ",
            flush=True,
        )


def characters(hits: Sequence[Hit], text: str, *, cut: bool) -> set[int]:
    """The places of the best passages in the document, as many as stay within `MOST_CHARACTERS`.

    Args:
        cut: Of the first one that does not fit, the sentences that do are taken too.
    """
    found: set[int] = set()
    for hit in hits:
        start = text.find(hit.passage.text)
        if start < 0:  # its paragraphs are farther apart in the file
            start = text.find(hit.passage.text[:60])
        place = set(range(start, start + len(hit.passage.text))) if start >= 0 else set[int]()
        if len(found | place) <= MOST_CHARACTERS:
            found |= place
            continue
        for first, last in sentences(hit.passage.text) if cut else ():
            place = set(range(start + first, start + last))
            if len(found | place) > MOST_CHARACTERS:
                break
            found |= place
        break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", nargs="*", default=["search", "refusals", "answers", "chunking"])
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument(
        "--set", action="append", choices=[*sets(Path()), "firm"], help="for `answers`; all if not given"
    )
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # long documents are cut by the model on purpose here
    if "search" in chosen.parts:
        search(chosen.data, chosen.count)
    if "refusals" in chosen.parts:
        refusals(chosen.data, chosen.count)
    if "answers" in chosen.parts:
        answers(chosen.data, chosen.count, chosen.model, chosen.set or [*sets(chosen.data), "firm"])
    if "chunking" in chosen.parts:
        chunking(chosen.data)
    if "fit" in chosen.parts:
        fit(chosen.data, chosen.count)


if __name__ == "__main__":
    main()
