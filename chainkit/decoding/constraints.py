"""Constraints on text: regular expressions, choices, JSON schemas and grammars, all as llguidance grammars."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chainkit.base.errors import ConstraintError, MissingLibrary
from chainkit.decoding.schemas import closed, plain, schema_of
from chainkit.decoding.validation import Validator

try:
    from llguidance import LLMatcher, regex_to_lark
except ImportError as error:
    raise MissingLibrary("llguidance", extra="gguf") from error

WHITESPACE = r"(\n[ ]{0,12}|[ ])?"
"""White space allowed between the parts of JSON: nothing, a space, or a line break and its indentation."""

SPACE = "[ ]?"
"""The same for calls of tools and structured answers, which programs read: a small model fills lists better so."""

_OBJECT_HINT, _LIST_HINT = "Answer in JSON.", "Answer with a short JSON list."
_HOLDER_HINT = "Answer in JSON with a short list."


@dataclass(frozen=True)
class Constraint:
    """The set of texts that a generation may produce.

    Attributes:
        grammar: The set as an llguidance grammar.
        name: A description for messages.
        check: Checks beyond the grammar; the text is then shown only when it is complete.
        hint: Instructions for a chat model, put at the end of the question. In a list of such an answer a text that
            stands there already is replaced, unless the question has it.
        repeats: Whether lists in such an answer may hold any text more than once.
        closes: Near a token limit, close open strings and brackets of JSON, so that it is complete if there is room.
    """

    grammar: str
    name: str
    check: Validator | None = field(default=None, compare=False)
    hint: str = ""
    repeats: bool = False
    closes: bool = False

    def __post_init__(self) -> None:
        fault = LLMatcher.validate_grammar(self.grammar)
        if fault:
            raise ConstraintError(f"{self.name} cannot be followed: {fault.strip()[:500]}")

    @property
    def digest(self) -> str:
        """Hash that identifies the constraint in cache keys."""
        said = self.grammar if self.check is None else f"{self.grammar}{self.check.text}{self.check.source!r}"
        said += self.hint + "repeats" * self.repeats + "closes" * self.closes
        return hashlib.sha256(said.encode()).hexdigest()[:32]

    def __repr__(self) -> str:
        return f"Constraint({self.name}, {self.digest})"  # langchain-core's caches take it as a part of their keys


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


def json_schema(schema: Any, *, other_keys: bool | None = None, whitespace: str = WHITESPACE) -> Constraint:
    """JSON of a schema: a pydantic model, a TypedDict, a dataclass, any type pydantic knows, or a schema as a dict.

    What a grammar can say holds for each token. The rest (`not`, `uniqueItems`, `if`, `dependencies`, exactly one of
    `oneOf`, validators of pydantic) is checked whenever a key or value is whole; where it fails, the text goes back to
    that place and on in another way. Unknown formats are annotations, as JSON Schema has it.

    Args:
        schema: The schema of the text.
        other_keys: Whether objects may have keys that the schema does not name and does not forbid. None says yes for
            a dict, which is then followed exactly, and no for a type.
        whitespace: A regular expression for the white space between the parts.

    Raises:
        ConstraintError: It is not a JSON schema, or no value can be of it.
    """
    validator = Validator.of(schema)
    given = plain(schema_of(schema))
    name = f"the JSON schema {given.get('title', '')!r}"
    whole = validator.source is None if other_keys is None else other_keys
    wanted = given if whole else closed(given)
    exact = _json_grammar(wanted, whitespace)
    if not LLMatcher.validate_grammar(exact):
        return Constraint(exact, name, validator if _said_elsewhere(validator) else None)
    if validator.impossible:
        raise ConstraintError(f"{name} cannot be followed: no value satisfies it")
    if not whole:
        for one in (wanted, given):
            wide = _json_grammar(one, whitespace, lenient=True, coerce_one_of=True)
            if not LLMatcher.validate_grammar(wide):
                return Constraint(wide, name, validator)
    from chainkit.decoding.loose import loose_grammar

    return Constraint(LLMatcher.grammar_from_lark(loose_grammar(wanted, whitespace)), name, validator)


def answer_form(schema: Any) -> Constraint:
    """What a chat model writes that is asked for an answer of a schema; None is any JSON object.

    Objects have no other keys, and the form is described to the model in words: without an example, since small models
    repeat examples. Lists may hold a text more than once where the schema says `"uniqueItems": false` anywhere.

    Raises:
        ConstraintError: It is not a JSON schema, or no value can be of it.
    """
    if schema is None:
        return replace(any_json_object(), hint=_OBJECT_HINT)
    given = schema_of(schema)
    constraint = json_schema(schema, other_keys=False, whitespace=SPACE)
    text = json.dumps(given)
    inner = _HOLDER_HINT if '"type": "array"' in text else _OBJECT_HINT
    hint = _LIST_HINT if given.get("type") == "array" else inner
    return replace(constraint, hint=hint, repeats='"uniqueItems": false' in text)


def response_form(form: Mapping[str, Any] | None) -> Constraint | None:
    """The form of an answer in OpenAI's words, as agents bind it: `{"type": "json_schema", "json_schema": ...}`.

    Args:
        form: OpenAI's `response_format`; None, and type "text", leave the answer free.

    Raises:
        ConstraintError: It is none, or its schema cannot be followed.
    """
    kind = None if form is None else form.get("type")
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        return answer_form(None)
    described = form.get("json_schema")
    if kind != "json_schema" or not isinstance(described, Mapping) or "schema" not in described:
        said = 'response_format is {"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}'
        raise ConstraintError(f'{said}, {{"type": "json_object"}} or {{"type": "text"}}')
    return answer_form(described["schema"])


def rule_of(form: Constraint) -> str:
    """The right side of a rule of Lark for the form of an answer, to stand beside others.

    Raises:
        ConstraintError: A grammar alone cannot say all of the form.
    """
    if form.check is not None:
        raise ConstraintError(
            f"beside tools, {form.name} cannot be followed: it says what no grammar can (a format, not, uniqueItems, "
            "if); take that out, or ask for the answer by a tool"
        )
    return "%json " + json.dumps(json.loads(form.grammar)["grammars"][0]["json_schema"])


def any_json_object() -> Constraint:
    """Any JSON object; it is whole where a limit ends it too, if there was room for an end."""
    return Constraint(_json_grammar({"type": "object"}, WHITESPACE), "a JSON object", closes=True)


def _said_elsewhere(validator: Validator) -> bool:
    """Whether a grammar that says all of the schema may still be too wide: for formats, and functions of a type."""
    return '"format"' in validator.text or validator.typed_further


def _json_grammar(schema: dict[str, Any], whitespace: str, **options: bool) -> str:
    # with flexible white space a model can write spaces for ever
    overrides: Any = {"whitespace_pattern": whitespace, **options}
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=overrides)
