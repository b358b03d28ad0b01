"""What a service with structured output is asked for, and what is made of its answer."""

from __future__ import annotations

from typing import Any

import pytest

from chainkit.backends.fake import FakeChat
from chainkit.backends.openai.chat import OpenAIChat
from chainkit.programs.model.forms import taken, wanted
from chainkit.programs.model.protocol import Form, Slot
from chainkit.programs.model.structured import Asked, asked, unboxed

STRICT = OpenAIChat(model="m", api_key="k")
WHOLE, EXACT = wanted({"type": int}).form, wanted({"type": float}).form


def part(found: Asked | None) -> Any:
    assert found is not None
    assert found.key is not None
    assert found.schema["required"] == [found.key]
    assert found.schema["additionalProperties"] is False
    return found.schema["properties"][found.key]


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        (Form(options=("red", "green")), {"type": "string", "enum": ["red", "green"]}),
        (Form(options=("true", "false")), {"type": "boolean"}),
        (WHOLE, {"type": "integer"}),
        (EXACT, {"type": "number"}),
        (Form(pattern="[a-z]+|x{2}"), {"type": "string", "pattern": "^(?:[a-z]+|x{2})$"}),
    ],
)
def test_a_form_is_asked_for_inside_of_an_object(form: Form, schema: dict[str, Any]) -> None:
    found = asked(STRICT, Slot(form=form))
    assert part(found) == schema
    assert found is not None
    assert found.closed


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"(?P<n>a)", r"(a)\1", r"\bword", r"\p{L}", "a++", "[[:alpha:]]"])
def test_a_pattern_that_other_engines_read_otherwise_is_only_checked(pattern: str) -> None:
    assert asked(STRICT, Slot(form=Form(pattern=pattern))) is None


def test_a_service_that_holds_no_patterns_or_no_form_at_all_is_not_asked_for_them() -> None:
    slot = Slot(form=Form(pattern="a"))
    assert asked(OpenAIChat(model="m", api_key="k", base_url="http://127.0.0.1:9/v1", service="groq"), slot) is None
    assert asked(FakeChat(), Slot(form=Form(options=("a", "b")))) is None
    refusing = OpenAIChat(model="m", api_key="k", profile={"structured_output": False})
    assert asked(refusing, Slot(form=Form(options=("a", "b")))) is None


def test_the_log_probabilities_of_a_number_are_not_those_of_its_json() -> None:
    assert asked(STRICT, Slot(form=WHOLE, logprobs=0)) is None


def test_definitions_of_a_schema_that_is_no_object_stand_at_the_top() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/N"}, "$defs": {"N": {"type": "integer"}}}
    found = asked(STRICT, Slot(form=Form(schema=schema)))
    assert part(found) == {"type": "array", "items": {"$ref": "#/$defs/N"}}
    assert found is not None
    assert found.schema["$defs"] == {"N": {"type": "integer"}}
    pointing = {"type": "array", "items": {"$ref": "#"}}
    assert asked(STRICT, Slot(form=Form(schema=pointing))) is None


@pytest.mark.parametrize(
    ("form", "key", "text", "slot"),
    [
        (Form(options=("a", "b")), "choice", '{"choice": "b"}', "b"),
        (Form(options=("true", "false")), "choice", '{"choice": true}', "true"),
        (WHOLE, "answer", '{"answer": 7.0}', "7"),
        (EXACT, "answer", '{"answer": 1e-7}', "0.0000001"),
        (EXACT, "answer", '{"answer": 0.5}', "0.5"),
        (Form(pattern="é"), "answer", '{"answer": "é"}', "é"),
        (Form(schema={"type": "array"}), "answer", '{"answer": ["é"]}', '["é"]'),
        (Form(schema={"type": "string"}), "answer", '{"answer": "a"}', '"a"'),
        (Form(schema={"type": "object"}), None, '{"a": 1}', '{"a": 1}'),
        (WHOLE, "answer", "seven", "seven"),
        (WHOLE, "answer", "[7]", "[7]"),
    ],
)
def test_an_answer_is_taken_out_of_its_object(form: Form, key: str | None, text: str, slot: str) -> None:
    assert unboxed(Asked({}, key), form, text) == slot


ANSWERS: dict[str, tuple[Any, str, str | None]] = {
    "a plain number": ({"type": int}, "42", "42"),
    "a number in bold": ({"type": int}, "**42**.", "42"),
    "a number with a comma": ({"type": int}, "1,234", None),
    "a number with a space": ({"type": int}, "12 345", None),
    "a number and a word": ({"type": int}, "42 years", None),
    "23 digits": ({"type": int}, "12345678901234567890123", "12345678901234567890123"),
    "an exponent": ({"type": float}, "1e5", "1e5"),
    "infinitely much": ({"type": float}, "1e999", None),
    "an option": ({"options": ["yes", "no"]}, "No.", "no"),
    "a word that begins as an option": ({"options": ["yes", "no"]}, "nobody knows", None),
    "a sentence that begins with an option": ({"options": ["yes", "no"]}, "no, it is not", None),
    "a pattern": ({"pattern": "[a-c]+"}, " abc ", "abc"),
    "more than a pattern": ({"pattern": "[a-c]+"}, "abcd", None),
    "JSON below its minimum": ({"schema": {"type": "object", "properties": {"a": {"minimum": 3}}}}, '{"a": 2}', None),
    "JSON with two alike": ({"schema": {"type": "array", "uniqueItems": True}}, "[1, 1]", None),
    "JSON in a fence": ({"schema": {"type": "array", "uniqueItems": True}}, "```json\n[1, 2]\n```", "[1, 2]"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_counts_as_a_whole_or_not_at_all(kind: str) -> None:
    given, answer, text = ANSWERS[kind]
    form = wanted(given).form
    assert form is not None
    assert taken(form, answer) == text


@pytest.mark.parametrize(
    ("answer", "text"), [("42\nThen", "42"), ("1,234 and", None), ("12 345", None), ("1.5x", None)]
)
def test_a_text_that_goes_on_may_have_more_behind_a_number_but_no_digits(answer: str, text: str | None) -> None:
    form = wanted({"type": int}).form
    assert form is not None
    assert taken(form, answer, goes_on=True) == text
