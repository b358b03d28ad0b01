"""JSON schemas of types, and the part of a schema that a model should write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

from chainkit.base.errors import ConstraintError

_VALUES = frozenset({"enum", "const", "default", "examples"})  # these hold values, not schemas
_BESIDE = ("allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "if", "not", "dependentSchemas", "unevaluatedProperties")
_WORDS = frozenset({"$ref", "title", "description", "default", "examples", "$defs", "definitions", "$schema"})
_BRANCHES = ("allOf", "if", "then", "else", "not", "dependentSchemas", "dependencies")
_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_ADDRESS = rf"{_OCTET}(\.{_OCTET}){{3}}"
_SECONDS = r"[0-9]{1,2}(\.[0-9]{1,6})?S"
_HOURS = rf"([0-9]{{1,2}}H([0-9]{{1,2}}M)?({_SECONDS})?|[0-9]{{1,2}}M({_SECONDS})?|{_SECONDS})"
_DURATION = f"-?P([0-9]{{1,5}}D(T{_HOURS})?|T{_HOURS})"
_WRITTEN: Mapping[str, str] = {
    # formats of pydantic that no grammar knows, as a narrower pattern that pydantic always reads
    "duration": f"^{_DURATION}$",
    "ipv4network": f"^{_ADDRESS}$",
    "ipv4interface": f"^{_ADDRESS}(/(3[0-2]|[12]?[0-9]))?$",
    "base64": "^([A-Za-z0-9+/]{4}){0,64}$",
    "base64url": "^([A-Za-z0-9_-]{4}){0,64}$",
}
_LIKE = {"ipv6network": "ipv6", "ipv6interface": "ipv6"}


def schema_of(schema: Any) -> dict[str, Any]:
    """The JSON schema of a type: a pydantic model, a TypedDict, a dataclass, any type pydantic knows.

    Raises:
        ConstraintError: The type has none.
    """
    if isinstance(schema, Mapping):
        return {str(key): value for key, value in schema.items()}
    from pydantic import PydanticUserError

    if not readable(schema):
        from langchain_core.utils.function_calling import convert_to_json_schema

        return convert_to_json_schema(schema)
    try:
        return adapter(schema).json_schema(schema_generator=_generator())
    except PydanticUserError as error:
        raise ConstraintError(f"{schema!r} has no JSON schema: {error.message}") from error


def readable(schema: Any) -> bool:
    """Whether pydantic 2 makes values of this type; not of models of pydantic 1, nor TypedDicts before Python 3.12."""
    from typing_extensions import is_typeddict

    old = isinstance(schema, type) and not hasattr(schema, "model_json_schema") and hasattr(schema, "__fields__")
    return not (isinstance(schema, Mapping) or old or is_typeddict(schema))


def adapter(schema: Any) -> Any:
    """What makes values of a type."""
    from pydantic import TypeAdapter

    return TypeAdapter(schema)


@cache
def _generator() -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Written(GenerateJsonSchema):
        """Schemas of what a model shall write, where pydantic would read more than one form."""

        def decimal_schema(self, schema: Any) -> dict[str, Any]:
            return _decimal(schema)

        def bytes_schema(self, schema: Any) -> dict[str, Any]:
            found = super().bytes_schema(schema)
            return {key: value for key, value in found.items() if value != "binary"}

        def timedelta_schema(self, schema: Any) -> dict[str, Any]:
            return {"type": "string", "pattern": f"^{_DURATION}$"}

    return Written


def _decimal(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A decimal as text with limited digits, or as a number between its bounds."""
    places, digits = schema.get("decimal_places"), schema.get("max_digits")
    bounds = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    limits = {name: float(schema[key]) for key, name in bounds.items() if schema.get(key) is not None}
    if limits or schema.get("multiple_of") is not None:
        step = schema.get("multiple_of") or (f"1e-{places}" if places is not None else None)
        return {"type": "number", **limits, **({"multipleOf": float(step)} if step else {})}
    whole = 18 if digits is None else max(1, digits - (places or 0))
    after = min(9 if places is None else places, 9 if digits is None else max(0, digits - 1))
    first = "0" if digits is not None and (places or 0) >= digits else f"(0|[1-9][0-9]{{0,{whole - 1}}})"
    return {"type": "string", "pattern": f"^-?{first}" + (f"(\\.[0-9]{{1,{after}}})?$" if after else "$")}


