"""langchain-core's templates, whose `|` gives a sequence that runs its steps directly while nobody listens."""

from __future__ import annotations

from typing import Any

from langchain_core.prompts import chat, prompt

from chainkit.prompts.sequence import RunnableSequence


class _Chaining:
    """`|` in both directions, and `pipe`."""

    def __or__(self, other: Any) -> RunnableSequence[Any, Any]:
        return RunnableSequence(self, other)  # pyright: ignore[reportArgumentType]

    def __ror__(self, other: Any) -> RunnableSequence[Any, Any]:
        return RunnableSequence(other, self)  # pyright: ignore[reportArgumentType]

    def pipe(self, *others: Any, name: str | None = None) -> RunnableSequence[Any, Any]:
        """This template, then other steps."""
        return RunnableSequence(self, *others, name=name)  # pyright: ignore[reportArgumentType]


class PromptTemplate(_Chaining, prompt.PromptTemplate):  # pyright: ignore[reportIncompatibleMethodOverride]
    """`PromptTemplate` of langchain-core, by the same name for tracers and serialised chains.

    >>> PromptTemplate.from_template("Hello {name}").invoke({"name": "Ada"}).to_string()
    'Hello Ada'
    """

    def __add__(self, other: Any) -> PromptTemplate:
        """This template with another, or a text, after it."""
        return PromptTemplate(**super().__add__(other).__dict__)


class ChatPromptTemplate(_Chaining, chat.ChatPromptTemplate):  # pyright: ignore[reportIncompatibleMethodOverride]
    """`ChatPromptTemplate` of langchain-core, by the same name for tracers and serialised chains.

    >>> ChatPromptTemplate([("human", "Hello {name}")]).invoke({"name": "Ada"}).to_messages()[0].content
    'Hello Ada'
    """

    def __add__(self, other: Any) -> ChatPromptTemplate:
        """These messages with others after them."""
        return ChatPromptTemplate(**super().__add__(other).__dict__)

    def __getitem__(self, index: Any) -> Any:
        """One message, or a template of some of them."""
        found = super().__getitem__(index)
        return ChatPromptTemplate(**found.__dict__) if isinstance(found, chat.ChatPromptTemplate) else found
