"""The short way to a langchain-core prompt template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast, overload

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from chainkit.prompts.template import ChatPromptTemplate, PromptTemplate

_ROLES = ("system", "human", "user", "ai", "assistant")


@overload
def prompt(template: str, **fixed: Any) -> PromptTemplate: ...


@overload
def prompt(template: Sequence[tuple[str, Any] | BaseMessage], **fixed: Any) -> ChatPromptTemplate: ...


def prompt(
    template: str | Sequence[tuple[str, Any] | BaseMessage], **fixed: Any
) -> PromptTemplate | ChatPromptTemplate:
    """A prompt template: text for a text, messages for a list of `(role, text)` pairs.

    Args:
        template: `{name}` is a variable, `{{` and `}}` are braces.
        fixed: Variables that are known already; they can still be given again when the template is used.

    Returns:
        A template of langchain-core, a Runnable: `prompt(...) | model`. What `|` makes of it is a sequence that runs
        without langchain-core's run managers while nobody listens.

    Raises:
        ValueError: A placeholder or a role cannot be read, or the template is neither a text nor a list of messages.

    >>> prompt("Tell me about {topic}").invoke({"topic": "bees"}).to_string()
    'Tell me about bees'
    >>> chat = prompt([("system", "Answer in {language}."), ("human", "{question}")], language="French")
    >>> [m.content for m in chat.invoke({"question": "Why?"}).to_messages()]
    ['Answer in French.', 'Why?']
    """
    from chainkit.prompts.template import ChatPromptTemplate, PromptTemplate

    if isinstance(template, str):
        text = cast("PromptTemplate", PromptTemplate.from_template(template, partial_variables=fixed))
        if "" in text.input_variables:
            raise ValueError("the prompt holds {}; write {name} for a variable, or {{}} for the two braces")
        return text
    if not _are_messages(template):
        raise ValueError(f"a prompt is a text, or a list of messages such as [('human', 'text')]; got {template!r:.80}")
    try:
        chat = ChatPromptTemplate.from_messages(list(template))
    except NotImplementedError as error:  # what langchain-core raises for things that are not messages
        raise ValueError(f"a message is (role, text), as in ('human', '{{question}}'): {error}") from error
    return cast("ChatPromptTemplate", chat.partial(**fixed) if fixed else chat)


def _are_messages(given: Any) -> bool:
    """Whether it is a list; a single `("human", "text")` would be read as two messages."""
    listed = isinstance(given, Sequence) and not isinstance(given, bytes)
    return listed and not (isinstance(given, tuple) and any(given[:1] == (role,) for role in _ROLES))
