"""Public retrieval benchmarks from local files, scored for BM25, embeddings and hybrid search."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import DocumentError
from chainkit.knowledge.evaluation import ndcg, recall, reciprocal_rank
from chainkit.knowledge.index.index import Index

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

    from chainkit.knowledge.index.indexing import Progress

WAYS: dict[str, float | None] = {"words": 0.0, "meaning": 1.0, "both": None}
DEPTH = 10
_AT_ONCE = 512
_FIELD = re.compile(r"^\.([A-Z])(?:\s+(\S+))?\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSet:
    """Documents, questions, and which documents answer which question.

    Attributes:
        documents: Id -> text, titles included.
        questions: Id -> text; only those that have a right document.
        right: Id of a question -> ids of its right documents; grades are ignored.
    """

    documents: Mapping[str, str]
    questions: Mapping[str, str]
    right: Mapping[str, frozenset[str]]


def is_public_set(path: Path) -> bool:
    """Whether this is a folder with documents and questions, or a JSON file like SQuAD's."""
    return path.is_dir() or path.suffix.lower() == ".json"


def read_public_set(path: Path) -> PublicSet:
    """A set in the format of BEIR (folder with corpus.jsonl, queries.jsonl and qrels/*.tsv), of SMART (folder with
    cran.all.1400, cran.qry and cranqrel, or cacm.all, query.text and qrels.text), or of SQuAD (one JSON file).

    Raises:
        DocumentError: It is none of these, or a file of it is broken or missing.
    """
    try:
        found = _reader(path)(path)
    except (OSError, UnicodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DocumentError(path, f"is not a set that can be read ({type(error).__name__}: {error})") from error
    documents, questions, right = found
    known = {asked: frozenset(ids & documents.keys()) for asked, ids in right.items() if asked in questions}
    known = {asked: ids for asked, ids in known.items() if ids}
    if not known:
        raise DocumentError(path, "has no question with a right document")
    return PublicSet(documents=documents, questions={asked: questions[asked] for asked in known}, right=known)


def measured(
    found: PublicSet, embeddings: Embeddings, *, progress: Progress | None = None
) -> dict[str, dict[str, float]]:
    """nDCG@10 (gains of 0 and 1), recall@10 and mean reciprocal rank by words, by meaning and by both.

    Every document is one passage: what a passage holds beyond the embedding model's limit is found by words alone.
    """
    ids = list(found.documents)
    with Index(None, embeddings) as index:
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            index.add_texts([found.documents[one] for one in some], ids=some)
            if progress:
                progress("indexing", min(len(ids), start + _AT_ONCE), len(ids))
        rows: dict[str, dict[str, float]] = {}
        for way, share in WAYS.items():
            sums = {"ndcg": 0.0, "recall": 0.0, "mrr": 0.0}
            for done, (asked, text) in enumerate(found.questions.items(), 1):
                ranked = [hit.passage.path for hit in index.find(text, DEPTH, dense_weight=share)]
                for name, score in (("ndcg", ndcg), ("recall", recall), ("mrr", reciprocal_rank)):
                    sums[name] += score(ranked, found.right[asked])
                if progress:
                    progress(f"asking ({way})", done, len(found.questions))
            rows[way] = {name: total / len(found.questions) for name, total in sums.items()}
    return rows


_Parts = tuple[dict[str, str], dict[str, str], dict[str, set[str]]]


def _reader(path: Path) -> Callable[[Path], _Parts]:
    if path.is_file():
        return _squad
    return _beir if (path / "corpus.jsonl").exists() else _smart


def _beir(folder: Path) -> _Parts:
    documents = {
        str(one["_id"]): f"{one.get('title', '')}\n{one['text']}".strip() for one in _lines(folder / "corpus.jsonl")
    }
    questions = {str(one["_id"]): one["text"] for one in _lines(folder / "queries.jsonl")}
    files = sorted((folder / "qrels").glob("*.tsv"))
    chosen = next((file for file in files if file.stem == "test"), *files[:1]) if files else None
    if chosen is None:
        raise DocumentError(folder, "has no qrels/*.tsv")
    right: dict[str, set[str]] = {}
    with chosen.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if int(row["score"]) > 0:
                right.setdefault(row["query-id"], set()).add(row["corpus-id"])
    return documents, questions, right


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


def _smart(folder: Path) -> _Parts:
    documents = dict(_records(_one(folder, "*.all", "*.all.*"), "TW"))
    questions = dict(_records(_one(folder, "*.qry", "query.text"), "W"))
    right: dict[str, set[str]] = {}
    judged = _one(folder, "*qrel", "*qrel.*", "qrels.text").read_text("latin-1").splitlines()
    rows = [row for line in judged if (row := line.split())]
    if all(len(row) == 4 and row[1] == "0" for row in rows):  # as TREC writes them; grades of 0 are wrong answers there
        rows = [[asked, answer, "-1" if int(grade) <= 0 else grade] for asked, _, answer, grade in rows]
    for asked, answer, *grade in rows:
        if grade[:1] != ["-1"]:
            right.setdefault(str(int(asked)), set()).add(str(int(answer)))
    if not right.keys() <= questions.keys():  # Cranfield's judgements count the questions instead of naming them
        questions = {str(number): text for number, text in enumerate(questions.values(), 1)}
    return documents, questions, right


def _one(folder: Path, *patterns: str) -> Path:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.is_file():
                return path
    raise DocumentError(folder, f"holds no file {' or '.join(patterns)}, and no corpus.jsonl")


def _records(path: Path, fields: str) -> Iterator[tuple[str, str]]:
    number, field, parts = "", "", list[str]()
    for line in [*path.read_text("latin-1").splitlines(), ".I 0"]:
        match = _FIELD.match(line)
        if match is None:
            parts += [line] if field in fields and field else []
        elif match[1] == "I":
            if number:
                yield number, "\n".join(parts).strip()
            number, field, parts = str(int(match[2])), "", []
        else:
            field = match[1]


def _squad(path: Path) -> _Parts:
    documents: dict[str, str] = {}
    questions: dict[str, str] = {}
    right: dict[str, set[str]] = {}
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            name = str(len(documents))
            documents[name] = paragraph["context"]
            for asked in paragraph["qas"]:
                if not asked.get("is_impossible"):
                    questions[str(asked["id"])] = asked["question"]
                    right[str(asked["id"])] = {name}
    return documents, questions, right
