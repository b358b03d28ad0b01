"""Stand-ins for tests: models that say what the test wrote down."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    GenerationChunk,
    LLMResult,
)
from pydantic import ConfigDict, PrivateAttr

from chainkit.backends.fake import cut, pieces, token_ids, usage
from chainkit.base.errors import ChainkitError

Outputs: TypeAlias = str | Sequence[str] | Mapping[str, str | Sequence[str]]


class ScriptEnded(ChainkitError):
    """A scripted model was asked more often, or something else, than its script has answers for."""


class Script:
    """Answers in the order in which a test wrote them; safe to use from several threads.

    A string is the answer each time. A sequence is taken in turn. In a mapping the longest key that the prompt
    ends with chooses the answer, and a sequence there is taken in turn.

    >>> script = Script({"red?": "yes", "blue?": ["no", "maybe"]})
    >>> script.answer("Is it blue?"), script.answer("Is it red?"), script.answer("Is it blue?")
    ('no', 'yes', 'maybe')
    """

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._taken: dict[str, int] = {}
        self._lock = threading.Lock()

    def answer(self, prompt: str) -> str:
        """The next answer to this prompt.

        Raises:
            ScriptEnded: There is none.
        """
        key, outputs = self._chosen(prompt)
        if isinstance(outputs, str):
            return outputs
        with self._lock:
            turn = self._taken.get(key, 0)
            self._taken[key] = turn + 1
        if turn >= len(outputs):
            raise ScriptEnded(
                f"the script has {len(outputs)} answers and was asked for one more, after: {_end(prompt)}"
            )
        return outputs[turn]

    def _chosen(self, prompt: str) -> tuple[str, str | Sequence[str]]:
        if not isinstance(self._outputs, Mapping):
            return "", self._outputs
        keys = [key for key in self._outputs if prompt.endswith(key)]
        if not keys:
            raise ScriptEnded(f"the script has no answer for a prompt that ends with: {_end(prompt)}")
        longest = max(keys, key=len)
        return longest, self._outputs[longest]


class Scripted(BaseLLM):
    """A language model that follows a script and remembers what it was asked.

    Settings of a call, such as a temperature, are accepted and have no effect.

    Attributes:
        outputs: What it says; see `Script`.
        prompts: Every prompt so far.

    >>> model = Scripted(["first", "second"])
    >>> model.invoke("a"), model.invoke("b"), model.prompts
    ('first', 'second', ['a', 'b'])
    """

    model_config = ConfigDict(extra="forbid")

    outputs: Any
    prompts: list[str] = []
    _script: Script = PrivateAttr()

    def __init__(self, outputs: Outputs, **settings: Any) -> None:
        fields: dict[str, Any] = {**settings, "outputs": outputs}
        super().__init__(**fields)
        self._script = Script(outputs)

    @property
    def _llm_type(self) -> str:
        return "chainkit-scripted"

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        return LLMResult(generations=[[Generation(text=self._next(prompt, stop))] for prompt in prompts])

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        for piece in pieces(self._next(prompt, stop)) or [""]:
            chunk = GenerationChunk(text=piece)
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        return self._generate(prompts, stop, **kwargs)  # nothing to wait for

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        for chunk in self._stream(prompt, stop, **kwargs):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def get_token_ids(self, text: str) -> list[int]:
        """One number for each word."""
        return token_ids(text)

    def _next(self, prompt: str, stop: Sequence[str] | None) -> str:
        self.prompts.append(prompt)
        return cut(self._script.answer(prompt), stop)[0]


class ScriptedChat(BaseChatModel):
    """A chat model that follows a script; a mapping's keys are ends of the last message.

    Attributes:
        outputs: What it says; see `Script`.
        conversations: The messages of every call so far.

    >>> ScriptedChat({"Ping": "Pong"}).invoke("Ping").content
    'Pong'
    """

    model_config = ConfigDict(extra="forbid")

    outputs: Any
    conversations: list[list[BaseMessage]] = []
    _script: Script = PrivateAttr()

    def __init__(self, outputs: Outputs, **settings: Any) -> None:
        fields: dict[str, Any] = {**settings, "outputs": outputs}
        super().__init__(**fields)
        self._script = Script(outputs)

    @property
    def _llm_type(self) -> str:
        return "chainkit-scripted-chat"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = self._next(messages, stop)
        message = AIMessage(content=text, usage_metadata=usage(messages, text), response_metadata=_METADATA)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        text = self._next(messages, stop)
        for piece in pieces(text):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
        last = AIMessageChunk(
            content="", usage_metadata=usage(messages, text), response_metadata=_METADATA, chunk_position="last"
        )
        yield ChatGenerationChunk(message=last)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, **kwargs)  # nothing to wait for

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, stop, **kwargs):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def get_token_ids(self, text: str) -> list[int]:
        """One number for each word."""
        return token_ids(text)

    def _next(self, messages: list[BaseMessage], stop: Sequence[str] | None) -> str:
        self.conversations.append(list(messages))
        return cut(self._script.answer(str(messages[-1].text) if messages else ""), stop)[0]


_METADATA = {"model_name": "scripted", "model_provider": "chainkit", "finish_reason": "stop"}


def _end(prompt: str) -> str:
    return repr(prompt[-60:])
