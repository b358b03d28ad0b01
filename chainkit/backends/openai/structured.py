"""Answers in the form of a schema."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, get_args

from langchain_core.utils.function_calling import convert_to_openai_function, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from chainkit.decoding.answers import FormParser

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


def parser(schema: Schema, method: Method) -> FormParser:
    """What reads the answer: an object of a pydantic class, or a dict."""
    return FormParser(form=schema, call=tool_name(schema) if method == "function_calling" else None)


def tool_name(schema: Schema) -> str:
    """What the schema is called as a tool."""
    return convert_to_openai_tool(schema)["function"]["name"]


def _is_class(schema: Schema) -> bool:
    return isinstance(schema, type) and is_basemodel_subclass(schema)


def _noted(schema: Schema) -> Any:
    return convert_to_openai_tool(schema)
