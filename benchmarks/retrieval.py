"""Search by words, by meaning and by both, on sets made from what is installed: `python benchmarks/retrieval.py [N]`.

Five sets that anyone can make again: docstrings of scientific packages, where the summary line asks for the rest; the
same texts asked for by five of their words; their ends, asked for by their first thirty words, since questions may be
long; sections of the packages' own descriptions, where the heading asks for the text below it; and texts far longer
than the model reads, asked for by eight words of their second half, where meaning is of no use. A set of your own is a
JSON lines file with "question" and "text" in each line: `python benchmarks/retrieval.py 500 mine.jsonl`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import random
import sys

from chainkit.backends.sentence import SentenceEmbeddings
from chainkit.knowledge import Index
from chainkit.knowledge.evaluation import ndcg, recall, reciprocal_rank
from chainkit.knowledge.readers import markdown
from chainkit.knowledge.readers.plain import words
from chainkit.knowledge.readers.split import split

_NAMES = "numpy numpy.linalg scipy.signal scipy.stats scipy.optimize scipy.linalg scipy.spatial scipy.interpolate"
MODULES = _NAMES.split()
WORDS = 90
SHARES = (0.0, 0.3, 0.5, 1.0, None)

Pairs = list[tuple[str, str]]


def docstrings() -> Pairs:
    found: dict[str, str] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for attribute in dir(module):
            text = inspect.getdoc(getattr(module, attribute)) or ""
            summary, _, rest = text.partition("\n\n")
            if 4 <= len(summary.split()) <= 25 and len(rest.split()) > 40:
                found.setdefault(" ".join(summary.split()), " ".join(rest.split()[:WORDS]))
    return list(found.items())


def sections() -> Pairs:
    found: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        text = package.metadata.get_payload() or package.metadata.get("Description") or ""
        for passage in split(markdown.blocks(str(text))):
            if len(passage.headings) > 1 and len(passage.text.split()) > 25:
                question = f"{package.metadata['Name']} {passage.headings[-1]}"
                found.setdefault(question, passage.text)
    return list(found.items())


def word_lists(pairs: Pairs) -> Pairs:
    """Five words of a text ask for it: what people type who remember the words."""
    chance = random.Random(1)
    listed = [(list(dict.fromkeys(word for word in words(text) if len(word) > 3)), text) for _, text in pairs]
    return [(f"What about {' '.join(chance.sample(some, 5))}?", text) for some, text in listed if len(some) > 12]


def ends(pairs: Pairs) -> Pairs:
    """The first thirty words of a text ask for the others."""
    found = [text.split() for _, text in pairs]
    return [(" ".join(some[:30]), " ".join(some[30:])) for some in found if len(some) > 70]


def long_texts(pairs: Pairs) -> Pairs:
    """Eight texts in a row, asked for by words of the second half."""
    chance = random.Random(1)
    found = []
    for start in range(0, len(pairs) - 8, 8):
        some = " ".join(text for _, text in pairs[start : start + 8]).split()
        at = chance.randrange(len(some) // 2, len(some) - 14)
        found.append((f"What is known about {' '.join(chance.sample(some[at : at + 14], 8))}", " ".join(some)))
    return found


def measured(name: str, pairs: Pairs, limit: int, embeddings: SentenceEmbeddings) -> None:
    random.Random(3).shuffle(pairs)
    pairs = pairs[:limit]
    with Index(None, embeddings) as index:
        index.add_texts([text for _, text in pairs], ids=[str(n) for n in range(len(pairs))])
        print(f"{name}: {len(pairs)} texts and questions")
        for share in SHARES:
            ranked = [[hit.passage.path for hit in index.find(asked, 10, dense_weight=share)] for asked, _ in pairs]
            scores = [
                sum(metric(row, {str(n)}) for n, row in enumerate(ranked)) / len(pairs)
                for metric in (ndcg, recall, reciprocal_rank)
            ]
            name = "by question" if share is None else share
            print(f"  meaning {name}: nDCG@10 {scores[0]:.3f}, recall@10 {scores[1]:.3f}, MRR {scores[2]:.3f}")


def main(limit: int = 500, own: str | None = None) -> None:
    embeddings = SentenceEmbeddings(model="")
    if own:
        with open(own, encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        measured(own, [(record["question"], record["text"]) for record in records], limit, embeddings)
        return
    measured("docstrings", docstrings(), limit, embeddings)
    measured("word lists", word_lists(docstrings()), limit, embeddings)
    measured("ends", ends(docstrings()), limit, embeddings)
    measured("sections", sections(), limit, embeddings)
    measured("long texts", long_texts(docstrings()), limit, embeddings)


if __name__ == "__main__":
    main(*[int(word) if word.isdecimal() else word for word in sys.argv[1:]])
