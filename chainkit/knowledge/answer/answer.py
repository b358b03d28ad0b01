"""Answers to questions: from the passages that were found, with citations that can be checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from chainkit.base import opening
from chainkit.base.errors import NoModel
from chainkit.base.repetition import Repetition
from chainkit.knowledge.answer.citations import Citation, Traced
from chainkit.knowledge.answer.confidence import NEAREST, THRESHOLD
from chainkit.knowledge.answer.extract import Extract, extract
from chainkit.knowledge.answer.prompt import REFUSAL, chat_prompt, checked, is_refusal, rendered, text_prompt
from chainkit.knowledge.answer.ways import (
    SHORT_STOP,
    SHORT_TOKENS,
    TEXT_STOP,
    Style,
    chats,
    holds,
    sentence_of,
    short_prompt,
    speaks,
    style_of,
)
from chainkit.knowledge.answer.work import Pieces, Steps, apieces, in_thread, pieces
from chainkit.knowledge.index.fit import fit
from chainkit.knowledge.index.search import Hit, Searchable
from chainkit.knowledge.readers.documents import Remark
from chainkit.knowledge.readers.plain import stems, words
from chainkit.knowledge.readers.split import Passage

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor
    from langchain_core.language_models import BaseChatModel, BaseLLM
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.prompts import BasePromptTemplate

    Model = BaseChatModel | BaseLLM
    Prompt = BasePromptTemplate[Any] | str

ANSWER_TOKENS = 512
PERHAPS = "Nearest, but perhaps not an answer:"
_FLUENT = 0.1  # an embedding model that knows a language less tells its sentences apart no better than chance

Outcome: TypeAlias = Literal["answer", "nearest", "refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer with what it rests on; `str(answer)` is the text with its numbered sources.

    Attributes:
        question: As it was asked.
        text: The answer, with citations as `[1]`, numbered in order of use.
        citations: What the numbers stand for, each with a quote that stands in the document word for word.
        passages: What the answer could rest on, the best first.
        outcome: "answer"; "nearest" where the text is what comes nearest but perhaps no answer; "refusal" where the
            documents do not hold one.
        confidence: How sure it is that the documents hold an answer, 0 to 1; the same for every way of answering.
        style: The way: "extract" quotes sentences, "short" is a sentence of a small model with its sources quoted,
            "full" is a text over all passages.
        model: The model that wrote the text; None where sentences were picked without one.
        usage: Tokens read and written, where the model reports them.
        prompt: What the model was sent; empty without one.
        removed_citations: How many citations of passages that do not exist were taken out.
        unsupported: Sentences of the text whose words are mostly not in the passages.
        sentences: How many sentences of the text say something that can be looked up.
        repeated: Whether the model was stopped because it repeated itself.
        left_out: How many passages were found but did not fit into the model's context.
        skipped: Files that could not be read, each with its reason.
        notes: Files that were read with a reservation.
        notice: What the reader should know about how the answer was made.
    """

    question: str
    text: str
    citations: tuple[Citation, ...] = ()
    passages: tuple[Passage, ...] = ()
    outcome: Outcome = "answer"
    confidence: float = 1.0
    style: Style = "full"
    model: str | None = None
    usage: UsageMetadata | None = None
    prompt: str = ""
    removed_citations: int = 0
    unsupported: tuple[str, ...] = ()
    sentences: int = 0
    repeated: bool = False
    left_out: int = 0
    skipped: tuple[Remark, ...] = ()
    notes: tuple[Remark, ...] = ()
    notice: str = ""

    @property
    def answered(self) -> bool:
        """Whether the documents hold the answer, as far as can be told."""
        return self.outcome == "answer"

    def __str__(self) -> str:
        sources = "\n".join(dict.fromkeys(map(str, self.citations)))
        return "\n\n".join(part for part in (self.text, sources, self.notice) if part)

    def _repr_html_(self) -> str:
        """How a notebook shows it: the text, and citations that open the passage."""
        from chainkit.knowledge.answer.html import answer_html

        return answer_html(self.text, self.citations, self.passages, self.notice)


