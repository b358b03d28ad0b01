"""Prompt templates without their run manager."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import functools
from collections.abc import Mapping
from string import Formatter
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue, PromptValue, StringPromptValue
from langchain_core.prompts import BasePromptTemplate, ChatPromptTemplate, PromptTemplate
from langchain_core.prompts.chat import (
    AIMessagePromptTemplate,
    BaseChatPromptTemplate,
    HumanMessagePromptTemplate,
    SystemMessagePromptTemplate,
)
from langchain_core.runnables import RunnableConfig

from chainkit.prompts.direct.route import Direct, Kwargs, runs
from chainkit.prompts.stock import Stock

_ENTRANCES = Stock(
    BasePromptTemplate, "invoke", "ainvoke", "batch", "abatch", "stream", "astream", "transform", "atransform"
)
_CHECKS = (
    "_validate_input",
    "_merge_partial_and_user_variables",
    "format_prompt",
    "aformat_prompt",
    "_format_prompt_with_error_handling",
    "_aformat_prompt_with_error_handling",
)
_TEXT = Stock(PromptTemplate, "format", *_CHECKS)
_CHAT = Stock(ChatPromptTemplate, "format_messages", "aformat_messages", *_CHECKS)
# What `_msg_class` of each says; pydantic looks that up slowly. isinstance is slow with pydantic's classes too.
_SPEAKERS: dict[type, type[BaseMessage]] = {
    HumanMessagePromptTemplate: HumanMessage,
    SystemMessagePromptTemplate: SystemMessage,
    AIMessagePromptTemplate: AIMessage,
}


@runs(BasePromptTemplate)
class TemplateRoute(Direct):
    """Formatting, with the same complaints about the input."""

    buffers = True

    def open(self, step: Any) -> bool:
        """If the class did not change how a template is called."""
        return _ENTRANCES.kept_by(step)

    def slow(self, step: Any) -> bool:
        """Templates that pick examples may ask a service for them."""
        if isinstance(step, ChatPromptTemplate):
            return any(isinstance(part, BaseChatPromptTemplate) for part in step.messages)
        return not isinstance(step, PromptTemplate)

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> PromptValue:
        """The formatted prompt."""
        if (simple := _simply_formatted(step, value)) is not None:
            return simple
        return step._format_prompt_with_error_handling(value)

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> PromptValue:
        """The formatted prompt."""
        if (simple := _simply_formatted(step, value)) is not None:
            return simple
        return await step._aformat_prompt_with_error_handling(value)


def _simply_formatted(step: Any, value: Any) -> PromptValue | None:
    """The prompt, if every part of it is a text with names in braces; None otherwise.

    langchain-core takes such a text apart anew each time, which is most of the cost of a prompt.
    """
    kinds: tuple[type, ...] = type(step).__mro__
    if ChatPromptTemplate in kinds and _CHAT.kept_by(step):
        return _chat(step, step._validate_input(value))
    if PromptTemplate in kinds and _TEXT.kept_by(step):
        variables = step._validate_input(value)
        text = _filled(step, variables)
        return None if text is None else StringPromptValue(text=text)
    return None


def _chat(step: ChatPromptTemplate, variables: dict[str, Any]) -> PromptValue | None:
    if step.partial_variables:
        variables = step._merge_partial_and_user_variables(**variables)
    messages: list[BaseMessage] = []
    for part in step.messages:
        speaker = _SPEAKERS.get(type(part))
        message = _message(part, speaker, variables) if speaker else part if isinstance(part, BaseMessage) else None
        if message is None:
            return None
        messages.append(message)
    return ChatPromptValue(messages=messages)


def _message(part: Any, speaker: type[BaseMessage], variables: dict[str, Any]) -> BaseMessage | None:
    template: Any = part.prompt
    kind = cast("Any", type(template))
    if getattr(kind, "format", None) is not PromptTemplate.format:
        return None
    if (text := _filled(template, variables)) is None:
        return None
    more = part.additional_kwargs
    return speaker(content=text, additional_kwargs=more) if more else speaker(content=text)


def _filled(template: Any, variables: Mapping[str, Any]) -> str | None:
    if template.template_format != "f-string" or (parts := _parts(template.template)) is None:
        return None
    if template.partial_variables:
        variables = template._merge_partial_and_user_variables(**variables)
    try:
        return "".join([text if field is None else text + format(variables[field], "") for text, field in parts])
    except KeyError:
        return None  # langchain-core finds the words


@functools.lru_cache(maxsize=1024)
def _parts(template: str) -> tuple[tuple[str, str | None], ...] | None:
    """A template as pairs of text and the name that follows it; None if a field is more than a name."""
    try:
        fields = list(Formatter().parse(template))
    except ValueError:
        return None
    if any(
        field is not None and (spec or conversion or not field.isidentifier()) for _, field, spec, conversion in fields
    ):
        return None
    return tuple((text, field) for text, field, _, _ in fields)
