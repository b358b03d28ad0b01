"""Constraints, structured output and tools on GGUF models: always valid, however wild the model."""

import json
import re
from typing import Literal, TypedDict

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from chainkit.backends.llama_cpp.models import GGUFChat, GGUFModel
from chainkit.base.errors import ConstraintError, Unsupported
from chainkit.base.generation import GenerationRequest
from chainkit.decoding.constraints import choices, json_schema, regex
from chainkit.decoding.guide import Guide
from tests.backends.llama_cpp import tiny

pytest.importorskip("llguidance")


class Pet(BaseModel):
    """A pet."""

    kind: Literal["cat", "dog"]
    age: int = Field(ge=0, le=30)
    tame: bool


class PetDict(TypedDict):
    """A pet."""

    kind: Literal["cat", "dog"]
    tame: bool


@tool
def add(a: Literal[1, 2, 3], b: bool) -> int:
    """Add them."""
    return a + b


@tool
def now() -> str:
    """The time."""
    return "noon"


def wild(path, **options):
    return GGUFChat(model=str(path), temperature=1.5, max_tokens=200, **options)


def sound(kind, text):
    if kind == "regex":
        return re.fullmatch("[0-9]{3}-(yes|no) [a-z]{1,5}", text)
    if kind == "choices":
        return text in ("the red house", "the green house", "a dog")
    return Pet.model_validate_json(text, strict=True)


CONSTRAINTS = {
    "regex": lambda: regex("[0-9]{3}-(yes|no) [a-z]{1,5}"),
    "choices": lambda: choices(["the red house", "the green house", "a dog"]),
    "schema": lambda: json_schema(Pet),
}


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_text_at_a_high_temperature_is_always_valid(any_model, kind):
    constraint = CONSTRAINTS[kind]()
    made = GGUFModel(model=str(any_model), temperature=1.5, max_tokens=200)
    texts = {made.invoke("the", constraint=constraint, seed=seed) for seed in range(15)}
    assert all(sound(kind, text) for text in texts)
    assert len(texts) > 1 or kind == "choices"


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_a_thousand_texts_of_the_demo_model_are_valid(demo_model, kind):
    constraint = CONSTRAINTS[kind]()
    made = GGUFModel(model=str(demo_model), temperature=1.5, max_tokens=200)
    prompts = ["Question: Where is the cat?\nAnswer:"]
    assert all(sound(kind, made.invoke(prompts[0], constraint=constraint, seed=seed)) for seed in range(1000))


def test_forced_tokens_are_never_sampled_and_are_read_in_one_pass(bpe_model):
    session = GGUFModel(model=str(bpe_model)).session("the")
    pieces = list(session.generate(GenerationRequest(constraint=choices(["the cat sat on the mat"]))))
    assert "".join(piece.text for piece in pieces) == "the cat sat on the mat"
    assert session.counters.sampled == 0
    assert session.counters.forced == len(session.tokens) - 1
    assert session.counters.read == 0


def test_structured_output_gives_objects(bpe_model):
    made = wild(bpe_model)
    assert isinstance(made.with_structured_output(Pet).invoke("hi"), Pet)
    assert set(made.with_structured_output(PetDict).invoke("hi")) == {"kind", "tame"}
    assert set(made.with_structured_output(Pet.model_json_schema()).invoke("hi")) == {"kind", "age", "tame"}
    assert [type(pet) for pet in made.with_structured_output(Pet).batch(["a", "b"])] == [Pet, Pet]
    *_, last = made.with_structured_output(Pet).stream("hi")
    assert isinstance(last, Pet)


async def test_structured_output_works_async(bpe_model):
    assert isinstance(await wild(bpe_model).with_structured_output(Pet).ainvoke("hi"), Pet)


def test_raw_output_comes_with_the_object_or_the_reason(bpe_model):
    whole = wild(bpe_model).with_structured_output(Pet, include_raw=True).invoke("hi")
    assert isinstance(whole["parsed"], Pet)
    assert whole["parsing_error"] is None
    cut = wild(bpe_model).with_structured_output(Pet, include_raw=True, max_tokens=2).invoke("hi")
    assert cut["parsed"] is None
    assert isinstance(cut["parsing_error"], OutputParserException)
    assert cut["raw"].response_metadata["finish_reason"] == "length"


def test_an_answer_that_is_cut_is_an_error_and_not_half_an_object(bpe_model):
    with pytest.raises(OutputParserException):
        wild(bpe_model).with_structured_output(Pet, max_tokens=2).invoke("hi")


def test_a_schema_that_cannot_be_followed_is_refused_at_once(bpe_model):
    with pytest.raises(ConstraintError):
        wild(bpe_model).with_structured_output({"type": "object", "not": {}})