@dataclass(slots=True)
class AnswerStream:
    """An answer while it is written: iterate, or `async for`, for the pieces of its text, then read `answer`.

    Citations are checked before a piece is given.

    Attributes:
        passages: What the answer can rest on; known before the first piece.
        steps: What is still to be done.
        finished: Holds the answer once all pieces have been read.
    """

    passages: tuple[Passage, ...]
    steps: Steps[Any]
    finished: list[Answer] = field(default_factory=list[Answer])
    _running: Iterator[str] | None = None

    def __iter__(self) -> Iterator[str]:
        if self._running is None:
            self._running = pieces(self.steps)
        return self._running

    def __aiter__(self) -> AsyncIterator[str]:
        return apieces(self.steps)

    @property
    def answer(self) -> Answer:
        """The whole answer; what has not been read of the stream yet is read now."""
        if not self.finished:
            for _ in self:
                pass
        return self.finished[0]

    async def aanswer(self) -> Answer:
        """As `answer`, without blocking the event loop."""
        if not self.finished:
            async for _ in self:
                pass
        return self.finished[0]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How to answer; `chainkit.knowledge.ask` explains the fields.

    Raises:
        ValueError: A number is out of its range, or the prompt lacks a variable.
    """

    model: Any = None
    style: Style | None = None
    k: int = 6
    prompt: Prompt | None = None
    context_tokens: int | None = None
    answer_tokens: int = ANSWER_TOKENS
    min_confidence: float = THRESHOLD
    min_similarity: float = -1.0
    reranker: BaseDocumentCompressor | str | None = None
    skipped: Sequence[Remark] = ()
    notes: Sequence[Remark] = ()

    def __post_init__(self) -> None:
        if self.answer_tokens < 1:
            raise ValueError(f"answer_tokens must be 1 or more, got {self.answer_tokens}")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence must be between 0 and 1, got {self.min_confidence}")

    @property
    def way(self) -> Style:
        """The way of answering; a prompt of the caller's own is for a text in full."""
        wanted = "full" if self.style is None and self.prompt is not None and self.model is not None else self.style
        return style_of(self.model, wanted)

    def outcome(self, confidence: float) -> Outcome:
        """What comes of a question."""
        if confidence >= self.min_confidence:
            return "answer"
        return "nearest" if confidence >= min(NEAREST, self.min_confidence) else "refusal"


def begun(question: str, index: Searchable, asking: Asking) -> Steps[AnswerStream]:
    """Find the passages, and give a stream that answers from them.

    Raises:
        ContextOverflow: Not even one passage fits into the model's context.
        ValueError: The question is empty, a setting is out of range, or the prompt lacks a variable.
    """
    if not question.strip():
        raise ValueError("the question is empty")
    asking = replace(asking, model=opening.answering(asking.model), reranker=opening.reranker(asking.reranker))
    way = asking.way

    def find() -> tuple[list[Hit], dict[str, float] | None]:
        hits = index.find(
            question,
            asking.k,
            join_adjacent=True,
            min_similarity=asking.min_similarity,
            reranker=asking.reranker,
        )
        # now, since the index may be closed once the passages are there
        rarity: Callable[[Sequence[str]], dict[str, float]] | None = getattr(index, "rarity", None)
        return hits, rarity(words(question)) if rarity is not None else None

    hits, rarity = yield from in_thread(find).wanted()
    found = _Found(question, tuple(hits), index, asking, way, rarity)
    if way == "full":
        return found.full_stream()
    return AnswerStream(found.passages, found.short(), found.finished)


