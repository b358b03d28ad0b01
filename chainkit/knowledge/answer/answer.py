"""Answers to questions: from the passages that were found, with citations that can be checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chainkit.base import opening
from chainkit.base.errors import NoModel
from chainkit.knowledge.answer.citations import Checked, Citation, trace, unsupported
from chainkit.knowledge.answer.extract import extract
from chainkit.knowledge.answer.fit import fit
from chainkit.knowledge.answer.prompt import REFUSAL, chat_prompt, checked, is_refusal, rendered, text_prompt
from chainkit.knowledge.index.search import Hit, Searchable
from chainkit.knowledge.index.split import Passage
from chainkit.knowledge.readers.documents import Remark

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor
    from langchain_core.language_models import BaseChatModel, BaseLLM
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.prompts import BasePromptTemplate

    Model = BaseChatModel | BaseLLM
    Prompt = BasePromptTemplate[Any] | str

ANSWER_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer with what it rests on; `str(answer)` is the text with its numbered sources.

    Attributes:
        question: As it was asked.
        text: The answer, with citations as `[1]`; without a model, sentences of the documents.
        citations: What the numbers stand for, each with a quote that stands in the document word for word.
        passages: What the answer could rest on; passage i has the number i + 1.
        answered: False where the documents do not hold the answer.
        model: The model that wrote the text; None where sentences were picked without one.
        usage: Tokens read and written, where the model reports them.
        prompt: What the model was sent; empty without one.
        removed_citations: How many citations of passages that do not exist were taken out.
        unsupported: Sentences of the text that cite nothing, or whose words are mostly not in what they cite.
        left_out: How many passages were found but did not fit into the model's context.
        skipped: Files that could not be read, each with its reason.
        notes: Files that were read with a reservation.
        notice: What the reader should know about how the answer was made.
    """

    question: str
    text: str
    citations: tuple[Citation, ...] = ()
    passages: tuple[Passage, ...] = ()
    answered: bool = True
    model: str | None = None
    usage: UsageMetadata | None = None
    prompt: str = ""
    removed_citations: int = 0
    unsupported: tuple[str, ...] = ()
    left_out: int = 0
    skipped: tuple[Remark, ...] = ()
    notes: tuple[Remark, ...] = ()
    notice: str = ""

    def __str__(self) -> str:
        sources = "\n".join(dict.fromkeys(map(str, self.citations)))
        return "\n\n".join(part for part in (self.text, sources, self.notice) if part)


@dataclass(slots=True)
class AnswerStream:
    """An answer while it is written: iterate for the pieces of its text, then read `answer`.

    Citations of passages that do not exist are taken out before a piece is given.

    Attributes:
        passages: What the answer can rest on; known before the first piece.
        pieces: The text that is still to come.
        finished: Holds the answer once all pieces have been read.
    """

    passages: tuple[Passage, ...]
    pieces: Iterator[str]
    finished: list[Answer] = field(default_factory=list[Answer])

    def __iter__(self) -> Iterator[str]:
        return self.pieces

    @property
    def answer(self) -> Answer:
        """The whole answer; what has not been read of the stream yet is read now."""
        for _ in self.pieces:
            pass
        return self.finished[0]


def stream_answer(
    question: str,
    index: Searchable,
    *,
    model: Model | str | None = None,
    k: int = 6,
    prompt: Prompt | None = None,
    context_tokens: int | None = None,
    answer_tokens: int = ANSWER_TOKENS,
    min_similarity: float = -1.0,
    reranker: BaseDocumentCompressor | str | None = None,
    skipped: Sequence[Remark] = (),
    notes: Sequence[Remark] = (),
) -> AnswerStream:
    """Answer from an index, piece by piece; `chainkit.knowledge.ask` explains the arguments.

    Raises:
        ContextOverflow: Not even one passage fits into the model's context.
        ValueError: The question is empty, or the prompt lacks a variable.
    """
    if not question.strip():
        raise ValueError("the question is empty")
    model = opening.answering(model)
    hits = index.find(question, k, join_adjacent=True, min_similarity=min_similarity, reranker=reranker)
    finished: list[Answer] = []
    remarks: dict[str, Any] = {"skipped": tuple(skipped), "notes": tuple(notes)}
    if model is None:
        pieces = _extracted(question, hits, index, remarks, finished)
        return AnswerStream(tuple(hit.passage for hit in hits), pieces, finished)
    template = checked(prompt) if prompt is not None else chat_prompt() if _chats(model) else text_prompt()
    fitting = fit([hit.passage for hit in hits], question, template, model, context_tokens, answer_tokens)
    remarks["left_out"] = len(hits) - len(fitting)
    return AnswerStream(fitting, _written(question, fitting, template, model, remarks, finished), finished)


def _extracted(
    question: str, hits: Sequence[Hit], index: Searchable, remarks: dict[str, Any], finished: list[Answer]
) -> Iterator[str]:
    picked = extract(question, hits, index.embed)
    text = picked.text if picked.found else REFUSAL
    yield text
    way = "These sentences were picked from the documents as they stand, because " if picked.found else "Note: "
    finished.append(
        Answer(
            question=question,
            text=text,
            citations=picked.citations if picked.found else (),
            passages=tuple(hit.passage for hit in hits),
            answered=picked.found,
            notice=f"{way}{NoModel()}.",
            **remarks,
        )
    )


def _written(
    question: str,
    passages: tuple[Passage, ...],
    template: BasePromptTemplate[Any],
    model: Model,
    remarks: dict[str, Any],
    finished: list[Answer],
) -> Iterator[str]:
    value = template.invoke({"passages": rendered(passages), "question": question})
    checking = Checked(len(passages))
    parts: list[str] = []
    usage: UsageMetadata | None = None
    for chunk in model.stream(value):
        usage = _added(usage, getattr(chunk, "usage_metadata", None))
        if piece := checking.feed(chunk if isinstance(chunk, str) else str(chunk.text)):
            parts.append(piece)
            yield piece
    if piece := checking.end():
        parts.append(piece)
        yield piece
    text = "".join(parts).strip()
    answered = not is_refusal(text)
    finished.append(
        Answer(
            question=question,
            text=text or REFUSAL,
            citations=trace(text, passages),
            passages=passages,
            answered=answered,
            model=_name(model),
            usage=usage,
            prompt=value.to_string(),
            removed_citations=checking.removed,
            unsupported=unsupported(text, passages) if answered else (),
            **remarks,
        )
    )


def _added(one: UsageMetadata | None, other: UsageMetadata | None) -> UsageMetadata | None:
    from langchain_core.messages.ai import add_usage

    return add_usage(one, other) if one or other else None


def _chats(model: Model) -> bool:
    from langchain_core.language_models import BaseChatModel

    return isinstance(model, BaseChatModel)


def _name(model: Model) -> str:
    name = getattr(model, "model", None) or getattr(model, "model_name", None)
    return str(name) if name else type(model).__name__
