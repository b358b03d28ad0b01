"""Every setting of a call is in the keys of the caches: another setting is another answer."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from pydantic import BaseModel, create_model

pytest.importorskip("llguidance")
from chainkit.base.generation import GenerationRequest
from chainkit.decoding.constraints import json_schema, regex
from chainkit.local.soft_prompt import SoftPrompt
from chainkit.programs.model import cache
from chainkit.programs.run.runnable import program

DEMO = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"
CHANGES: dict[str, Any] = {
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.9,
    "min_p": 0.1,
    "repeat_penalty": 1.2,
    "seed": 5,
    "max_tokens": 3,
    "stop": ["e"],
    "logprobs": 1,
    "stop_repetition": False,
    "timeout": 90.0,
    "constraint": regex("[a-z ]{3}"),
}


@pytest.fixture
def kept() -> Any:
    found = InMemoryCache()
    set_llm_cache(found)
    yield found
    set_llm_cache(None)


def llm() -> Any:
    from chainkit.backends.llama_cpp.models import GGUFModel

    return GGUFModel(model=str(DEMO), max_tokens=4, context_length=256, probe=False)


def chat() -> Any:
    from chainkit.backends.llama_cpp.models import GGUFChat

    return GGUFChat(model=str(DEMO), max_tokens=4, context_length=256, probe=False)


def test_the_changes_are_all_there_are() -> None:
    apart = {"stop_regex", "following", "token_healing", "soft_prompt"}  # of programs, and a test of its own
    assert CHANGES.keys() | apart == {one.name for one in fields(GenerationRequest)}


@pytest.mark.parametrize("make", [llm, chat])
@pytest.mark.parametrize("name", CHANGES)
def test_another_setting_of_a_call_is_another_answer_of_the_cache(kept: InMemoryCache, make: Any, name: str) -> None:
    model = make()
    model.invoke("the")
    model.invoke("the")
    assert len(kept._cache) == 1
    model.invoke("the", **{name: CHANGES[name]})
    assert len(kept._cache) == 2


async def test_the_cache_tells_asynchronous_calls_apart(kept: InMemoryCache) -> None:
    model = llm()
    assert len(await model.ainvoke("the", max_tokens=1)) < len(await model.ainvoke("the", max_tokens=6))
    assert await model.ainvoke("the", max_tokens=6) == await model.ainvoke("the", max_tokens=6)
    assert len(kept._cache) == 2


def test_two_schemas_of_one_name_have_two_answers(kept: InMemoryCache) -> None:
    first: type[BaseModel] = create_model("Answer", colour=(bool, ...))
    second: type[BaseModel] = create_model("Answer", size=(bool, ...))
    model = chat()
    for schema in (first, second):
        model.invoke("Which?", constraint=json_schema(schema), max_tokens=40)
    assert len(kept._cache) == 2


def test_soft_prompts_are_told_apart_by_what_they_hold(kept: InMemoryCache) -> None:
    model = llm()
    width = model.runtime.library.llama_model_n_embd(model.runtime.weights.handle)
    one, other = (SoftPrompt("same name", np.full((2, width), value, np.float32)) for value in (0.01, 0.02))
    for soft_prompt in (None, one, other):
        model.invoke("the", soft_prompt=soft_prompt)
    assert len(kept._cache) == 3
    model.batch(["the", "the"], soft_prompt=[one, other])
    assert len(kept._cache) == 3  # which of them a prompt had cannot be told by the prompt


SLOT = "the {{gen 'x' max_tokens=6 token_healing=False}}"
SLOTS = {
    "stop": "the {{gen 'x' max_tokens=6 token_healing=False stop='e'}}",
    "stop_regex": "the {{gen 'x' max_tokens=6 token_healing=False stop_regex='[aeiou]'}}",
    "form": "the {{gen 'x' max_tokens=6 token_healing=False pattern='[a-z ]+'}}",
    "another form": "the {{gen 'x' max_tokens=6 token_healing=False pattern='[a-z ]*'}}",
    "form and stop": "the {{gen 'x' max_tokens=6 token_healing=False pattern='[a-z ]+' stop='e'}}",
    "form and what follows": "the {{gen 'x' max_tokens=6 token_healing=False pattern='[a-z ]+'}}, so",
    "healing": "the {{gen 'x' max_tokens=6}}",
    "logprobs": "the {{gen 'x' max_tokens=6 token_healing=False logprobs=True}}",
    "setting of the model": "the {{gen 'x' max_tokens=6 token_healing=False repeat_penalty=1.3}}",
}


def test_another_parameter_of_a_slot_is_another_result() -> None:
    model = llm()
    for number, text in enumerate([SLOT, *SLOTS.values()], 1):
        program(text, model)()
        results = cache.results()
        assert results is not None
        assert len(results) == number, text


def test_a_stop_text_ends_a_slot_whose_pattern_could_write_it() -> None:
    model = llm()
    with cache.disabled():
        whole = program("the {{gen 'x' pattern='[a-z ]+' max_tokens=8}}", model)()["x"]
        stop = whole[3]
        text = "the {{gen 'x' pattern='[a-z ]+' max_tokens=8 stop=stop save_stop_text=True}}"
        run = program(text, model)(stop=stop)
    assert run["x"] == whole[: whole.index(stop, 1)]
    assert run["x_stop_text"] == stop


def test_a_stop_text_inside_of_what_the_pattern_needs_is_part_of_it() -> None:
    with cache.disabled():
        run = program("{{gen 'x' pattern='[0-9]\\\\.[0-9]' stop='.'}}", llm())()
    assert len(run["x"]) == 3
