"""Schemas that no grammar can say: what is written is of the schema, or the error says what was not met."""

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import jsonschema
import llguidance
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, AnyUrl, BaseModel, Field, TypeAdapter, model_validator

from chainkit.base.errors import ConstraintError, ConstraintNotMet
from chainkit.base.generation import GenerationRequest
from chainkit.decoding import constraints
from chainkit.decoding.guide import Guide
from chainkit.decoding.loop import generate
from chainkit.decoding.outline import Outline, end_of
from chainkit.decoding.schemas import closed
from chainkit.decoding.validation import Validator
from tests.decoding.test_constraints import END, ByteTokenizer, Noise


class Ends(Noise):
    """Noise that likes to close what is open, so that texts stay short."""

    def rewind(self, length):
        self.rewound = True
        del self.tokens[length:]

    def logits(self):
        logits = super().logits()
        logits[[ord(one) for one in '"}],']] += 3
        logits[[ord(one) for one in " \n"]] -= 6
        logits[END] += 4
        return logits


@pytest.fixture(scope="module")
def tokenizer():
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(ByteTokenizer()))


def written(tokenizer, schema, seed, **options):
    model = Ends(seed)
    guide = Guide(tokenizer, constraints.json_schema(schema, **options))
    pieces = list(generate(model, GenerationRequest(temperature=1.0, seed=seed, max_tokens=1500), guide))
    assert bytes(model.tokens).decode(errors="replace").startswith("".join(piece.text for piece in pieces))
    return "".join(piece.text for piece in pieces), pieces[-1].finish, model


BEYOND = {
    "exactly one": {"oneOf": [{"type": "integer", "maximum": 5}, {"type": "integer", "minimum": 3}]},
    "not these": {"type": "string", "maxLength": 2, "not": {"enum": ["", "a"]}},
    "no two alike": {"type": "array", "items": {"enum": [1, 2, 3, 4]}, "uniqueItems": True, "minItems": 3},
    "one needs the other": {
        "type": "object",
        "properties": {"a": {"const": 1}, "b": {"const": 2}},
        "dependentRequired": {"a": ["b"]},
        "minProperties": 1,
        "additionalProperties": False,
    },
    "draft 7's dependencies": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"a": {"const": 1}, "b": {"const": 2}},
        "dependencies": {"a": ["b"]},
        "required": ["a"],
    },
    "names of keys": {"type": "object", "propertyNames": {"pattern": "^[ab]$"}, "minProperties": 1, "maxProperties": 2,
                      "additionalProperties": {"type": "boolean"}},
    "if, then and else": {
        "type": "object",
        "properties": {"kind": {"enum": ["x", "y"]}, "size": {"enum": [1, 2]}},
        "required": ["kind"],
        "additionalProperties": False,
        "if": {"properties": {"kind": {"const": "x"}}},
        "then": {"required": ["size"]},
    },
    "one of the items": {"type": "array", "items": {"enum": [1, 2]}, "contains": {"const": 2}, "maxItems": 4},
    "a pattern that looks ahead": {"type": "string", "pattern": "^(?!a).{1,2}$"},
}  # fmt: skip


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("other_keys", [True, False])
def test_what_a_grammar_cannot_say_holds_all_the_same(tokenizer, name, other_keys):
    good = 0
    for seed in range(12):
        try:
            text, finish, _ = written(tokenizer, BEYOND[name], seed, other_keys=other_keys)
        except ConstraintNotMet as error:
            assert error.reason  # noqa: PT017 - whichever comes is right, and this is what it must have
            continue
        if finish != "length":
            jsonschema.validate(json.loads(text), BEYOND[name])
            good += 1
    assert good >= 6 or other_keys  # noise finds the right one of all keys by chance only


def test_the_way_back_leads_to_the_fault_and_not_to_the_start(tokenizer):
    schema = {
        "type": "object",
        "properties": {"first": {"const": 1}, "kind": {"enum": ["x", "y"]}, "last": {"enum": [1, 2]}},
        "required": ["first", "kind", "last"],
        "additionalProperties": False,
        "not": {"properties": {"last": {"const": 1}}},
    }
    rewound = 0
    for seed in range(10):
        text, _, model = written(tokenizer, schema, seed, other_keys=False)
        assert json.loads(text)["last"] == 2
        rewound += getattr(model, "rewound", False)
    assert rewound


def test_what_cannot_be_met_is_named(tokenizer):
    def never(value: int) -> int:
        raise ValueError("no number is good enough")

    with pytest.raises(ConstraintNotMet, match="no number is good enough"):
        written(tokenizer, Annotated[int, Field(ge=0, le=9), AfterValidator(never)], 1)


class Even(BaseModel):
    low: int = Field(ge=0, le=9)
    high: int = Field(ge=0, le=9)

    @model_validator(mode="after")
    def ordered(self):
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


