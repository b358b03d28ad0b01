"""Constraints: what they allow is what their own meaning allows, checked with other libraries."""

import json
import re
from typing import Literal, TypedDict

import numpy as np
import pytest
from pydantic import BaseModel, Field

from chainkit.base.errors import ConstraintError
from chainkit.base.generation import GenerationRequest
from chainkit.decoding import constraints, schemas
from chainkit.decoding.guide import Guide
from chainkit.decoding.loop import generate

llguidance = pytest.importorskip("llguidance")

END = 256


class ByteTokenizer:
    """256 bytes and an end, as llguidance wants a tokenizer."""

    eos_token_id, bos_token_id = END, None
    tokens = [*(bytes([byte]) for byte in range(256)), b"<end>"]
    special_token_ids = [END]

    def __call__(self, text):
        return list(text if isinstance(text, bytes) else text.encode())


@pytest.fixture(scope="module")
def tokenizer():
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(ByteTokenizer()))


class Noise:
    """A model that likes every token at random."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.tokens, self.context_length, self.vocabulary = [], 100_000, self

    def piece(self, token):
        return bytes([token]) if token < END else b""

    def is_end(self, token):
        return token == END

    def push(self, tokens, *, forced):
        self.tokens.extend(tokens)

    def logits(self):
        return self.random.standard_normal(END + 1).astype(np.float32) * 3


def written(tokenizer, constraint, seed, max_tokens=2000):
    guide = Guide(tokenizer, constraint)
    pieces = list(generate(Noise(seed), GenerationRequest(temperature=1.5, seed=seed, max_tokens=max_tokens), guide))
    return "".join(piece.text for piece in pieces), pieces[-1].finish, guide.fulfilled


@pytest.mark.parametrize(
    "pattern", [r"\d{3}-[a-z]{2,4} (yes|no)", "[^/]{1,9}/x", "(ab|cd){2,3}é?", r"\w{2}\s\S", 'say "/\\\\"']
)
def test_what_is_written_matches_the_regular_expression(tokenizer, pattern):
    for seed in range(20):
        text, finish, fulfilled = written(tokenizer, constraints.regex(pattern), seed)
        assert re.fullmatch(pattern, text, re.ASCII if "\\d" in pattern or "\\w" in pattern else 0), text
        assert finish in ("eos", "complete")
        assert fulfilled


def test_every_choice_is_possible_and_nothing_else(tokenizer):
    options = ["red", "red house", 'say "hi"', "back\\slash", "漢字", "a\nb"]
    found = {written(tokenizer, constraints.choices(options), seed)[0] for seed in range(150)}
    assert found == set(options)


class Colour(BaseModel):
    name: str = Field(max_length=8)
    share: int = Field(ge=3, le=17)
    kind: Literal["warm", "cold"]
    parts: list[bool] = Field(min_length=1, max_length=3)


class Point(TypedDict):
    x: Literal[1, 2]
    y: bool


def test_json_is_valid_for_the_model(tokenizer):
    for seed in range(30):
        text, finish, _ = written(tokenizer, constraints.json_schema(Colour), seed)
        assert finish in ("eos", "complete")
        Colour.model_validate_json(text, strict=True)
        assert set(json.loads(text)) == set(Colour.model_fields)


def test_json_follows_typed_dicts_types_and_plain_schemas(tokenizer):
    for schema in (Point, schemas.schema_of(Point)):
        text, _, _ = written(tokenizer, constraints.json_schema(schema, other_keys=False), 1)
        assert set(json.loads(text)) == {"x", "y"}
    text, _, _ = written(tokenizer, constraints.json_schema(list[Literal["a", "b"]]), 2, max_tokens=4000)
    assert set(json.loads(text)) <= {"a", "b"}


def test_other_keys_are_allowed_only_where_the_schema_says_so():
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {"properties": {}}}}}
    closed = schemas.closed(schema)
    assert closed["additionalProperties"] is False
    assert closed["properties"]["a"]["additionalProperties"] is False
    opened = schema | {"additionalProperties": {"type": "integer"}}
    assert schemas.closed(opened)["additionalProperties"] == {"type": "integer"}
    assert schemas.closed({"enum": [{"properties": {}}]}) == {"enum": [{"properties": {}}]}


def test_a_grammar_is_followed(tokenizer):
    grammar = 'start: "(" start ")" | "x"'
    for seed in range(10):
        text, finish, _ = written(tokenizer, constraints.lark(grammar), seed)
        if finish != "length":
            assert re.fullmatch(r"\(*x\)*", text)
            assert text.count("(") == text.count(")")


def test_what_a_limit_cuts_is_not_called_fulfilled(tokenizer):
    _, finish, fulfilled = written(tokenizer, constraints.json_schema(Colour), 0, max_tokens=5)
    assert (finish, fulfilled) == ("length", False)


def test_the_mask_is_that_of_brute_force(tokenizer):
    constraint = constraints.regex("ab+[0-5]c?")
    good = re.compile("ab+[0-5]c?")
    for prefix in ("", "a", "ab", "abb", "ab3"):
        guide = Guide(tokenizer, constraint)
        if prefix:
            guide.accept(list(prefix.encode()))
        allowed = np.isfinite(guide.allowed(np.zeros(END + 1, np.float32)))
        for byte in range(128):
            tails = ["", "b", "0", "b0", "c", "0c"]
            assert allowed[byte] == any(good.fullmatch(prefix + chr(byte) + tail) for tail in tails), (prefix, byte)
        assert allowed[END] == bool(good.fullmatch(prefix))


WRONG = {
    "an open bracket": lambda: constraints.regex("("),
    "look-ahead": lambda: constraints.regex("(?=a)b"),
    "no choices": lambda: constraints.choices([]),
    "an empty choice": lambda: constraints.choices(["a", ""]),
    "a rule that is not there": lambda: constraints.lark("start: FOO"),
    "no schema": lambda: constraints.json_schema({"type": 3}),
    "a schema elsewhere": lambda: constraints.json_schema({"$ref": "https://example.com/schema.json"}),
    "nothing is both": lambda: constraints.json_schema({"allOf": [{"type": "string"}, {"type": "integer"}]}),
    "nothing satisfies it": lambda: constraints.json_schema({"type": "integer", "minimum": 3, "maximum": 2}),
    "a type without a schema": lambda: constraints.json_schema(type("Odd", (), {})),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG.keys())
def test_constraints_that_make_no_sense_are_refused(make):
    with pytest.raises(ConstraintError):
        make()


def test_a_constraint_shows_what_it_is():
    assert repr(constraints.choices(["a", "b"])).startswith("Constraint(a choice of 2, ")
    assert repr(constraints.choices(["a", "b"])) != repr(constraints.choices(["a", "c"]))


def test_what_is_the_only_way_on_is_forced_and_the_end_is_not(tokenizer):
    guide = Guide(tokenizer, constraints.choices(["abc"]))
    assert guide.forced() == list(b"abc")
    guide.accept(list(b"abc"))
    assert guide.forced() == []
    assert Guide(tokenizer, constraints.choices(["ab", "ac"])).forced() == list(b"a")


def test_a_text_fits_where_the_constraint_allows_it_whole(tokenizer):
    guide = Guide(tokenizer, constraints.regex("a+b?"))
    guide.accept(list(b"aa"))
    assert [guide.fits(text) for text in ("a", "aab", "ab", "b", "", "aba")] == [True, True, True, False, False, False]
    assert guide.fulfilled
