"""`ask`: from a question and some paths to an answer, with the index kept between questions."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from chainkit.base import opening
from chainkit.base.errors import BrokenIndex, DocumentError, EmbeddingsMismatch
from chainkit.base.hiding import ahides_given_keys, hides_given_keys
from chainkit.base.paths import cache_dir
from chainkit.knowledge.answer.answer import Answer, AnswerStream, Asking, begun
from chainkit.knowledge.answer.ways import Style
from chainkit.knowledge.answer.work import Steps, aresult, in_thread, result
from chainkit.knowledge.index.encoder import model_name, opened_embeddings
from chainkit.knowledge.index.index import Index
from chainkit.knowledge.index.indexing import Progress, Report
from chainkit.knowledge.index.vector_stores import VectorStoreIndex
from chainkit.knowledge.readers.documents import Paths, absolute, listed
from chainkit.knowledge.readers.web import without_secrets

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel, BaseLLM
    from langchain_core.prompts import BasePromptTemplate


class Settings(TypedDict, total=False):
    """What may be said about how to answer; `ask` explains the names."""

    model: BaseChatModel | BaseLLM | str | None
    style: Style | None
    embeddings: Embeddings | str | None
    k: int
    prompt: BasePromptTemplate[Any] | str | None
    context_tokens: int | None
    answer_tokens: int
    min_confidence: float
    min_similarity: float
    reranker: BaseDocumentCompressor | str | None
    keep_index: bool
    progress: Progress | None


@hides_given_keys
def ask(question: str, paths: Paths | Index | VectorStoreIndex, **settings: Unpack[Settings]) -> Answer:
    """Answer a question from documents, with citations of file and lines or page.

    The first question over some paths reads and embeds them; the index is kept in the cache folder, so that later ones
    only look for files that have changed.

    Args:
        question: What is asked.
        paths: Files, folders and patterns, or an `Index` or `VectorStoreIndex`, which is used directly.
        settings: By name:
            `model` writes the answer: an object or a spec such as "openai:gpt-4o-mini"; None picks the best sentences
            of the documents instead and says so.
            `style` is the way of answering: "extract" quotes sentences; "short" lets the model say them in one
            sentence, which is shown above them if it holds against them; "full" is a text over all passages. None
            takes what suits the model: "short" for local models below four billion parameters and those that only
            continue text.
            `embeddings` finds passages by meaning: an object or a spec; None takes MiniLM. Not used where `paths` is an
            `Index`.
            `k` is how many passages the answer may rest on (6).
            `prompt` takes the place of chainkit's own, with the variables `passages` and `question`.
            `context_tokens` is how much the model can read; None asks the model, and takes 4,096 where it does not say.
            `answer_tokens` is the most tokens of the answer (512).
            `min_confidence` is the confidence, 0 to 1, below which sentences are shown as the nearest that there is
            instead of as an answer (0.55).
            `min_similarity` is a floor: passages whose cosine with the question is below it are left out.
            `reranker` puts the best passages in an order of its own: one of LangChain's document compressors, the spec
            of a reranker, or `chainkit.knowledge.ModelReranker`.
            `keep_index=False` keeps the index in memory for this one question.
            `progress` is called with a stage ("checking", "indexing"), how many files are done, and how many there are.

    Raises:
        DocumentError: None of the paths could be read.
        ContextOverflow: Not even one passage fits into the model's context.
        MissingLibrary: The library of the embeddings is not installed.
        ValueError: The question is empty, a setting is out of its range, or the prompt lacks a variable.
        SpecError: A spec cannot be understood.
        TypeError: Something else where a model belongs, or a setting that there is not.
    """
    return ask_stream(question, paths, **settings).answer


@hides_given_keys
def ask_stream(question: str, paths: Paths | Index | VectorStoreIndex, **settings: Unpack[Settings]) -> AnswerStream:
    """`ask`, with the text of the answer in pieces as it is written; the arguments and errors are the same."""
    return result(_asked(question, paths, settings))


@ahides_given_keys
async def aask(question: str, paths: Paths | Index | VectorStoreIndex, **settings: Unpack[Settings]) -> Answer:
    """`ask`, without blocking the event loop; the arguments and errors are the same."""
    return await (await aask_stream(question, paths, **settings)).aanswer()


@ahides_given_keys
async def aask_stream(
    question: str, paths: Paths | Index | VectorStoreIndex, **settings: Unpack[Settings]
) -> AnswerStream:
    """`ask_stream`, without blocking the event loop; go through the answer with `async for`."""
    return await aresult(_asked(question, paths, settings))


def _asked(question: str, paths: Paths | Index | VectorStoreIndex, settings: Settings) -> Steps[AnswerStream]:
    if not question.strip():
        raise ValueError("the question is empty")
    given: dict[str, Any] = dict(settings)
    embeddings, keep, progress = (
        given.pop("embeddings", None),
        given.pop("keep_index", True),
        given.pop("progress", None),
    )
    given["model"] = _opened_model(given.get("model"))
    asking = Asking(**given)
    if isinstance(paths, (Index, VectorStoreIndex)):
        return (yield from begun(question, paths, asking))
    opening_index = in_thread(lambda: kept_index(paths, embeddings, keep_index=keep, progress=progress))
    index, report = yield from opening_index.wanted()
    try:
        informed = replace(asking, skipped=report.skipped, notes=report.notes)
        return (yield from begun(question, index, informed))
    finally:
        index.close()  # all that the stream still needs from it is its embedding model


def _opened_model(given: object) -> Any:
    """The answering model; a wrong argument raises here, before documents are read."""
    from langchain_core.runnables import Runnable

    model = opening.answering(given)
    if model is not None and not isinstance(model, Runnable):
        raise TypeError(f"a chat model or language model answers, not {type(model).__name__}")
    return model


def index_file(paths: Paths, embeddings: Embeddings) -> Path:
    """Where `ask` keeps the index of these paths."""
    places = sorted({absolute(path) for path in listed(paths)})
    key = hashlib.sha256("\0".join([model_name(embeddings), *places]).encode("utf-8", "surrogateescape")).hexdigest()
    return cache_dir() / "indexes" / f"{key[:32]}.sqlite"


@hides_given_keys
def kept_index(
    paths: Paths,
    embeddings: Embeddings | str | None = None,
    *,
    keep_index: bool = True,
    progress: Progress | None = None,
) -> tuple[Index, Report]:
    """The index that `ask` keeps of these paths, up to date, and what that took; close it when done.

    Where no embeddings are given, all calls in a process share one MiniLM; `index.embeddings.unload()` frees its memory
    until the next question.

    Raises:
        DocumentError: None of the paths could be read.
    """
    embeddings = _minilm(os.getpid()) if embeddings is None else opened_embeddings(embeddings)
    file = index_file(paths, embeddings) if keep_index else None
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        index, report = _opened(paths, embeddings, file, progress)
    except (BrokenIndex, EmbeddingsMismatch):
        if file is None:
            raise
        _delete(file)  # it is a cache: what it held can be made again
        index, report = _opened(paths, embeddings, file, progress)
    if not len(index):
        index.close()
        raise _nothing(paths, report)
    return index, report


@lru_cache(maxsize=1)
def _minilm(process: int) -> Embeddings:
    """The default model, loaded once in a process; a fork gets its own, since threads of a runtime end there.

    `unload` of the object frees its memory; the next question loads it again.
    """
    del process
    return opened_embeddings(None)


def _opened(paths: Paths, embeddings: Embeddings, file: Path | None, progress: Progress | None) -> tuple[Index, Report]:
    index = Index(file, embeddings)
    try:
        report = index.add(paths, progress=progress)
        if len(index):
            index.find("?", 1)  # says now if the vectors are of another model
    except BaseException:
        index.close()
        raise
    return index, report


def _delete(file: Path) -> None:
    for ending in ("", "-wal", "-shm", "-lock"):
        Path(f"{file}{ending}").unlink(missing_ok=True)


def _nothing(paths: Paths, report: Report) -> DocumentError:
    names = ", ".join(map(without_secrets, listed(paths))) or "no path was given"
    reasons = "; ".join(map(str, report.skipped[:5])) or "there is no document"
    return DocumentError(names, f"nothing to read ({reasons})")
