"""`gguf:` as a language model: the same tokens as llama.cpp itself, on every path."""

import asyncio
import copy
import pickle
import threading

import pytest

import chainkit
from chainkit.backends.llama_cpp.models import GGUFModel
from chainkit.base.errors import ContextOverflow, ModelFileError, SpecError, Unsupported
from tests.backends.llama_cpp import tiny
from tests.backends.llama_cpp.raw import Raw

PROMPTS = ["the cat sat on", "Once there was", "What is the colour of the house?", "漢字 🙂", "12 and"]


# Rounding differs with the number of tokens computed at once, and random models have near-ties: without rounding to
# f16 on the way, what is left of it (1e-6) changes no choice.
EXACT = {"kv_type": tiny.KV, "flash_attention": False}


def model(path, **options):
    return GGUFModel(model=str(path), **{"max_tokens": 32} | options)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_that_of_a_bare_loop_token_by_token(any_model, prompt):
    raw = Raw(any_model)
    tokens = raw.tokenize(prompt, add=True)
    wanted = raw.greedy(tokens, 64)
    session = model(any_model).session(prompt)
    assert session.tokens == tokens
    from chainkit.base.generation import GenerationRequest

    found = [token for piece in session.generate(GenerationRequest(max_tokens=64)) for token in piece.tokens]
    raw.close()
    assert found == wanted


@pytest.mark.parametrize("prompt", PROMPTS)
def test_streaming_gives_the_text_of_invoke(any_model, prompt):
    made = model(any_model)
    pieces = list(made.stream(prompt))
    assert "".join(pieces) == made.invoke(prompt)
    assert len(pieces) > 5


@pytest.mark.parametrize("kind", ["bpe", "spm"])
def test_two_threads_at_once_give_what_one_after_the_other_gives(kind, bpe_model, spm_model):
    path = bpe_model if kind == "bpe" else spm_model
    shared, results = model(path, **EXACT), {}
    alone = [shared.invoke(prompt) for prompt in PROMPTS]

    def run(prompt):
        results[prompt] = ["".join(shared.stream(prompt)) for _ in range(3)]

    threads = [threading.Thread(target=run, args=(prompt,)) for prompt in PROMPTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {prompt: [text] * 3 for prompt, text in zip(PROMPTS, alone, strict=True)}


def test_texts_that_do_not_fit_into_memory_together_still_come_out_right(bpe_model):
    small = model(bpe_model, context_length=64, n_sequences=4, max_tokens=24, **EXACT)
    prompts = [f"{prompt} the red house near the sea" for prompt in PROMPTS]
    alone = [small.invoke(prompt) for prompt in prompts]
    streams = [small.stream(prompt) for prompt in prompts]
    texts = ["" for _ in prompts]
    for _ in range(40):
        for number, stream in enumerate(streams):
            texts[number] += next(stream, "")
    assert texts == alone


async def test_async_paths_give_the_same(bpe_model):
    made = model(bpe_model)
    wanted = made.invoke(PROMPTS[0])
    assert await made.ainvoke(PROMPTS[0]) == wanted
    assert "".join([piece async for piece in made.astream(PROMPTS[0])]) == wanted
    assert await made.abatch(PROMPTS) == made.batch(PROMPTS)


async def test_the_event_loop_goes_on_during_a_generation(bpe_model):
    made, ticks = model(bpe_model, max_tokens=400), 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticker = asyncio.create_task(tick())
    await made.ainvoke(PROMPTS[0])
    ticker.cancel()
    assert ticks >= 3


def wait_until_idle(runtime):
    with runtime.lock:
        assert runtime.lock.wait_for(lambda: not any(slot.busy for slot in runtime._sequences.all), timeout=60)


async def test_cancelling_the_task_ends_the_generation(bpe_model):
    made = model(bpe_model, max_tokens=None, context_length=512)
    made.runtime  # noqa: B018 - load it first
    task = asyncio.create_task(made.ainvoke("the"))
    await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until_idle, made.runtime)


async def test_leaving_an_async_stream_ends_the_generation(bpe_model):
    made = model(bpe_model, max_tokens=None)
    stream = made.astream("the")
    await anext(stream)
    await stream.aclose()
    await asyncio.to_thread(wait_until_idle, made.runtime)


