"""What text is allowed next: regular expressions, choices, JSON schemas and grammars, all as llguidance grammars."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainkit.base.errors import ConstraintError, MissingLibrary

try:
    from llguidance import LLMatcher, regex_to_lark
except ImportError as error:
    raise MissingLibrary("llguidance", extra="gguf") from error


_VALUES = frozenset({"enum", "const", "default", "examples"})  # these hold values, not schemas


@dataclass(frozen=True)
class Constraint:
    """A set of texts.

    Attributes:
        grammar: It as an llguidance grammar.
        name: It in words, for messages.
    """

    grammar: str
    name: str

    def __post_init__(self) -> None:
        fault = LLMatcher.validate_grammar(self.grammar)
        if fault:
            raise ConstraintError(f"{self.name} cannot be followed: {fault.strip()[:500]}")

    def __repr__(self) -> str:
        return f"Constraint({self.name})"


def regex(pattern: str) -> Constraint:
    r"""Texts that match a regular expression as a whole, in the syntax of Rust: no look-around, no back-references.

    `\d`, `\w` and `\s` mean ASCII only; write `\p{Nd}` for the digits of all scripts.
    """
    body = regex_to_lark(pattern, use_ascii="dws")
    grammar = LLMatcher.grammar_from_lark(f"start: TEXT\nTEXT: /{body}/\n")
    return Constraint(grammar, f"the regular expression {pattern!r}")


def choices(options: Sequence[str]) -> Constraint:
    """One of these texts."""
    if not options or not all(isinstance(option, str) and option for option in options):
        raise ConstraintError("a choice needs at least one option, and no option may be empty")
    body = " | ".join(json.dumps(option, ensure_ascii=False) for option in options)
    return Constraint(LLMatcher.grammar_from_lark(f"start: {body}\n"), f"a choice of {len(options)}")


def lark(grammar: str) -> Constraint:
    """Texts of a grammar in Lark's syntax, beginning at the rule `start`."""
    return Constraint(LLMatcher.grammar_from_lark(grammar), "the grammar")


def json_schema(schema: Any) -> Constraint:
    """JSON of a schema: a pydantic model, a TypedDict, a dataclass, any type pydantic knows, or a schema as a dict.

    The JSON is written without optional white space, and objects have no other keys than their schema names.
    """
    plain = closed(schema_of(schema))
    return Constraint(_json_grammar(plain), f"the JSON schema {plain.get('title', '')!r}")


def any_json_object() -> Constraint:
    """Any JSON object."""
    return Constraint(_json_grammar({"type": "object"}), "a JSON object")


def schema_of(schema: Any) -> dict[str, Any]:
    """The JSON schema of a type."""
    if isinstance(schema, Mapping):
        return {str(key): value for key, value in schema.items()}
    from pydantic import PydanticUserError, TypeAdapter
    from typing_extensions import is_typeddict

    old = isinstance(schema, type) and not hasattr(schema, "model_json_schema") and hasattr(schema, "__fields__")
    if old or is_typeddict(schema):  # pydantic 2 refuses models of pydantic 1, and TypedDicts before Python 3.12
        from langchain_core.utils.function_calling import convert_to_json_schema

        return convert_to_json_schema(schema)
    try:
        return TypeAdapter(schema).json_schema()
    except PydanticUserError as error:
        raise ConstraintError(f"{schema!r} has no JSON schema: {error.message}") from error


def closed(schema: Any) -> Any:
    """The schema with no room for keys that it does not name, unless it says itself what they may be."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: value if key in _VALUES else closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        result["additionalProperties"] = False
    return result


def _json_grammar(schema: dict[str, Any]) -> str:
    try:
        # with flexible white space a model can write spaces for ever
        return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_flexible": False})
    except (ValueError, TypeError) as error:
        raise ConstraintError(f"the JSON schema cannot be followed: {error}") from error
