"""A chat with a model: its history is sent with each question and saved to a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import ConversationFileError, Unsupported
from chainkit.base.repetition import Repetition
from chainkit.cli.answering import maker_of
from chainkit.cli.faults import one_line
from chainkit.cli.screen import note

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM
    from langchain_core.messages import AIMessage, BaseMessage

    from chainkit.conversations.carry import Reads
    from chainkit.conversations.file import ConversationFile

_SPEAKERS = {"system": "", "human": "Question: ", "ai": "Answer: ", "tool": "Result: "}


class Keeping:
    """Saves messages to a file; if that fails, the user is warned once and the conversation continues unsaved.

    Attributes:
        id: Of the conversation; empty as long as nothing is kept.
    """

    def __init__(self, file: ConversationFile, id: str = "") -> None:  # noqa: A002
        self._file: ConversationFile | None = file
        self.id = id

    def add(self, messages: Sequence[BaseMessage], model: str, system: str) -> None:
        """Keep these messages, which were said to or by a model."""
        if self._file is None:
            return
        try:
            self.id = self.id or self._file.begin(str(messages[0].text) or "(no words)", system)
            self._file.add(self.id, messages, model, system=system)
        except ConversationFileError as error:
            self._file = None
            note(one_line(f"the conversation is not kept: {error}"))

    def renew(self) -> None:
        """Keep what comes as another conversation."""
        self.id = ""


class ChatSession:
    """The messages so far; sent to the model with every question.

    Attributes:
        spec: Of the model, without keys.
        system: How the model shall behave; empty for nothing.
        keeping: Where it is kept; None for nowhere.
    """

    def __init__(
        self,
        model: BaseChatModel | BaseLLM,
        system: str = "",
        *,
        spec: str = "",
        said: Sequence[BaseMessage] = (),
        keeping: Keeping | None = None,
    ) -> None:
        self._said = list(said)
        self.system, self.keeping = system, keeping
        self.take(model, spec)

    def take(self, model: BaseChatModel | BaseLLM, spec: str) -> None:
        """Go on with another model; it is sent all that was said."""
        from chainkit.conversations.carry import unshown

        self._model, self.spec = model, spec
        self._maker = maker_of(spec, model) if spec else ""
        self._reads: Reads = "text" if _reads_text_alone(model) else "blocks"
        hidden = unshown(self._said) if self._reads == "text" else 0
        if hidden:
            note(f"{spec} reads text alone: images and files are named to it, not shown ({hidden})")

    def ask(self, question: str | list[Any]) -> Iterator[str]:
        """The answer, piece by piece.

        The received part of the answer joins the conversation, also when the answer is stopped; a question without
        any answer does not.

        Raises:
            Unsupported: An image or a file is asked about, and the model reads text alone.
            ContextOverflow: The conversation has grown longer than what the model can read.
        """
        from langchain_core.messages import HumanMessage, SystemMessage

        from chainkit.conversations.carry import carried, unshown

        asked = HumanMessage(question)
        start = [SystemMessage(self.system)] if self.system else []
        heard: list[str] = []
        came: list[Any] = []
        whole = False
        looping = Repetition()
        if self._reads == "text" and unshown([asked]):
            raise Unsupported(f"{self.spec} reads text alone; a model that takes images and files is named with -m")
        messages = carried([*start, *self._said, asked], self._maker, self._reads)
        try:
            with closing(self._stream(messages)) as chunks:  # pyright: ignore[reportArgumentType]
                for chunk in chunks:
                    came.append(chunk)
                    heard.append(chunk if isinstance(chunk, str) else str(chunk.text))
                    yield heard[-1]
                    if looping.feed(heard[-1]) or _stopped_in_a_loop(chunk):
                        note("(stopped: the model repeats itself)")
                        break
                else:
                    whole = True
        finally:
            if any(heard):
                self._keep(asked, _answer("".join(heard), came if whole else []))

    def _keep(self, asked: BaseMessage, answer: AIMessage) -> None:
        from chainkit.conversations.carry import marked

        said = [asked, marked(answer, self._maker)]
        self._said += said
        if self.keeping:
            self.keeping.add(said, self.spec, self.system)

    def _stream(self, messages: list[BaseMessage]) -> Iterator[Any]:
        """What the model writes; one that only continues text reads the turns as a text, and stops where one begins."""
        from langchain_core.language_models import BaseChatModel

        if isinstance(self._model, BaseChatModel):
            return self._model.stream(messages)
        turns = "".join(f"{_SPEAKERS.get(message.type, '')}{_spoken(message)}\n" for message in messages)
        return self._model.stream(f"{turns}{_SPEAKERS['ai'].rstrip()}", stop=[f"\n{_SPEAKERS['human'].rstrip()}"])

    def as_json(self, question: str | list[Any], model: str | None) -> dict[str, Any]:
        """A turn for programs."""
        answer = "".join(self.ask(question))
        asked = question if isinstance(question, str) else str(self._said[-2].text) if answer else ""
        kept = self.keeping.id if self.keeping else ""
        return {"question": asked, "answer": answer, "model": model, "conversation": kept or None}

    def reset(self) -> None:
        """Forget the messages; the system prompt stays, and so does the saved file."""
        self._said.clear()
        if self.keeping:
            self.keeping.renew()

    def __len__(self) -> int:
        return len(self._said)


def _answer(text: str, chunks: list[Any]) -> AIMessage:
    """The message that the chunks of a whole answer make; of one that was cut off, its text alone."""
    from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message

    if not chunks or not all(isinstance(chunk, AIMessageChunk) for chunk in chunks):
        return AIMessage(text)
    made = message_chunk_to_message(chunks[0] + chunks[1:])
    return made if isinstance(made, AIMessage) else AIMessage(text)


def _spoken(message: BaseMessage) -> str:
    calls: list[Any] = getattr(message, "tool_calls", [])
    shown = "".join(f"[calls {call['name']}: {json.dumps(call['args'], ensure_ascii=False)}]" for call in calls)
    return f"{message.text}{shown}"


def _reads_text_alone(model: BaseChatModel | BaseLLM) -> bool:
    from langchain_core.language_models import BaseChatModel

    local = sys.modules.get("chainkit.local.chat")  # a local model has imported it, and a hosted one need not
    return not isinstance(model, BaseChatModel) or (local is not None and isinstance(model, local.LocalChat))


def _stopped_in_a_loop(chunk: Any) -> bool:
    return getattr(chunk, "response_metadata", {}).get("finish_reason") == "repetition"