def whole_text(path, prompt="the cat sat on"):
    return model(path, max_tokens=64).invoke(prompt)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 9])
def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(any_model, length):
    text = whole_text(any_model)
    stop = text[len(text) // 2 : len(text) // 2 + length]
    wanted = text[: text.index(stop)]
    made = model(any_model, max_tokens=64)
    assert made.invoke("the cat sat on", stop=[stop]) == wanted
    assert "".join(made.stream("the cat sat on", stop=[stop])) == wanted
    assert model(any_model, max_tokens=64, stop=[stop]).invoke("the cat sat on") == wanted
    result = made.generate(["the cat sat on"], stop=[stop])
    assert result.generations[0][0].generation_info["finish_reason"] == "stop"


def test_stops_of_model_and_call_count_both(bpe_model):
    text = whole_text(bpe_model)
    early, late = text[6:8], text[20:22]
    assert (
        model(bpe_model, max_tokens=64, stop=[late]).invoke("the cat sat on", stop=[early]) == text[: text.index(early)]
    )
    assert (
        model(bpe_model, max_tokens=64, stop=[early]).invoke("the cat sat on", stop=[late]) == text[: text.index(early)]
    )


def test_a_text_that_is_too_long_is_refused_with_the_numbers(bpe_model):
    made = model(bpe_model, context_length=32)
    with pytest.raises(ContextOverflow) as caught:
        made.invoke("the cat " * 100)
    assert caught.value.limit == 32
    assert caught.value.tokens == made.get_num_tokens("the cat " * 100)
    assert "32" in str(caught.value)


def test_nothing_is_computed_before_all_prompts_fit(bpe_model):
    made = model(bpe_model, context_length=32, n_sequences=3)
    before = [list(slot.tokens) for slot in made.runtime._sequences.all]
    with pytest.raises(ContextOverflow):
        made.batch(["the cat", "the cat " * 100])
    assert [list(slot.tokens) for slot in made.runtime._sequences.all] == before


def test_running_into_the_end_of_the_context_is_said(bpe_model):
    result = model(bpe_model, context_length=32, max_tokens=None).generate(["the cat"])
    info = result.generations[0][0].generation_info
    assert info["finish_reason"] == "length"
    assert "context of 32 tokens" in info["finish_detail"]


def test_max_tokens_ends_with_its_reason_and_is_counted(bpe_model):
    result = model(bpe_model, max_tokens=5).generate(["the cat", "a"])
    assert result.generations[0][0].generation_info["finish_detail"] == "max_tokens=5 is reached"
    assert result.llm_output["token_usage"]["completion_tokens"] == 10
    assert result.llm_output["token_usage"]["prompt_tokens"] == 2 + 1


def test_the_default_context_is_what_the_model_was_trained_on_and_at_most_4096(tmp_path, bpe_model):
    assert model(bpe_model).runtime.context_length == tiny.CONTEXT
    large = tiny.write_model(tmp_path / "large.gguf", context=100_000)
    assert model(large, probe=False).runtime.context_length == 4096


def test_a_prompt_longer_than_a_batch_is_read_in_pieces(bpe_model):
    prompt = "the cat sat on the mat. " * 30
    assert model(bpe_model, n_batch=16, **EXACT).invoke(prompt) == model(bpe_model, **EXACT).invoke(prompt)


def test_a_prefix_that_was_read_is_not_read_again(bpe_model):
    made = model(bpe_model, n_sequences=5)
    first = made.session("the cat sat on the mat and the dog ran")
    first.logits()
    first.close()
    second = made.session("the cat sat on the mat and the dog sat")
    second.logits()
    assert second.counters.read <= 3
    assert second.counters.cached >= 7


def test_the_same_seed_writes_the_same_and_another_one_differs(bpe_model):
    made = model(bpe_model, temperature=1.5)
    first = made.invoke("the", seed=1)
    assert made.invoke("the", seed=1) == first
    assert made.invoke("the", seed=2) != first


def test_logprobs_are_those_of_the_chosen_tokens(bpe_model):
    result = model(bpe_model, max_tokens=6).generate(["the cat"], logprobs=3)
    content = result.generations[0][0].generation_info["logprobs"]["content"]
    assert len(content) == 6
    for entry in content:
        assert len(entry["top_logprobs"]) == 3
        assert entry["logprob"] == pytest.approx(entry["top_logprobs"][0]["logprob"])


WRONG_CALLS = {
    "temprature": (TypeError, "did you mean 'temperature'"),
    "context_length": (TypeError, "belongs to the model"),
    "tools": (Unsupported, "tools"),
    "nonsense": (TypeError, "settings of a call"),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_unknown_settings_of_a_call_are_errors(bpe_model, name):
    error, words = WRONG_CALLS[name]
    with pytest.raises(error, match=words):
        model(bpe_model).invoke("the", **{name: 1})
    with pytest.raises(error, match=words):
        list(model(bpe_model).stream("the", **{name: 1}))


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"top_p": 0},
        {"context_length": -5},
        {"context_length": 2**40},
        {"max_tokens": 0},
        {"stop": [""]},
        {"seed": -1},
        {"n_batch": 0},
        {"kv_type": "q2"},
        {"n_threads": 0},
        {"top_k": -1},
        {"min_p": 2},
        {"logprobs": 10**6},
        {"x": 1},
    ],
)
def test_settings_out_of_range_are_refused(bpe_model, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        GGUFModel(model=str(bpe_model), **options)


def test_a_spec_makes_the_model_with_its_options(bpe_model):
    made = chainkit.llm(
        f"gguf:{bpe_model}?max_tokens=7&temperature=0.5&context_length=none&use_mmap=false&stop=xyz&seed=3"
    )
    assert (made.max_tokens, made.temperature, made.context_length, made.use_mmap, made.stop) == (
        7,
        0.5,
        None,
        False,
        ["xyz"],
    )
    assert chainkit.llm(str(bpe_model)).invoke("the", max_tokens=4)
    with pytest.raises(SpecError, match="max_tokens"):
        chainkit.llm(f"gguf:{bpe_model}?max_token=7")


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ModelFileError, match="no such file"):
        chainkit.llm("gguf:./nowhere.gguf")