@dataclass
class _Found:
    """A question with the hits it is answered from."""

    question: str
    hits: tuple[Hit, ...]
    index: Searchable
    asking: Asking
    way: Style
    rarity: Mapping[str, float] | None
    finished: list[Answer] = field(default_factory=list[Answer])

    @property
    def passages(self) -> tuple[Passage, ...]:
        return tuple(hit.passage for hit in self.hits)

    def extracted(self) -> Steps[Extract]:
        """The best sentences, with their confidence."""
        return (yield from in_thread(self._extract).wanted())

    def _extract(self) -> Extract:
        texts = [self.question, *(hit.passage.text for hit in self.hits[:1])]
        fluency: Callable[[Sequence[str]], float] | None = getattr(self.index, "fluency", None)
        known = 1.0 if fluency is None else fluency(texts)
        embed = self.index.embed if known >= _FLUENT else None
        return extract(self.question, self.hits, embed, rarity=self.rarity, fluency=known)

    def short(self) -> Steps[None]:
        """Sentences of the documents, below a sentence of a model if there is one."""
        picked = yield from self.extracted()
        outcome: Outcome = self.asking.outcome(picked.confidence) if picked.sentences else "refusal"
        if outcome == "refusal":
            yield REFUSAL
            self._finish(REFUSAL, picked, outcome)
            return
        text, details = picked.text, {}
        if outcome == "nearest":
            text = f"{PERHAPS} {text}"
        elif self.way == "short" and not any("\n" in one for one in picked.sentences):
            sentence, details = yield from self._said(picked)
            if sentence:
                text = f"{sentence} [1]\n\n{text}"
        yield text
        self._finish(text, picked, outcome, picked.citations, **details)

    def _said(self, picked: Extract) -> Steps[tuple[str, dict[str, Any]]]:
        """A sentence of the model that holds against its sources, else none; it is not asked in a language it lacks."""
        model, asking = self.asking.model, self.asking
        knows = in_thread(lambda: speaks(model, " ".join(picked.sentences)))  # it may have to be loaded
        if not (yield from knows.wanted()):
            return "", {}
        value = short_prompt(self.question, picked.sentences, chat=chats(model))
        written, usage, _ = yield from _written(model, value, min(SHORT_TOKENS, asking.answer_tokens), SHORT_STOP)
        said = sentence_of(written)
        details = {"usage": usage, "prompt": value.to_string(), "model": _name(model)}
        repeated = any(stems(said) == stems(one) for one in picked.sentences)
        sound = said and not repeated and holds(said, picked.sentences, self.question)
        return (said if sound else ""), details

    def full_stream(self) -> AnswerStream:
        """A text of the model over all passages that fit."""
        asking, model = self.asking, self.asking.model
        template = (
            checked(asking.prompt) if asking.prompt is not None else chat_prompt() if chats(model) else text_prompt()
        )
        fitting = fit(self.passages, self.question, template, model, asking.context_tokens, asking.answer_tokens)
        return AnswerStream(fitting, self._full(fitting, template), self.finished)

    def _full(self, passages: tuple[Passage, ...], template: BasePromptTemplate[Any]) -> Steps[None]:
        picked = yield from self.extracted()
        model = self.asking.model
        value = template.invoke({"passages": rendered(passages), "question": self.question})
        traced, usage, parts = Traced(passages), None, list[str]()
        looping, stops = Repetition(), () if chats(model) else TEXT_STOP
        writing = Pieces(model, value, _limits(model, self.asking.answer_tokens, stops))
        limit = _Limit(model, self.asking.answer_tokens)
        while (chunk := (yield from writing.following().wanted())) is not None:
            usage = _added(usage, getattr(chunk, "usage_metadata", None))
            text = chunk if isinstance(chunk, str) else str(chunk.text)
            if piece := traced.feed(text):
                parts.append(piece)
                yield piece
            if looping.feed(text) or limit.reached(text) or traced.repeated:
                yield from writing.close().wanted()
                break
        if piece := traced.end():
            parts.append(piece)
            yield piece
        text = "".join(parts).strip()
        refused = is_refusal(text)
        self._finish(
            text or REFUSAL,
            picked,
            "refusal" if refused else "answer" if traced.supported else "nearest",
            () if refused else traced.citations(),
            passages=passages,
            model=_name(model),
            usage=usage,
            prompt=value.to_string(),
            removed_citations=traced.removed,
            unsupported=() if refused else tuple(traced.unsupported),
            sentences=traced.supported + len(traced.unsupported),
            repeated=looping.found or traced.repeated,
            left_out=len(self.hits) - len(passages),
        )

    def _finish(
        self,
        text: str,
        picked: Extract,
        outcome: Outcome,
        citations: tuple[Citation, ...] = (),
        *,
        passages: tuple[Passage, ...] | None = None,
        **details: Any,
    ) -> None:
        asking = self.asking
        notice = ""
        if self.asking.model is None:
            way = "Note: " if outcome == "refusal" else "These are sentences of the documents as they stand, because "
            notice = f"{way}{NoModel()}."
        self.finished.append(
            Answer(
                question=self.question,
                text=text,
                citations=citations,
                outcome=outcome,
                confidence=picked.confidence,
                style=self.way,
                skipped=tuple(asking.skipped),
                notes=tuple(asking.notes),
                notice=notice,
                passages=self.passages if passages is None else passages,
                **details,
            )
        )


def _written(model: Any, value: Any, tokens: int, stop: Sequence[str]) -> Steps[tuple[str, UsageMetadata | None, bool]]:
    """What a model writes up to a limit, a stop text, or a loop; with its usage, and whether it was a loop."""
    parts, usage, looping, limit = list[str](), None, Repetition(), _Limit(model, tokens)
    writing = Pieces(model, value, _limits(model, tokens, stop))
    while (chunk := (yield from writing.following().wanted())) is not None:
        usage = _added(usage, getattr(chunk, "usage_metadata", None))
        text = chunk if isinstance(chunk, str) else str(chunk.text)
        parts.append(text)
        if looping.feed(text) or limit.reached(text):
            yield from writing.close().wanted()
            break
    return "".join(parts), usage, looping.found


class _Limit:
    """The most tokens of an answer, for models that take no such setting."""

    def __init__(self, model: Any, tokens: int) -> None:
        from chainkit.chains.counting import counter

        self._left = None if hasattr(model, "max_tokens") else tokens
        self._count = counter(model) if self._left is not None else len

    def reached(self, text: str) -> bool:
        """Whether no more may come after this piece."""
        if self._left is None:
            return False
        self._left -= self._count(text) if text else 0
        return self._left <= 0


def _limits(model: Any, tokens: int, stop: Sequence[str]) -> dict[str, Any]:
    """Settings of a call: the limit where the model has one, never above its own, and the stop texts."""
    settings: dict[str, Any] = {"stop": list(stop)} if stop else {}
    if hasattr(model, "max_tokens"):
        settings["max_tokens"] = min(tokens, model.max_tokens or tokens)
    return settings


def _added(one: UsageMetadata | None, other: UsageMetadata | None) -> UsageMetadata | None:
    from langchain_core.messages.ai import add_usage

    return add_usage(one, other) if one or other else None


def _name(model: Model) -> str:
    name = getattr(model, "model", None) or getattr(model, "model_name", None)
    return str(name) if name else type(model).__name__
