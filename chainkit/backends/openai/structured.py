"""Answers in the form of a schema."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Literal, get_args

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_function, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from chainkit.base.errors import Refused

Method = Literal["json_schema", "function_calling", "json_mode"]
METHODS: tuple[Method, ...] = get_args(Method)
Schema = Mapping[str, Any] | type


class OpenSchema(ValueError):
    """A schema that strict mode cannot hold: it allows properties that it does not name."""


def response_format(schema: Schema, strict: bool | None) -> dict[str, Any]:
    """The demand for an answer in the form of a schema.

    Strict mode (the service then guarantees the form) is used for pydantic classes where their schema allows it,
    unless `strict` says otherwise.

    Raises:
        OpenSchema: `strict` is true and the schema allows properties that it does not name.
    """
    described = convert_to_openai_function(schema)
    form: dict[str, Any] = {"name": described["name"], "schema": described.get("parameters", {})}
    if described.get("description"):
        form["description"] = described["description"]
    if strict or (strict is None and _is_class(schema)):
        try:
            form = {**form, "schema": strict_schema(form["schema"]), "strict": True}
        except OpenSchema:
            if strict:
                raise
    return {"type": "json_schema", "json_schema": form}


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as strict mode wants it: every object closed, every property required, no defaults.

    >>> strict_schema({"type": "object", "properties": {"n": {"type": "integer", "default": 1}}})
    {'type': 'object', 'properties': {'n': {'type': 'integer'}}, 'additionalProperties': False, 'required': ['n']}
    """
    root = copy.deepcopy(dict(schema))
    return _strict(root, root)


def _strict(schema: dict[str, Any], root: Mapping[str, Any], inside: tuple[str, ...] = ()) -> dict[str, Any]:
    schema = {name: value for name, value in schema.items() if name not in {"default", "title"} or inside == ("names",)}
    if "$ref" in schema and len(schema) > 1:  # strict mode takes no word beside $ref, so its target is written out
        schema = {**_target(schema["$ref"], root), **{k: v for k, v in schema.items() if k != "$ref"}}
        return _strict(schema, root)
    if len(schema.get("allOf", ())) == 1:
        only = schema.pop("allOf")[0]
        return _strict({**only, **schema}, root)
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") not in (None, False) or "patternProperties" in schema:
            raise OpenSchema("a strict schema names every property; use strict=False for dicts with free keys")
        schema["additionalProperties"] = False
        schema["required"] = list(schema.get("properties", {}))
    for name in ("properties", "$defs", "definitions"):
        if name in schema:
            schema[name] = {key: _strict(part, root) for key, part in schema[name].items()}
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if name in schema:
            schema[name] = [_strict(part, root) for part in schema[name]]
    if isinstance(schema.get("items"), dict):
        schema["items"] = _strict(schema["items"], root)
    return schema


def _target(reference: str, root: Mapping[str, Any]) -> dict[str, Any]:
    place: Any = root
    for step in reference.removeprefix("#/").split("/"):
        place = place[step]
    return dict(place)


def bound(schema: Schema, method: Method, strict: bool | None) -> dict[str, Any]:
    """What a model is bound to, so that it answers in the form of the schema."""
    noted = {"ls_structured_output_format": {"kwargs": {"method": method, "strict": strict}, "schema": _noted(schema)}}
    if method == "json_schema":
        return {"response_format": response_format(schema, strict), **noted}
    return {"response_format": {"type": "json_object"}, **noted}


def parser(schema: Schema, method: Method) -> Runnable[Any, Any]:
    """What reads the answer: an object of a pydantic class, or a dict."""
    if method == "function_calling":
        if _is_class(schema):
            return _AnswerOfTool(tools=[schema], first_tool_only=True)  # pyright: ignore[reportArgumentType]
        return _DictOfTool(key_name=tool_name(schema), first_tool_only=True)
    return _AnswerOfClass(pydantic_object=schema) if _is_class(schema) else _AnswerOfDict()


def tool_name(schema: Schema) -> str:
    """What the schema is called as a tool."""
    return convert_to_openai_tool(schema)["function"]["name"]


def with_raw(model: Runnable[Any, Any], reader: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A dict of the message, what was read from it, and the error if it could not be read."""
    read = RunnablePassthrough.assign(parsed=itemgetter("raw") | reader, parsing_error=lambda _: None)
    unread = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | read.with_fallbacks([unread], exception_key="parsing_error")


class _Whole:
    """Refuses an answer that the model declined or could not finish, and reads the end of a stream as the whole."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        message = getattr(result[0], "message", None)
        partial = partial and getattr(message, "chunk_position", None) != "last"
        if isinstance(message, AIMessage) and not partial:
            _check_whole(message)
        try:
            parsed = super().parse_result(result, partial=partial)  # pyright: ignore[reportAttributeAccessIssue]
        except RecursionError:
            raise OutputParserException("the answer is nested too deeply to be read as JSON") from None
        if parsed is None and not partial:
            text = message.text if isinstance(message, AIMessage) else ""
            raise OutputParserException("the model did not make the call that holds the answer", llm_output=text)
        return parsed


class _AnswerOfClass(_Whole, PydanticOutputParser[Any]):
    pass


class _AnswerOfDict(_Whole, JsonOutputParser):
    pass


class _AnswerOfTool(_Whole, PydanticToolsParser):
    pass


class _DictOfTool(_Whole, JsonOutputKeyToolsParser):
    pass


def _check_whole(message: AIMessage) -> None:
    if refusal := message.additional_kwargs.get("refusal") or _refusal(message):
        raise Refused(f"the model declined: {refusal}", provider=message.response_metadata.get("model_provider", ""))
    if message.response_metadata.get("finish_reason") == "length":
        told = "the answer was cut at the limit of tokens before its form was complete; raise max_tokens"
        raise OutputParserException(told, llm_output=message.text)


def _refusal(message: AIMessage) -> str:
    """A refusal that stands in a block, as the Responses API has it."""
    blocks = [] if isinstance(message.content, str) else message.content
    return "".join(str(block.get("refusal", "")) for block in blocks if isinstance(block, dict))


def _is_class(schema: Schema) -> bool:
    return isinstance(schema, type) and is_basemodel_subclass(schema)


def _noted(schema: Schema) -> Any:
    return convert_to_openai_tool(schema)