def test_models_of_one_file_share_the_engine_and_unload_frees_it(bpe_model):
    first, second = model(bpe_model, context_length=96), model(bpe_model, context_length=96, temperature=1)
    assert first.runtime is second.runtime
    assert model(bpe_model, context_length=128).runtime.weights is first.runtime.weights
    import weakref

    watch = weakref.ref(first.runtime)
    first.unload()
    assert watch() is not None
    second.unload()
    assert watch() is None
    assert first.invoke("the cat")


def test_copies_and_pickles_write_the_same(bpe_model):
    made = model(bpe_model)
    wanted = made.invoke("the cat")
    for twin in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made), made.model_copy(update={"top_k": 1})):
        assert twin.invoke("the cat") == wanted


def test_repr_shows_settings_and_no_engine(bpe_model):
    made = model(bpe_model)
    made.invoke("a")
    assert "bpe.gguf" in repr(made)
    assert "0x" not in repr(made)


def test_tokens_are_those_of_the_model(bpe_model):
    raw = Raw(bpe_model)
    assert model(bpe_model).get_token_ids("the house 漢") == raw.tokenize("the house 漢", add=False)
    raw.close()


def test_names_of_special_tokens_in_a_prompt_are_text_unless_asked_for(bpe_model):
    assert 2 not in model(bpe_model).get_token_ids("<|im_end|>")
    assert model(bpe_model, special_tokens=True).get_token_ids("<|im_end|>") == [2]


def test_half_a_surrogate_pair_is_refused(bpe_model):
    with pytest.raises(ValueError, match="surrogate"):
        model(bpe_model).invoke("\ud800")


def test_new_tokens_are_reported_once_each(bpe_model):
    from langchain_core.callbacks import BaseCallbackHandler

    class Watch(BaseCallbackHandler):
        seen = ""

        def on_llm_new_token(self, token, **kwargs):
            self.seen += token

    watch = Watch()
    text = "".join(model(bpe_model).stream("the cat", config={"callbacks": [watch]}))
    assert watch.seen == text