@pytest.mark.parametrize("template", [tiny.CHATML, "{% if tools %}{{ tools | tojson }}{% endif %}" + tiny.CHATML])
def test_a_call_that_is_asked_for_comes_with_arguments_that_fit(bpe_model, template):
    made = wild(bpe_model, chat_template=template, n_sequences=1).bind_tools([add, now], tool_choice="any")
    for seed in range(12):
        answer = made.invoke("hi", seed=seed)
        (call,) = answer.tool_calls
        assert answer.content == ""
        assert call["args"] == {} if call["name"] == "now" else add.invoke(call["args"])
        total = None
        for chunk in made.stream("hi", seed=seed):
            total = chunk if total is None else total + chunk
        assert [(c["name"], c["args"]) for c in total.tool_calls] == [(call["name"], call["args"])]
        assert total.content == ""


def test_strict_is_taken_as_agents_of_langchain_give_it(bpe_model):
    made = wild(bpe_model).bind_tools([now], tool_choice="any", strict=True)
    assert made.invoke("hi").tool_calls[0]["name"] == "now"


def test_a_tool_can_be_named(bpe_model):
    for choice in ("now", {"type": "function", "function": {"name": "now"}}):
        made = wild(bpe_model).bind_tools([add, now], tool_choice=choice)
        assert made.invoke("hi").tool_calls[0]["name"] == "now"
    with pytest.raises(ConstraintError, match="tools: add, now"):
        wild(bpe_model).bind_tools([add, now], tool_choice="sub").invoke("hi")


def test_left_to_the_model_an_answer_is_text_or_a_call(bpe_model):
    made = wild(bpe_model).bind_tools([add])
    for seed in range(10):
        answer = made.invoke("hi", seed=seed, max_tokens=60)
        assert bool(answer.content) != bool(answer.tool_calls)


def test_no_call_when_none_is_wanted(bpe_model):
    assert wild(bpe_model).bind_tools([add], tool_choice="none").invoke("hi").tool_calls == []


PET_FORM = {"type": "json_schema", "json_schema": {"name": "Pet", "schema": Pet.model_json_schema()}}


def test_a_response_format_of_openai_is_a_form(bpe_model):
    model = wild(bpe_model)
    Pet(**json.loads(model.bind(response_format=PET_FORM).invoke("hi").text))
    assert model.invoke("hi", response_format={"type": "json_object"}).text.startswith("{")


def test_a_response_format_is_part_of_the_key_of_the_cache(bpe_model):
    model = wild(bpe_model)
    forms = [None, {"type": "text"}, {"type": "json_object"}, PET_FORM]
    keys = [model._get_llm_string(response_format=form) for form in forms]
    assert len(set(keys)) == 3  # free text is free text


def test_a_response_format_that_is_none_is_named(bpe_model):
    for wrong in (
        {"type": "xml"},
        {"type": "json_schema"},
        {"json_schema": {}},
        {"type": "json_schema", "json_schema": 1},
    ):
        with pytest.raises(ConstraintError, match="response_format is"):
            wild(bpe_model).invoke("hi", response_format=wrong)
    with pytest.raises(Unsupported, match="both a constraint and a response_format"):
        wild(bpe_model).invoke("hi", response_format=PET_FORM, constraint=json_schema(Pet))


@pytest.mark.parametrize("template", ["", "{% if tools %}{{ tools | tojson }}{% endif %}" + tiny.CHATML])
def test_beside_tools_an_answer_has_the_form_or_is_a_call(bpe_model, template):
    made = wild(bpe_model, **({"chat_template": template} if template else {}))
    both = made.bind_tools([add]).bind(response_format=PET_FORM)
    for seed in range(4):
        answer = both.invoke("hi", seed=seed)
        assert "".join(chunk.text for chunk in both.stream("hi", seed=seed)) == answer.text
        assert answer.tool_calls or Pet(**json.loads(answer.text))
    call, _ = made._call(None, dict(both.kwargs))
    guide = Guide(made.runtime.vocabulary.guide_tokens(), call.constraint)
    pet, wanted = '{"kind": "cat", "age": 3, "tame": true}', '{"name": "add", "arguments": {"a": 1, "b": true}}'
    assert guide.fits(pet)
    assert guide.fits(f"<tool_call>\n{wanted}\n</tool_call>")
    assert not any(guide.fits(text) for text in ("hi", wanted, f"<tool_call>\n{pet}\n</tool_call>"))


def test_beside_tools_a_choice_decides_between_calls_and_the_form(bpe_model):
    model = wild(bpe_model)
    called = model.bind_tools([add], tool_choice="any").invoke("hi", response_format=PET_FORM)
    assert called.tool_calls
    assert not called.text
    answered = model.bind_tools([add], tool_choice="none").invoke("hi", response_format=PET_FORM)
    Pet(**json.loads(answered.text))


def test_beside_tools_a_form_that_no_grammar_can_say_is_named(bpe_model):
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    form = {"type": "json_schema", "json_schema": {"name": "set", "schema": schema}}
    with pytest.raises(ConstraintError, match="beside tools"):
        wild(bpe_model).bind_tools([add]).invoke("hi", response_format=form)


def test_tools_and_a_schema_do_not_go_together(bpe_model):
    with pytest.raises(Unsupported, match="give a response_format"):
        wild(bpe_model).bind_tools([add]).invoke("hi", constraint=json_schema(Pet))
    with pytest.raises(Unsupported, match="calls no tools"):
        GGUFModel(model=str(bpe_model)).invoke("hi", tools=[])
