"""Documents that answer: the answer to the last question, with citations as annotations."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage

from chainkit.base.errors import BadTexts
from chainkit.knowledge.answer.answer import Answer
from chainkit.knowledge.answer.citations import Citation
from chainkit.knowledge.answer.conversation import Conversation, Turn
from chainkit.knowledge.index.search import Searchable
from chainkit.server.speakers.call import ChatCall, Speaker, refuse_model_settings

_MARK = re.compile(r"\[(\d{1,4})\]")


class DocumentsSpeaker(Speaker):
    """An index, with the model that writes answers from it.

    Args:
        index: The documents.
        model: Writes the answers; None quotes the best sentences.
        settings: Those of `chainkit.ask`.
    """

    def __init__(self, index: Searchable, model: Any = None, **settings: Any) -> None:
        self.index, self.model, self.settings = index, model, settings

    @property
    def models(self) -> Sequence[Any]:
        """The model that writes the answers."""
        return [] if self.model is None else [self.model]

    @property
    def common_folder(self) -> str | None:
        """The folder that holds all its documents; clients see paths within it. None if there is none."""
        sources = [one for one in getattr(self.index, "sources", ()) if os.path.isabs(one)]
        try:
            return os.path.commonpath([one if os.path.isdir(one) else os.path.dirname(one) for one in sources])
        except ValueError:  # there are none, or they lie on several drives
            return None

    def shown(self, paths: Sequence[str]) -> list[str]:
        """The paths of documents as clients see them."""
        folder = self.common_folder
        if folder is None:
            return list(paths)
        within = folder.rstrip(os.sep) + os.sep
        return [path.removeprefix(within).replace(os.sep, "/") if path.startswith(within) else path for path in paths]

    def stored(self, path: str) -> str:
        """The path of a document as the index has it, from that which clients see."""
        folder = self.common_folder
        return path if folder is None or os.path.isabs(path) else os.path.normpath(os.path.join(folder, path))

    def close(self) -> None:
        """Close the index."""
        close = getattr(self.index, "close", None)
        if close is not None:
            close()

    async def stream(self, call: ChatCall) -> AsyncIterator[AIMessageChunk]:
        """Stream the answer; the last chunk has its citations."""
        refuse_model_settings(call, "documents")
        if not call.question.strip():
            raise BadTexts("the last message of the user is empty; it is the question to the documents")
        conversation = self._conversation(call)
        answer = await conversation.astream(call.question)
        async for piece in answer:
            yield AIMessageChunk(content=piece)
        found = await answer.aanswer()
        paths = self.shown([one.path for one in found.citations])
        citations = [replace(one, path=path) for one, path in zip(found.citations, paths, strict=True)]
        yield AIMessageChunk(
            content="",
            usage_metadata=found.usage,
            response_metadata={"finish_reason": "stop"},
            additional_kwargs={"annotations": cited_places(found.text, citations), "documents": about(found)},
            chunk_position="last",
        )

    def _conversation(self, call: ChatCall) -> Conversation:
        settings = dict(self.settings)
        if (limit := call.settings.get("max_tokens")) is not None:
            settings["answer_tokens"] = limit
        conversation = Conversation(self.index, model=self.model, **settings)
        conversation.history = list(_turns(call.messages))
        return conversation


def cited_places(text: str, citations: Sequence[Citation]) -> list[dict[str, Any]]:
    """The citations of an answer as OpenAI's annotations: one for each citation mark, with its source.

    >>> [one["url_citation"]["url"] for one in cited_places("It rains [1].", [Citation(number=1, path="a.md", quote="x",
    ...     first_line=3, last_line=4)])]
    ['a.md#L3-L4']
    """
    known = {citation.number: citation for citation in citations}
    return [
        {"type": "url_citation", "url_citation": _cited(known[int(mark[1])], mark.start(), mark.end())}
        for mark in _MARK.finditer(text)
        if int(mark[1]) in known
    ]


def about(answer: Answer) -> dict[str, Any]:
    """What else is to be known of an answer: whether the documents hold it, and how sure that is."""
    return {
        "outcome": answer.outcome,
        "confidence": round(answer.confidence, 3),
        "style": answer.style,
        "notice": answer.notice,
        "unsupported": list(answer.unsupported),
    }


def _cited(citation: Citation, start: int, end: int) -> dict[str, Any]:
    return {
        "start_index": start,
        "end_index": end,
        "title": PurePath(citation.path).name,
        "url": citation.path + _fragment(citation),
        **asdict(citation),
    }


def _fragment(citation: Citation) -> str:
    if citation.page is not None:
        return f"#page={citation.page}"
    if citation.first_line is None:
        return ""
    last = citation.last_line or citation.first_line
    return f"#L{citation.first_line}" + (f"-L{last}" if last != citation.first_line else "")


def _turns(messages: Sequence[BaseMessage]) -> Iterator[Turn]:
    """The questions that were answered before."""
    for question, answer in pairwise(messages):
        if isinstance(question, HumanMessage) and isinstance(answer, AIMessage):
            asked = str(question.text)
            yield Turn(asked, Answer(question=asked, text=str(answer.text)))
