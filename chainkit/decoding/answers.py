"""Answers in the form of a schema: read whole or not at all, with the true reason."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers.transform import BaseCumulativeTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_function
from langchain_core.utils.json import parse_json_markdown
from langchain_core.utils.pydantic import is_basemodel_subclass

from chainkit.base.errors import Refused
from chainkit.decoding.schemas import readable
from chainkit.decoding.validation import Validator

_FENCED = re.compile(r"\A```[a-zA-Z]*\s*\n(.*)\n\s*```\Z", re.DOTALL)


class NotOfForm(OutputParserException):
    """An answer is whole, but not of the form that was asked for."""


class FormParser(BaseCumulativeTransformOutputParser[Any]):
    """Reads an answer: an object of a pydantic class, or else a dict.

    A stream of a dict shows what there is of it; its last item is the whole, or an error. Of a class only the whole is
    shown.

    Attributes:
        form: A pydantic class, a TypedDict or a JSON schema; None is any JSON object.
        call: The tool whose arguments are the answer; None if the text is.
    """

    form: Any = None
    call: str | None = None

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """The object, or None while it is on its way.

        Raises:
            Refused: The model declined.
            OutputParserException: The answer was cut, or is not of the form.
        """
        generation = result[0]
        message = generation.message if isinstance(generation, ChatGeneration) else AIMessage(generation.text)
        if partial and getattr(message, "chunk_position", None) != "last":
            return None if _is_class(self.form) else self._so_far(message)
        require_whole(message)
        text = message.text if self.call is None else self._arguments(message)
        return made(self.form, text)

    def parse(self, text: str) -> Any:
        """The object of a text."""
        return self.parse_result([Generation(text=text)])

    def _diff(self, prev: Any, next: Any) -> Any:  # noqa: A002 - langchain-core's name
        raise NotImplementedError

    def _so_far(self, message: BaseMessage) -> Any:
        if self.call is not None:
            calls = message.tool_calls if isinstance(message, AIMessage) else []
            return next((call["args"] for call in calls if call["name"] == self.call), None)
        try:
            found = parse_json_markdown(message.text.strip())
        except ValueError:
            return None
        return found if isinstance(found, dict | list) else None

    def _arguments(self, message: BaseMessage) -> str:
        assert isinstance(message, AIMessage)
        found = next((call for call in message.tool_calls if call["name"] == self.call), None)
        if found is not None:
            return json.dumps(found["args"])
        for call in message.invalid_tool_calls:
            raise OutputParserException(f"the call that holds the answer cannot be read: {call['error']}")
        raise OutputParserException("the model did not make the call that holds the answer", llm_output=message.text)


def made(form: Any, text: str) -> Any:
    """The object that a JSON text describes.

    Args:
        form: A pydantic class, a TypedDict or a JSON schema; None is any JSON object.
        text: JSON, perhaps in a fenced block.

    Raises:
        OutputParserException: It is not JSON, or not of the form.
    """
    fenced = _FENCED.match(text.strip())
    text = fenced[1] if fenced else text.strip()
    fault = Validator.of(json_form(form)).fault_of_text(text)
    if fault is not None:
        raise NotOfForm(f"the answer is not of the form that was asked for: {fault}", llm_output=text)
    if not _is_class(form):
        return json.loads(text)
    return form.model_validate_json(text) if readable(form) else form.parse_obj(json.loads(text))


def json_form(form: Any) -> Any:
    """What a value of a form must be, where the form may be a description of a tool too."""
    if form is None:
        return {"type": "object"}
    if (
        isinstance(form, Mapping)
        and "properties" not in form
        and {"parameters", "input_schema", "function"} & set(form)
    ):
        return convert_to_openai_function(form).get("parameters", {"type": "object"})
    return form


def with_raw(model: Runnable[Any, Any], reader: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A dict of the message, the parsed value, and the error if it could not be parsed."""
    read = RunnablePassthrough.assign(parsed=itemgetter("raw") | reader, parsing_error=lambda _: None)
    unread = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | read.with_fallbacks([unread], exception_key="parsing_error")


def require_whole(message: BaseMessage) -> None:
    """Refuse an answer that the model declined or could not finish.

    Raises:
        Refused: It declined.
        OutputParserException: It was cut.
    """
    metadata = message.response_metadata
    if refusal := message.additional_kwargs.get("refusal") or _refusal(message):
        raise Refused(f"the model declined: {refusal}", provider=metadata.get("model_provider", ""))
    if metadata.get("finish_reason") == "length":
        limit = metadata.get("finish_detail") or "the limit of tokens is reached"
        reason = f"the answer was cut before its form was complete: {limit}; raise max_tokens"
        raise OutputParserException(reason, llm_output=message.text)
    if metadata.get("finish_reason") == "content_filter":
        raise Refused("the service filtered the answer", provider=metadata.get("model_provider", ""))


def _refusal(message: BaseMessage) -> str:
    """A refusal in a content block, as in the Responses API."""
    blocks = [] if isinstance(message.content, str) else message.content
    return "".join(str(block.get("refusal", "")) for block in blocks if isinstance(block, dict))


def _is_class(form: Any) -> bool:
    return isinstance(form, type) and is_basemodel_subclass(form)
