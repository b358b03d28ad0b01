"""A chat request as one value that all kinds of speakers take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage

from chainkit.base.errors import Unsupported

Said: TypeAlias = str | AIMessageChunk
"""A piece of an answer: its text, or a chunk where there is more to tell."""


@dataclass(frozen=True, kw_only=True)
class ChatCall:
    """One chat.

    Attributes:
        messages: The conversation.
        settings: By OpenAI's names those that were given: "temperature", "top_p", "max_tokens", "seed", "stop",
            penalties; by chainkit's "top_k", "min_p", "repeat_penalty".
        tools: In OpenAI's form.
        tool_choice: "auto", "none", "required", or the name of a tool.
        parallel_calls: Whether several calls in one answer are wanted; None leaves it to the model.
        form: OpenAI's `response_format`, if it asks for a form.
        logprobs: How many rivals of each token to tell; None tells nothing.
        variables: For programs and chains: their input by name.
    """

    messages: Sequence[BaseMessage]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tools: Sequence[dict[str, Any]] = ()
    tool_choice: str = "auto"
    parallel_calls: bool | None = None
    form: Mapping[str, Any] | None = None
    logprobs: int | None = None
    variables: Mapping[str, Any] | None = None

    @property
    def question(self) -> str:
        """The text of the last message of the user; empty if there is none."""
        return next((str(one.text) for one in reversed(self.messages) if isinstance(one, HumanMessage)), "")


class Speaker(ABC):
    """Answers chats."""

    @property
    def models(self) -> Sequence[Any]:
        """The models that it answers with, whose memory can be given back while nobody asks it."""
        return ()

    @abstractmethod
    def stream(self, call: ChatCall) -> AsyncIterator[Said]:
        """The answer as it comes; the last chunk tells usage and why it ended, as far as that is known.

        `additional_kwargs["annotations"]` of a chunk are OpenAI's annotations of the whole text.
        """

    async def answer(self, call: ChatCall) -> AIMessage:
        """The whole answer."""
        whole: AIMessageChunk | None = None
        async for said in self.stream(call):
            chunk = chunk_of(said)
            whole = chunk if whole is None else whole + chunk
        return whole if whole is not None else AIMessage("")

    def prompt_tokens(self, call: ChatCall) -> int | None:
        """How many tokens would be read; None where that is not known before."""
        return None


def chunk_of(said: Said) -> AIMessageChunk:
    """A piece as a chunk of langchain-core."""
    return AIMessageChunk(content=said) if isinstance(said, str) else said


def refuse_model_settings(call: ChatCall, what: str) -> None:
    """Refuse settings that apply only to a plain model.

    Raises:
        Unsupported: Tools, a form or log-probabilities are asked for.
    """
    asked = {"tools": call.tools, "response_format": call.form, "logprobs": call.logprobs is not None}
    for name, wanted in asked.items():
        if wanted:
            raise Unsupported(f"{what} take no {name}; ask the model itself")
