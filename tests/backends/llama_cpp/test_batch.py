"""Batches: computed side by side, and each item is what it would be alone."""

import asyncio
import threading

import numpy as np
import pytest

from chainkit.backends.llama_cpp.libraries import forced
from chainkit.backends.llama_cpp.models import GGUFChat, GGUFModel
from chainkit.base.errors import ContextOverflow
from tests.backends.llama_cpp import tiny

several_at_once = pytest.mark.skipif(forced() == "ik_llama_cpp", reason="ik_llama.cpp keeps one text in memory")
PROMPTS = ["the cat", "the cat sat on", "What is the colour", "12 and", "the dog ran", "a"]


def model(path, **settings):
    return GGUFModel(
        model=str(path),
        **{"context_length": 512, "max_tokens": 12, "kv_type": tiny.KV, "flash_attention": False} | settings,
    )


@pytest.fixture
def alone(bpe_model):
    made = model(bpe_model)
    return [made.invoke(prompt) for prompt in PROMPTS]


@several_at_once
def test_a_batch_takes_the_passes_of_one(bpe_model, alone):
    made = model(bpe_model)
    before = made.runtime.passes
    assert made.batch(PROMPTS) == alone
    assert made.runtime.passes - before <= 12 + 1
    assert asyncio.run(made.abatch(PROMPTS)) == alone


@several_at_once
def test_a_short_beginning_is_read_once_for_all_texts_of_a_batch(bpe_model):
    made = model(bpe_model)
    wanted = [list(made.session(f"the cat {end}").logits()) for end in ("sat", "ran", "sat")]
    sessions = [model(bpe_model, n_threads=2).session(f"the cat {end}") for end in ("sat", "ran", "sat")]
    runtime = sessions[0].runtime
    before, passes = runtime.tokens_read, runtime.passes
    results = runtime.forward([session.request() for session in sessions])
    texts = {tuple(session.tokens[: count + 1]) for session in sessions for count in range(len(session.tokens))}
    assert (runtime.tokens_read - before, runtime.passes - passes) == (len(texts), 1)
    assert sum(result.computed for result in results) == len(texts)
    for result, logits in zip(results, wanted, strict=True):
        np.testing.assert_allclose(result.logits[0], logits, atol=1e-4)


def test_sampled_items_have_the_seed_of_a_call_alone(bpe_model):
    made = model(bpe_model, temperature=1.0, seed=3)
    assert made.batch(PROMPTS) == [made.invoke(prompt) for prompt in PROMPTS]


def test_usage_is_told_for_each_item(bpe_model):
    result = model(bpe_model).generate(PROMPTS)
    made = model(bpe_model)
    for prompt, (generation,) in zip(PROMPTS, result.generations, strict=True):
        usage = generation.generation_info["usage_metadata"]
        assert usage["input_tokens"] == made.get_num_tokens(prompt)
        assert usage["output_tokens"] <= 12
    total = sum(one.generation_info["usage_metadata"]["total_tokens"] for (one,) in result.generations)
    assert result.llm_output["token_usage"]["total_tokens"] == total


def test_one_item_that_is_too_long_is_its_own_fault(bpe_model, alone):
    made = model(bpe_model)
    inputs = [*PROMPTS[:2], "the cat " * 600, *PROMPTS[2:]]
    for results in (
        made.batch(inputs, return_exceptions=True),
        asyncio.run(made.abatch(inputs, return_exceptions=True)),
    ):
        assert isinstance(results.pop(2), ContextOverflow)
        assert results == alone
    with pytest.raises(ContextOverflow):
        made.batch(inputs)


def test_more_texts_than_there_is_room_for_come_after_one_another(bpe_model):
    small, large = model(bpe_model, context_length=64, max_tokens=30), model(bpe_model, max_tokens=30)
    inputs = [f"the cat {number} " for number in range(20)]
    assert small.batch(inputs) == large.batch(inputs)


def test_texts_that_grow_beyond_the_room_are_written_all_the_same(bpe_model):
    """Without a bound on their length, all begin; then there is no room for all of them."""
    small = model(bpe_model, context_length=160, max_tokens=None)
    assert small.batch(PROMPTS) == [small.invoke(prompt) for prompt in PROMPTS]


@several_at_once
def test_max_concurrency_bounds_the_rows(bpe_model, alone, monkeypatch):
    made, most = model(bpe_model), []
    real = made.runtime.forward
    monkeypatch.setattr(made.runtime, "forward", lambda requests: most.append(len(requests)) or real(requests))
    assert made.batch(PROMPTS, {"max_concurrency": 2}) == alone
    assert max(most) == 2


@several_at_once
def test_conversations_are_answered_side_by_side(bpe_model, monkeypatch):
    made = GGUFChat(model=str(bpe_model), max_tokens=40, chat_template="chatml", kv_type=tiny.KV, flash_attention=False)
    wanted = [made.invoke(prompt).content for prompt in PROMPTS]
    most = []
    real = made.runtime.forward
    monkeypatch.setattr(made.runtime, "forward", lambda requests: most.append(len(requests)) or real(requests))
    for answers in (made.batch(PROMPTS), asyncio.run(made.abatch(PROMPTS))):
        assert [answer.content for answer in answers] == wanted
        assert all(answer.usage_metadata["output_tokens"] for answer in answers)
    assert max(most) > 1
    most.clear()
    made.batch(PROMPTS, {"max_concurrency": 1})
    assert max(most) == 1


def test_an_event_loop_may_ask_for_more_than_there_are_threads(bpe_model):
    made = model(bpe_model, max_tokens=2)

    async def many():
        return await asyncio.gather(*(made.ainvoke(f"the {number}") for number in range(90)))

    assert len(asyncio.run(many())) == 90
    assert threading.active_count() < 90
