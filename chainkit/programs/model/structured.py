"""Forms of slots as services with structured output are asked for them: an object of a JSON schema."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chainkit.programs.model import forms
from chainkit.programs.model.protocol import Form, Slot

_MOST_STRICT = 500  # options; services hold a model strictly to few
# what regular expressions have in every language: no look-around, no names, no references, no classes of Unicode
_FOREIGN = re.compile(r"\(\?(?!:)|\\[1-9AbBGkpPzZ]|[+*?}]\+|\[\[:")


@dataclass(frozen=True)
class Asked:
    """The structured output requested from a service.

    Attributes:
        schema: As `with_structured_output` takes it.
        key: The property that holds the answer; None where the answer is the whole object.
        closed: Whether the schema has no free part, so that it can be held strictly.
    """

    schema: Any
    key: str | None = None
    closed: bool = False


def asked(model: Any, slot: Slot) -> Asked | None:
    """What the service of a chat model is asked for, or None where the answer can only be checked."""
    form = slot.form
    if form is None or not _structures(model):
        return None
    if form.schema is not None:
        return _schema(form.schema)
    if form.options:
        boolean = set(form.options) == {"true", "false"}
        part: dict[str, Any] = {"type": "boolean"} if boolean else {"type": "string", "enum": list(form.options)}
        return _boxed("choice", part, closed=len(form.options) <= _MOST_STRICT)
    if slot.logprobs is not None:  # they would be those of the JSON
        return None
    if kind := forms.number(form):
        return _boxed("answer", {"type": kind}, closed=True)
    if form.pattern and _strict(model) and not _FOREIGN.search(form.pattern):
        return _boxed("answer", {"type": "string", "pattern": f"^(?:{form.pattern})$"}, closed=True)
    return None


def bound(model: Any, wanted: Asked) -> Any:
    """The model, held to the schema: strictly, where it can be."""
    make = model.with_structured_output
    if not wanted.closed or "strict" not in inspect.signature(make).parameters or not _strict(model):
        return make(wanted.schema, include_raw=True)
    return make(wanted.schema, include_raw=True, strict=True)


def unboxed(wanted: Asked, form: Form, text: str) -> str:
    """The text of a slot out of an answer; the answer itself where it has another form."""
    if wanted.key is None:
        return text
    try:
        value = json.loads(text)[wanted.key]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    if isinstance(value, str) and form.schema is None:
        return value
    if forms.number(form) and isinstance(value, float):
        return _plain(value, whole=forms.number(form) == "integer")
    return json.dumps(value, ensure_ascii=False)


def _plain(value: float, *, whole: bool) -> str:
    """A number as the language writes it, without an exponent."""
    if whole and value.is_integer():
        return str(int(value))
    return f"{value:.17f}".rstrip("0").rstrip(".") if "e" in repr(value) else repr(value)


def _structures(model: Any) -> bool:
    from langchain_core.language_models import BaseChatModel

    if (getattr(model, "profile", None) or {}).get("structured_output") is False:
        return False
    names = ("with_structured_output", "bind_tools")
    return any(getattr(type(model), name) is not getattr(BaseChatModel, name) for name in names)


def _strict(model: Any) -> bool:
    """Whether the service holds to all of a schema, patterns included."""
    return bool(getattr(model, "holds_patterns", False))


def _schema(given: Any) -> Asked | None:
    if isinstance(given, type) and hasattr(given, "model_fields"):
        return Asked(given)
    schema = forms.json_schema(given)
    if schema.get("type") == "object":
        return Asked({"title": "Answer", "description": "The answer.", **schema})
    if any(not reference.startswith("#/$defs/") for reference in _references(schema)):
        return None  # it points into itself, and would have to stand alone
    definitions = schema.pop("$defs", None)
    found = _boxed("answer", schema)
    return found if definitions is None else Asked({**found.schema, "$defs": definitions}, found.key)


def _references(schema: Any) -> list[str]:
    if isinstance(schema, Mapping):
        own = [str(schema["$ref"])] if "$ref" in schema else []
        return own + [found for part in schema.values() for found in _references(part)]
    return [found for part in schema for found in _references(part)] if isinstance(schema, list) else []


def _boxed(key: str, part: Mapping[str, Any], *, closed: bool = False) -> Asked:
    """Wrap a schema in an object, because services accept only objects."""
    schema = {
        "title": key.capitalize(),
        "description": f"The {key}.",
        "type": "object",
        "properties": {key: dict(part)},
        "required": [key],
        "additionalProperties": False,
    }
    return Asked(schema, key, closed)