def plain(schema: Any) -> Any:
    """Replace pydantic-specific formats and key names in a schema by patterns."""
    if isinstance(schema, list):
        return [plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: value if key in _VALUES else plain(value) for key, value in schema.items()}
    names, form = schema.get("propertyNames"), schema.get("format")
    if isinstance(names, dict) and not {"properties", "patternProperties"} & set(schema):
        pattern = _pattern_of(names)
        if pattern is not None:
            result |= {"patternProperties": {pattern: result.pop("additionalProperties", {})}}
            result |= {"additionalProperties": False}
            del result["propertyNames"]
    if isinstance(form, str) and form in _WRITTEN and "pattern" not in schema:
        result["pattern"] = _WRITTEN[form]
        del result["format"]
    elif isinstance(form, str) and form in _LIKE:
        result["format"] = _LIKE[form]
    return result


def _pattern_of(names: Mapping[str, Any]) -> str | None:
    """The regular expression of keys; None if it takes more to describe them."""
    said = set(names) - _WORDS - {"type"}
    if said == {"pattern"}:
        return str(names["pattern"])
    listed = names.get("enum")
    if said == {"enum"} and isinstance(listed, list) and all(isinstance(one, str) for one in listed):
        return f"^({'|'.join(map(re.escape, listed))})$"
    return None


def closed(schema: Any) -> Any:
    """The schema with no room for keys that it does not name, unless it says itself what they may be.

    Objects that are put together of several schemas stay open, as closing one of them would shut out the others' keys.
    """
    open_: set[str] = set()
    for place, node in _nodes(schema, "#"):
        for part in _parts(node, place):
            _mark(part, schema, open_)
    return _closed(schema, open_, "#")


def resolved(reference: str, root: Any) -> Any:
    """The target of a reference inside a schema; None if it points elsewhere."""
    if not reference.startswith("#"):
        return None
    found = root
    for step in reference[1:].split("/")[1:]:
        step = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        elif isinstance(found, dict) and step in found:
            found = found[step]
        else:
            return None
    return found


def _closed(schema: Any, open_: set[str], place: str) -> Any:
    if isinstance(schema, list):
        return [_closed(item, open_, f"{place}/{number}") for number, item in enumerate(schema)]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: value if key in _VALUES else _closed(value, open_, f"{place}/{_step(key)}")
        for key, value in schema.items()
    }
    alone = place not in open_ and not any(key in schema for key in _BESIDE)
    if alone and isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        result["additionalProperties"] = False
    return result


def _nodes(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All dicts of a schema with their places."""
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from _nodes(item, f"{place}/{number}")
    elif isinstance(schema, dict):
        yield place, schema
        for key, value in schema.items():
            if key not in _VALUES:
                yield from _nodes(value, f"{place}/{_step(key)}")


def _parts(node: Mapping[str, Any], place: str) -> Iterator[str]:
    """The places of schemas that say only a part about the objects of a node."""
    beside = any(isinstance(node.get(key), dict | list) for key in ("properties", "allOf")) or "$ref" in node
    for key in _BRANCHES if not beside else (*_BRANCHES, "anyOf", "oneOf"):
        value = node.get(key)
        if isinstance(value, list):
            yield from (f"{place}/{key}/{number}" for number in range(len(value)))
        elif isinstance(value, dict):
            inner = value if key in ("dependentSchemas", "dependencies") else {"": value}
            yield from (f"{place}/{key}/{_step(name)}" if name else f"{place}/{key}" for name in inner)
    if isinstance(reference := node.get("$ref"), str) and set(node) - _WORDS:
        yield reference


def _mark(place: str, root: Any, open_: set[str]) -> None:
    """Note a place, and those that it refers to or chooses between, as open."""
    if place in open_:
        return
    open_.add(place)
    node = resolved(place, root)
    if not isinstance(node, dict):
        return
    if isinstance(reference := node.get("$ref"), str):
        _mark(reference, root, open_)
    for key in ("anyOf", "oneOf", "allOf"):
        for number in range(len(node[key]) if isinstance(node.get(key), list) else 0):
            _mark(f"{place}/{key}/{number}", root, open_)


def _step(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
