"""`chainkit chat --docs`: a conversation whose answers rest on documents."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import ChainkitError
from chainkit.cli.ask import tell_faults
from chainkit.cli.indexes import chosen_index, tell_remarks
from chainkit.cli.screen import note

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM

    from chainkit.knowledge import Answer, Conversation
    from chainkit.knowledge.answer.ways import Style

_SQLITE = b"SQLite format 3\0"
_QUOTE_CHARACTERS = 160


class DocumentConversation:
    """Questions to documents, in the shape of a chat; a follow-up is looked up as it would be asked on its own.

    Attributes:
        latest: The latest answer.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.latest: Answer | None = None

    @property
    def system(self) -> str:
        """Nothing: how to answer from documents is not for the user to say here."""
        return ""

    @system.setter
    def system(self, value: str) -> None:
        if value:
            raise ChainkitError("with --docs, how to answer is fixed: from the documents, with citations")

    def ask(self, question: str | list[Any]) -> Iterator[str]:
        """The answer, piece by piece, then its sources."""
        assert isinstance(question, str), "files are not attached to questions to documents"
        stream = self._conversation.stream(question)
        yield from stream
        answer = self.latest = stream.answer
        if answer.question != question:
            note(f"looked up: {answer.question}")
        full = answer.style == "full"
        sources = dict.fromkeys(
            f"{citation}: {_shortened(citation.quote)}" if full else str(citation) for citation in answer.citations
        )
        if sources:
            yield "\n\n" + "\n".join(sources)
        tell_faults(answer)

    def as_json(self, question: str | list[Any], model: str | None) -> dict[str, Any]:
        """A turn for programs."""
        for _ in self.ask(question):
            pass
        answer = self.latest
        assert answer is not None
        return {
            "question": question,
            "looked_up": answer.question,
            "answer": answer.text,
            "answered": answer.answered,
            "outcome": answer.outcome,
            "confidence": round(answer.confidence, 3),
            "style": answer.style,
            "citations": [asdict(citation) for citation in answer.citations],
            "model": model if answer.model else None,
        }

    def reset(self) -> None:
        """Forget earlier questions and answers."""
        self._conversation.history.clear()

    def __len__(self) -> int:
        return len(self._conversation.history)


@contextmanager
def over_documents(
    docs: Sequence[str],
    model: BaseChatModel | BaseLLM | None,
    embeddings_spec: str,
    answer_tokens: int | None,
    style: Style | None = None,
) -> Generator[DocumentConversation]:
    """A conversation over files and folders, or over one index: a file or a vector store.

    Raises:
        ChainkitError: Nothing can be read there.
    """
    from chainkit.knowledge import Conversation

    named = docs[0] if len(docs) == 1 and _is_index(docs[0]) else None
    settings: dict[str, Any] = {} if answer_tokens is None else {"answer_tokens": answer_tokens}
    with chosen_index(() if named else docs, named, embeddings_spec) as (index, report, bar):
        bar.stop()
        tell_remarks(report)
        yield DocumentConversation(Conversation(index, model=model, style=style, **settings))


def _is_index(path: str) -> bool:
    if "://" in path:
        return True
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def _shortened(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _QUOTE_CHARACTERS else f"{flat[: _QUOTE_CHARACTERS - 3]}..."