TYPES: dict[str, Any] = {
    "Decimal": Decimal,
    "Decimal with places": Annotated[Decimal, Field(max_digits=6, decimal_places=2)],
    "Decimal with bounds": Annotated[Decimal, Field(ge=0, le=10, decimal_places=2)],
    "Decimal below one": Annotated[Decimal, Field(max_digits=2, decimal_places=2)],
    "timedelta": timedelta,
    "bytes": Annotated[bytes, Field(max_length=60)],
    "set": Annotated[set[Literal["a", "b", "c", "d"]], Field(min_length=2)],
    "frozenset": frozenset[bool],
    "UUID": UUID,
    "date": date,
    "datetime": datetime,
    "time": time,
    "Path": Path,
    "AnyUrl": AnyUrl,
    "IPv4Address": IPv4Address,
    "IPv4Interface": IPv4Interface,
    "IPv4Network": IPv4Network,
    "IPv6Address": IPv6Address,
    "a validator of one's own": Even,
}


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_pydantic_takes_what_is_written_or_the_fault_is_named(tokenizer, name):
    whole = 0
    for seed in range(8):
        try:
            text, finish, _ = written(tokenizer, TYPES[name], seed)
        except ConstraintNotMet:
            continue
        if finish != "length":
            TypeAdapter(TYPES[name]).validate_json(text)
            whole += 1
    assert whole >= 4


def taken(tokenizer, schema, value, **options):
    guide = Guide(tokenizer, constraints.json_schema(schema, **options))
    for byte in json.dumps(value, ensure_ascii=False).encode():
        if not guide.permits(byte):
            return False
        guide.accept([byte])
    return guide.fulfilled


def test_keys_come_in_any_order_where_several_schemas_make_one_object(tokenizer):
    schema = {
        "properties": {"size": {"type": "number"}, "shape": {"enum": ["circle", "square"]}},
        "oneOf": [
            {"properties": {"shape": {"const": "circle"}}, "required": ["shape", "radius"]},
            {"properties": {"shape": {"const": "square"}}, "required": ["shape", "side"]},
        ],
    }
    assert taken(tokenizer, schema, {"shape": "circle", "radius": 2, "size": 1})
    assert not taken(tokenizer, schema, {"shape": "circle", "side": 2})
    assert not taken(tokenizer, schema, {"size": "big", "shape": "circle", "radius": 2})


def test_unknown_formats_are_annotations_and_known_ones_hold(tokenizer):
    assert taken(tokenizer, {"type": "string", "format": "topic-of-the-day"}, "anything")
    assert taken(tokenizer, {"type": "string", "format": "date"}, "2024-02-29")
    assert not taken(tokenizer, {"type": "string", "format": "date"}, "2023-02-29")


def test_a_key_stands_once(tokenizer):
    guide = Guide(tokenizer, constraints.json_schema({"type": "object", "not": {"required": ["z"]}}))
    text = b'{"a":1,"a"'
    for byte in text[:-1]:
        assert guide.permits(byte)
        guide.accept([byte])
    assert not guide.permits(text[-1])


def test_a_schema_that_refers_to_another_document_is_refused():
    with pytest.raises(ConstraintError, match="cannot be followed"):
        constraints.json_schema({"$ref": "https://example.com/person.json"})


def test_objects_that_several_schemas_describe_stay_open_when_closed():
    base = {"properties": {"a": {}}}
    assert closed({"allOf": [base, {"properties": {"b": {}}}]}) == {"allOf": [base, {"properties": {"b": {}}}]}
    root = {"$defs": {"base": base}, "allOf": [{"$ref": "#/$defs/base"}], "properties": {"b": {}}}
    assert closed(root) == root
    assert closed({"anyOf": [base, {"type": "null"}]})["anyOf"][0]["additionalProperties"] is False


scalars = st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4)
values = st.recursive(
    scalars, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=3), one, max_size=3), max_leaves=9
)


@given(values, st.sampled_from([None, 1]))
def test_every_beginning_of_a_json_text_is_a_value_so_far(value, indent):
    text = json.dumps(value, indent=indent).encode()
    outline = Outline()
    for place in range(len(text)):
        assert outline == Outline().after(text[:place])
        if outline.stack:
            partial = outline.partial(text[:place])
            assert type(partial) is type(value)
            json.dumps(partial)
        outline = outline.after(text[place : place + 1])
    if isinstance(value, dict | list):
        assert outline.stack == b""
        assert outline.partial(text) == value


@given(values, st.data())
def test_the_end_of_a_value_is_where_json_ends_it(value, data):
    path, inner = [], value
    while isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
        step = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        path.append(step)
        inner = inner[step]
    text = json.dumps(value)
    end = end_of(text, path)
    assert text[:end].endswith(json.dumps(inner))


def test_a_fault_names_its_place():
    fault = Validator.of({"properties": {"a": {"items": {"maximum": 3}}}}).fault({"a": [1, 7]})
    assert fault is not None
    assert fault.path == ("a", 1)
    assert "['a'][1]" in str(fault)


def test_scores_follow_the_tokens_that_stay(tokenizer):
    guide = Guide(tokenizer, constraints.json_schema(BEYOND["not these"]))
    model = Ends(5)
    pieces = list(generate(model, GenerationRequest(temperature=1.0, seed=5, max_tokens=50, logprobs=0), guide))
    tokens = [token for piece in pieces for token in piece.tokens]
    assert tokens == [token for token in model.tokens if token != END]
    assert [score.token for piece in pieces for score in piece.scores] == [
        token for piece in pieces if not piece.forced for token in piece.tokens
    ]
    assert np.isfinite([score.logprob for piece in pieces for score in piece.scores]).all()
