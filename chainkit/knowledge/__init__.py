"""Retrieval-augmented generation (RAG): answers from the user's own documents, with citations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.knowledge.answer.answer import Answer as Answer
    from chainkit.knowledge.answer.answer import AnswerStream as AnswerStream
    from chainkit.knowledge.answer.asking import aask as aask
    from chainkit.knowledge.answer.asking import aask_stream as aask_stream
    from chainkit.knowledge.answer.asking import ask as ask
    from chainkit.knowledge.answer.asking import ask_stream as ask_stream
    from chainkit.knowledge.answer.citations import Citation as Citation
    from chainkit.knowledge.answer.conversation import Conversation as Conversation
    from chainkit.knowledge.evaluation import Question as Question
    from chainkit.knowledge.evaluation import Scores as Scores
    from chainkit.knowledge.evaluation import evaluate as evaluate
    from chainkit.knowledge.evaluation import read_questions as read_questions
    from chainkit.knowledge.index.copying import Carried as Carried
    from chainkit.knowledge.index.index import Index as Index
    from chainkit.knowledge.index.indexing import Report as Report
    from chainkit.knowledge.index.rerank import ModelReranker as ModelReranker
    from chainkit.knowledge.index.search import Hit as Hit
    from chainkit.knowledge.index.vector_stores import VectorStoreIndex as VectorStoreIndex
    from chainkit.knowledge.readers.split import Passage as Passage

_HOMES = {
    "Answer": "chainkit.knowledge.answer.answer",
    "AnswerStream": "chainkit.knowledge.answer.answer",
    "Carried": "chainkit.knowledge.index.copying",
    "aask": "chainkit.knowledge.answer.asking",
    "aask_stream": "chainkit.knowledge.answer.asking",
    "Citation": "chainkit.knowledge.answer.citations",
    "Conversation": "chainkit.knowledge.answer.conversation",
    "Hit": "chainkit.knowledge.index.search",
    "Index": "chainkit.knowledge.index.index",
    "ModelReranker": "chainkit.knowledge.index.rerank",
    "Passage": "chainkit.knowledge.readers.split",
    "Question": "chainkit.knowledge.evaluation",
    "Report": "chainkit.knowledge.index.indexing",
    "Scores": "chainkit.knowledge.evaluation",
    "VectorStoreIndex": "chainkit.knowledge.index.vector_stores",
    "ask": "chainkit.knowledge.answer.asking",
    "ask_stream": "chainkit.knowledge.answer.asking",
    "evaluate": "chainkit.knowledge.evaluation",
    "read_questions": "chainkit.knowledge.evaluation",
}

__all__ = [
    "Answer",
    "AnswerStream",
    "Carried",
    "Citation",
    "Conversation",
    "Hit",
    "Index",
    "ModelReranker",
    "Passage",
    "Question",
    "Report",
    "Scores",
    "VectorStoreIndex",
    "aask",
    "aask_stream",
    "ask",
    "ask_stream",
    "evaluate",
    "read_questions",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
