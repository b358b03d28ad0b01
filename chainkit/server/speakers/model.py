"""Chat models: local ones, which take all of a request into their tokens, and those of services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompt_values import ChatPromptValue

from chainkit.base.errors import Unsupported
from chainkit.local.chat import LocalChat
from chainkit.prompts.direct.chat import ChatStep
from chainkit.prompts.unobserved import unheard
from chainkit.server.speakers.call import ChatCall, Said, Speaker

_COMMON = ("temperature", "top_p", "max_tokens", "seed")
_LOCAL = frozenset((*_COMMON, "top_k", "min_p", "repeat_penalty"))
_NEUTRAL: Mapping[str, Any] = {"frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}}


class ModelSpeaker(Speaker):
    """Serves a chat model of langchain-core, with the settings that it supports.

    Args:
        model: The model.
    """

    def __init__(self, model: BaseChatModel) -> None:
        self.model = model

    @property
    def models(self) -> Sequence[Any]:
        """The model."""
        return [self.model]

    async def answer(self, call: ChatCall) -> AIMessage:
        """The whole answer, in one call of the model."""
        prompt, settings = ChatPromptValue(messages=list(call.messages)), self._settings(call)
        if (direct := self._direct(settings)) is not None:
            return await direct.ainvoke(prompt)
        return await self.model.ainvoke(prompt, **settings)

    async def stream(self, call: ChatCall) -> AsyncIterator[Said]:
        """The answer as it comes."""
        prompt, settings = ChatPromptValue(messages=list(call.messages)), self._settings(call)
        direct = self._direct(settings)
        pieces: Any = direct.astream(prompt) if direct is not None else self.model.astream(prompt, **settings)
        async with aclosing(pieces) as chunks:
            async for chunk in chunks:
                yield chunk

    def _direct(self, settings: Mapping[str, Any]) -> ChatStep | None:
        """The call without what langchain-core does for listeners; None if somebody might listen."""
        quiet = unheard(None)
        direct = ChatStep(self.model, quiet, settings) if quiet is not None else None
        return direct if direct is not None and direct.fits() else None

    def _settings(self, call: ChatCall) -> dict[str, Any]:
        """What the model is called with."""
        settings = {name: value for name, value in call.settings.items() if name != "stop"}
        settings = {name: value for name, value in settings.items() if value != _NEUTRAL.get(name, ...)}
        stop = call.settings.get("stop")
        return self._bound(call, settings) | ({"stop": stop} if stop else {})

    def _bound(self, call: ChatCall, settings: dict[str, Any]) -> dict[str, Any]:
        names = type(self.model).model_fields
        for name in settings.keys() - set(_COMMON):
            if name not in names:
                raise Unsupported(f"this model has no {name}; leave it out")
        if call.logprobs is not None:
            if not {"logprobs", "top_logprobs"} <= names.keys():
                raise Unsupported("this model tells no log-probabilities; leave logprobs out")
            settings |= {"logprobs": True, "top_logprobs": call.logprobs}
        if call.form is not None:
            if "response_format" not in names and not _speaks_openai(self.model):
                raise Unsupported("this model cannot be held to a form; ask for tools, or leave response_format out")
            settings["response_format"] = dict(call.form)
        return settings | self._tools(call)

    def _tools(self, call: ChatCall) -> dict[str, Any]:
        if not call.tools:
            return {}
        more = {} if call.parallel_calls is None else {"parallel_tool_calls": call.parallel_calls}
        choice = "any" if call.tool_choice == "required" else call.tool_choice
        try:
            bound: Any = self.model.bind_tools(list(call.tools), tool_choice=choice, **more)
        except NotImplementedError:
            raise Unsupported("this model calls no tools") from None
        return dict(bound.kwargs)


class LocalSpeaker(ModelSpeaker):
    """Serves a local model: response formats and tools become constraints on its text."""

    model: LocalChat

    async def stream(self, call: ChatCall) -> AsyncIterator[Said]:
        """The answer as it comes; where nobody can hear a callback, most of it as plain texts."""
        messages, settings = list(call.messages), self._settings(call)
        quiet = self._direct(settings) is not None and all(isinstance(one.content, str) for one in messages)
        if quiet and cast("Any", type(self.model))._astream is LocalChat._astream:  # pyright: ignore[reportPrivateUsage]
            pieces: Any = self.model.astream_plain(messages, **settings)
        else:
            pieces = super().stream(call)
        async with aclosing(pieces) as said:
            async for piece in said:
                yield piece

    def prompt_tokens(self, call: ChatCall) -> int | None:
        """How many tokens would be read; those of tools are not counted."""
        return self.model.get_num_tokens_from_messages(list(call.messages))

    def _bound(self, call: ChatCall, settings: dict[str, Any]) -> dict[str, Any]:
        for name in settings.keys() - _LOCAL:
            raise Unsupported(f"a local model has no {name}; it has repeat_penalty, top_k and min_p")
        if (seed := settings.get("seed")) is not None:
            settings["seed"] = abs(seed)
        if call.logprobs is not None:
            settings["logprobs"] = call.logprobs
        if call.form is not None:
            settings["response_format"] = dict(call.form)
        if call.tools:
            several = call.parallel_calls is not False
            settings |= {"tools": list(call.tools), "tool_choice": call.tool_choice, "parallel_tool_calls": several}
        return settings


def _speaks_openai(model: BaseChatModel) -> bool:
    return "frequency_penalty" in cast("Mapping[str, Any]", type(model).model_fields)
