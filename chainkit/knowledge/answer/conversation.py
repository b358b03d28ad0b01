"""A conversation over documents: a question that leans on earlier ones is first written out in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainkit.base import opening
from chainkit.base.hiding import hides_given_keys
from chainkit.knowledge.answer.answer import Answer, AnswerStream, Asking, begun
from chainkit.knowledge.answer.work import Steps, Work, aresult, result

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM

    from chainkit.knowledge.index.search import Searchable

REWRITE = """\
Below is a conversation and a new question. Write the new question so that it can be understood on its own:
put names in the place of words like "it" or "there". If it can be understood as it is, repeat it.
Reply with the question alone.

{history}

New question: {question}
Question on its own:"""

TURNS = 4
_ANSWER_CHARACTERS = 400
_LONGEST_QUESTION = 600


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer.

    Attributes:
        question: As it was asked.
        answer: Its `question` is the one that was looked up.
    """

    question: str
    answer: Answer


class Conversation:
    """Questions to an index, one after the other.

    Args:
        model: Writes the answers and rewrites the questions; with None, each question is searched unchanged.
        turns: Number of earlier turns used to rewrite a question.
        settings: Those of `ask`, such as `k` and `prompt`.

    Attributes:
        history: The turns so far.
    """

    @hides_given_keys
    def __init__(
        self,
        index: Searchable,
        *,
        model: BaseChatModel | BaseLLM | str | None = None,
        turns: int = TURNS,
        **settings: Any,
    ) -> None:
        if turns < 0:
            raise ValueError(f"turns must be 0 or more, got {turns}")
        self.history: list[Turn] = []
        self._index = index
        self._turns = turns
        self._asking = Asking(model=opening.answering(model), **settings)

    def ask(self, question: str) -> Answer:
        """The answer to the next question; errors are those of `chainkit.ask`."""
        return self.stream(question).answer

    async def aask(self, question: str) -> Answer:
        """As `ask`, without blocking the event loop."""
        return await (await self.astream(question)).aanswer()

    def stream(self, question: str) -> AnswerStream:
        """The answer to the next question as it is written; it joins the history when it has been read to its end."""
        return result(self._begun(question))

    async def astream(self, question: str) -> AnswerStream:
        """As `stream`, without blocking the event loop; go through it with `async for`."""
        return await aresult(self._begun(question))

    def standalone(self, question: str) -> str:
        """The question used for retrieval: rewritten by the model if there is a history."""
        return result(self._standalone(question))

    def _begun(self, question: str) -> Steps[AnswerStream]:
        asked = yield from self._standalone(question)
        stream = yield from begun(asked, self._index, self._asking)
        return AnswerStream(stream.passages, self._remembered(question, stream), stream.finished)

    def _standalone(self, question: str) -> Steps[str]:
        earlier = self.history[-self._turns :] if self._turns else []
        model = self._asking.model
        if model is None or not earlier or not question.strip() or self._asking.way != "full":
            return question  # a small model rewrites questions into others
        lines = [
            line for turn in earlier for line in (f"Question: {turn.question}", f"Answer: {_short(turn.answer.text)}")
        ]
        value = REWRITE.format(history="\n".join(lines), question=question)
        reply: Any = yield from Work(lambda: model.invoke(value), lambda: model.ainvoke(value)).wanted()
        written = (reply if isinstance(reply, str) else str(reply.text)).strip()
        first = written.partition("\n")[0].strip().strip('"')
        return first if 0 < len(first) <= _LONGEST_QUESTION else question

    def _remembered(self, question: str, stream: AnswerStream) -> Steps[None]:
        yield from stream.steps
        self.history.append(Turn(question, stream.finished[0]))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _ANSWER_CHARACTERS else f"{flat[:_ANSWER_CHARACTERS]}..."
