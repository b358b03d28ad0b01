"""Stand-ins for tests: models that say what the test wrote down."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from langchain_core.messages import BaseMessage
from pydantic import ConfigDict, PrivateAttr

from chainkit.backends.fake import SpokenChat, SpokenLLM, cut
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

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which get a lock of their own."""
        with self._lock:
            return {"_outputs": self._outputs, "_taken": dict(self._taken)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

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


class Scripted(SpokenLLM):
    """A language model that follows a script and records its prompts.

    Settings of a call, such as a temperature, are accepted and have no effect.

    Attributes:
        outputs: Its replies; see `Script`.
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

    def said(self, prompt: str, stop: Sequence[str] | None, settings: Mapping[str, Any]) -> tuple[str, str]:
        """What the script says next, up to the first stop text."""
        self.prompts.append(prompt)
        return cut(self._script.answer(prompt), stop)


class ScriptedChat(SpokenChat):
    """A chat model that follows a script; a mapping's keys are ends of the last message.

    Attributes:
        outputs: Its replies; see `Script`.
        conversations: The messages of every call so far.

    >>> ScriptedChat({"Ping": "Pong"}).invoke("Ping").content
    'Pong'
    """

    model_config = ConfigDict(extra="forbid")

    told_name: ClassVar[str] = "scripted"

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

    def said(
        self, messages: list[BaseMessage], stop: Sequence[str] | None, settings: Mapping[str, Any]
    ) -> tuple[str, str]:
        """What the script says next, up to the first stop text."""
        self.conversations.append(list(messages))
        return cut(self._script.answer(str(messages[-1].text) if messages else ""), stop)


def _end(prompt: str) -> str:
    return repr(prompt[-60:])
