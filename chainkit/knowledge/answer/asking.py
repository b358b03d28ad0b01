"""`ask`: from a question and some paths to an answer, with the index kept between questions."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainkit.base import opening
from chainkit.base.errors import BrokenIndex, DocumentError, EmbeddingsMismatch
from chainkit.base.paths import cache_dir
from chainkit.knowledge.answer.answer import ANSWER_TOKENS, Answer, AnswerStream, stream_answer
from chainkit.knowledge.index.encoder import model_name, opened_embeddings
from chainkit.knowledge.index.index import Index
from chainkit.knowledge.index.indexing import Progress, Report
from chainkit.knowledge.index.vector_stores import VectorStoreIndex
from chainkit.knowledge.readers.documents import Paths, absolute, listed

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel, BaseLLM
    from langchain_core.prompts import BasePromptTemplate


def ask(
    question: str,
    paths: Paths | Index | VectorStoreIndex,
    *,
    model: BaseChatModel | BaseLLM | str | None = None,
    embeddings: Embeddings | str | None = None,
    k: int = 6,
    prompt: BasePromptTemplate[Any] | str | None = None,
    context_tokens: int | None = None,
    answer_tokens: int = ANSWER_TOKENS,
    min_similarity: float = -1.0,
    reranker: BaseDocumentCompressor | str | None = None,
    keep_index: bool = True,
    progress: Progress | None = None,
) -> Answer:
    """Answer a question from documents, with citations of file and lines or page.

    The first question over some paths reads and embeds them; the index is kept in the cache folder, so that later ones
    only look for files that have changed.

    Args:
        paths: Files, folders and patterns, or an `Index` or `VectorStoreIndex`, which is asked as it is.
        model: Writes the answer: an object or a spec such as "openai:gpt-4o-mini"; None picks the best sentences of the
            documents instead and says so.
        embeddings: Finds passages by meaning: an object or a spec; None takes MiniLM. Not used where `paths` is an
            `Index`.
        k: How many passages the answer may rest on.
        prompt: In place of chainkit's own, with the variables `passages` and `question`.
        context_tokens: How much the model can read; None asks the model, and takes 4,096 where it does not say.
        answer_tokens: Room that is left for the answer.
        min_similarity: A floor: passages whose cosine with the question is below it are left out.
        reranker: Puts the best passages in an order of its own: one of LangChain's document compressors, the spec of a
            reranker, or `chainkit.knowledge.ModelReranker`.
        keep_index: False keeps the index in memory for this one question.
        progress: Called with a stage ("checking", "indexing"), how many files are done, and how many there are.

    Raises:
        DocumentError: None of the paths could be read.
        ContextOverflow: Not even one passage fits into the model's context.
        MissingLibrary: The library of the embeddings is not installed.
        ValueError: The question is empty, or the prompt lacks a variable.
        SpecError: A spec cannot be understood.
        TypeError: Something else where a model belongs.
    """
    return ask_stream(
        question,
        paths,
        model=model,
        embeddings=embeddings,
        k=k,
        prompt=prompt,
        context_tokens=context_tokens,
        answer_tokens=answer_tokens,
        min_similarity=min_similarity,
        reranker=reranker,
        keep_index=keep_index,
        progress=progress,
    ).answer


def ask_stream(
    question: str,
    paths: Paths | Index | VectorStoreIndex,
    *,
    model: BaseChatModel | BaseLLM | str | None = None,
    embeddings: Embeddings | str | None = None,
    k: int = 6,
    prompt: BasePromptTemplate[Any] | str | None = None,
    context_tokens: int | None = None,
    answer_tokens: int = ANSWER_TOKENS,
    min_similarity: float = -1.0,
    reranker: BaseDocumentCompressor | str | None = None,
    keep_index: bool = True,
    progress: Progress | None = None,
) -> AnswerStream:
    """`ask`, with the text of the answer in pieces as it is written; the arguments and errors are the same."""
    if not question.strip():
        raise ValueError("the question is empty")
    model, reranker = _opened_model(model), opening.reranker(reranker)
    own = not isinstance(paths, (Index, VectorStoreIndex))
    index, report = (
        kept_index(paths, embeddings, keep_index=keep_index, progress=progress) if own else (paths, Report())
    )
    try:
        return stream_answer(
            question,
            index,
            model=model,
            k=k,
            prompt=prompt,
            context_tokens=context_tokens,
            answer_tokens=answer_tokens,
            min_similarity=min_similarity,
            reranker=reranker,
            skipped=report.skipped,
            notes=report.notes,
        )
    finally:
        if own:
            index.close()  # all that the stream still needs from it is its embedding model


def _opened_model(given: object) -> Any:
    """What answers; wrong things are told here, not after the documents were read."""
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


def kept_index(
    paths: Paths,
    embeddings: Embeddings | str | None = None,
    *,
    keep_index: bool = True,
    progress: Progress | None = None,
) -> tuple[Index, Report]:
    """The index that `ask` keeps of these paths, up to date, and what that took; close it when done.

    Raises:
        DocumentError: None of the paths could be read.
    """
    embeddings = opened_embeddings(embeddings)
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
    names = ", ".join(listed(paths)) or "no path was given"
    reasons = "; ".join(map(str, report.skipped[:5])) or "there is no document"
    return DocumentError(names, f"nothing to read ({reasons})")
