"""Transformers models as langchain-core models: the text of `generate`, streamed, batched, stopped, counted."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from langchain_core.language_models import BaseLLM

import chainkit
from chainkit.backends.huggingface.models import HuggingFaceModel
from chainkit.base.errors import ContextOverflow, SpecError, Unsupported
from tests.backends.huggingface import tiny

Folder = Callable[[str], str]
PROMPTS = [
    "the cat",
    "Once there was a small house near the sea; the",
    "12 and 30",
    "What is the colour of the house? The colour of the",
    "a",
]


@pytest.fixture
def model(folder: Folder) -> HuggingFaceModel:
    return HuggingFaceModel(model=folder("llama"), max_tokens=24)


def reference(model: HuggingFaceModel, prompt: str, count: int) -> str:
    """What the library writes."""
    tokenizer, inner = model.loaded.vocabulary.tokenizer, model.loaded.model
    inputs = tokenizer(prompt, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    output = inner.generate(**inputs, max_new_tokens=count, do_sample=False, pad_token_id=0)[0]
    start = 0 if model.loaded.encodes else inputs["input_ids"].shape[1]
    return tokenizer.decode(output[start:], skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_the_spec_and_its_alias_name_it(folder: Folder) -> None:
    name = folder("llama")
    assert isinstance(chainkit.llm(f"hf:{name}"), HuggingFaceModel)
    same = chainkit.llm(f"HuggingFace:{name}?max_tokens=3&context_length=none&dtype=float32")
    assert isinstance(same, BaseLLM)
    assert same.max_tokens == 3


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])  # tokens of all kinds are compared in test_session
def test_greedy_text_is_that_of_the_library(folder: Folder, kind: str) -> None:
    model = HuggingFaceModel(model=folder(kind), max_tokens=32)
    for prompt in PROMPTS[:2]:
        ours, theirs = model.invoke(prompt), reference(model, prompt, 32)
        assert ours.lstrip(" ").rstrip("\ufffd") == theirs.lstrip(" ").rstrip("\ufffd")


@pytest.mark.parametrize("kind", [*tiny.KINDS, "spm", "t5"])
def test_a_batch_of_different_lengths_writes_what_each_would_alone(folder: Folder, kind: str) -> None:
    model = HuggingFaceModel(model=folder(kind), max_tokens=16, n_batch=7)
    alone = [model.invoke(prompt) for prompt in PROMPTS]
    assert model.batch(PROMPTS) == alone
    assert HuggingFaceModel(model=folder(kind), max_tokens=16, batch_size=2).batch(PROMPTS) == alone


def test_a_batch_with_a_seed_stops_and_ends_writes_what_each_would_alone(model: HuggingFaceModel) -> None:
    settings: dict[str, Any] = {"temperature": 1.0, "seed": 3, "stop": ["a", "th"], "top_p": 0.9}
    alone = [model.invoke(prompt, **settings) for prompt in PROMPTS]
    assert model.batch(PROMPTS, **settings) == alone
    assert len({len(text) for text in alone}) > 1  # they end at different steps


@pytest.mark.parametrize("kind", ["llama", "spm", "t5"])
def test_a_stream_is_the_text_in_pieces(folder: Folder, kind: str) -> None:
    model = HuggingFaceModel(model=folder(kind), max_tokens=24)
    chunks = list(model.stream(PROMPTS[1]))
    assert "".join(chunks) == model.invoke(PROMPTS[1])
    assert len(chunks) > 6


@pytest.mark.parametrize("kind", ["llama", "spm", "t5"])
def test_stop_texts_of_several_tokens_never_show(folder: Folder, kind: str) -> None:
    model = HuggingFaceModel(model=folder(kind), max_tokens=40)
    whole = model.invoke(PROMPTS[1])
    stop = whole[5:9]
    expected = whole[: whole.index(stop)]
    assert model.invoke(PROMPTS[1], stop=[stop]) == expected
    assert "".join(model.stream(PROMPTS[1], stop=[stop])) == expected
    assert HuggingFaceModel(model=folder(kind), max_tokens=40, stop=[stop]).batch(PROMPTS[1:3])[0] == expected


def test_the_end_of_the_model_ends_the_text(folder: Folder) -> None:
    model = HuggingFaceModel(model=folder("llama"), max_tokens=200)
    (result,) = model.generate([PROMPTS[0]]).generations[0]
    assert result.generation_info is not None
    assert result.generation_info["finish_reason"] in ("stop", "length")
    (short,) = model.generate([PROMPTS[0]], max_tokens=2).generations[0]
    assert short.generation_info is not None
    assert short.generation_info["finish_reason"] == "length"
    assert short.generation_info["finish_detail"] == "max_tokens=2 is reached"
    assert short.generation_info["usage_metadata"]["output_tokens"] == 2


def test_usage_counts_tokens(model: HuggingFaceModel) -> None:
    one = model.generate(PROMPTS[:1]).llm_output
    both = model.generate(PROMPTS[:2]).llm_output
    prompt = len(model.get_token_ids(PROMPTS[0]))
    assert one == {
        "model_name": model.model,
        "token_usage": {"prompt_tokens": prompt, "completion_tokens": 24, "total_tokens": prompt + 24},
    }
    assert both is not None
    assert both["token_usage"]["prompt_tokens"] == prompt + len(model.get_token_ids(PROMPTS[1]))
    assert model.get_num_tokens(PROMPTS[0]) == prompt


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_log_probabilities_are_given_when_asked_for(folder: Folder, kind: str) -> None:
    model = HuggingFaceModel(model=folder(kind), max_tokens=4, logprobs=2)
    (result,) = model.generate([PROMPTS[0]]).generations[0]
    assert result.generation_info is not None
    content = result.generation_info["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content).strip()
    assert all(len(entry["top_logprobs"]) == 2 and entry["logprob"] <= 0 for entry in content)
    batched = model.generate(PROMPTS[:2]).generations[0][0].generation_info
    assert batched is not None
    assert [entry["logprob"] for entry in batched["logprobs"]["content"]] == pytest.approx(
        [entry["logprob"] for entry in content], abs=1e-3
    )


def test_a_prompt_that_was_read_is_not_read_again(folder: Folder) -> None:
    model = HuggingFaceModel(model=folder("gpt2"), max_tokens=2)
    model.invoke("the cat sat on the mat and the dog")
    session = model.session("the cat sat on the mat and the cat")
    list(session.generate(model.call(None, {})))
    assert session.counters.cached > 6


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_too_long_a_prompt_is_an_error_that_says_by_how_much(folder: Folder, kind: str) -> None:
    model = HuggingFaceModel(model=folder(kind), context_length=16)
    with pytest.raises(ContextOverflow, match="the context holds 16") as caught:
        model.invoke("the cat " * 30)
    assert caught.value.tokens > 16
    with pytest.raises(ContextOverflow):
        model.batch(["the cat", "the cat " * 30])


def test_a_full_context_is_the_end_and_says_so(folder: Folder) -> None:
    model = HuggingFaceModel(model=folder("gpt2"), context_length=16, max_tokens=None)
    for generations in (model.generate([PROMPTS[0]]).generations, model.generate(PROMPTS[:2]).generations):
        info = generations[0][0].generation_info
        assert info is not None
        assert info["finish_detail"] == "the context of 16 tokens is full"


def test_an_empty_prompt_begins_with_the_first_token(folder: Folder) -> None:
    assert HuggingFaceModel(model=folder("llama"), max_tokens=3).invoke("")
    assert len(HuggingFaceModel(model=folder("llama"), max_tokens=3).batch(["", "the"])) == 2


def test_special_tokens_of_a_prompt_are_text_unless_asked_for(folder: Folder) -> None:
    plain = HuggingFaceModel(model=folder("llama"))
    written = HuggingFaceModel(model=folder("llama"), special_tokens=True)
    assert len(written.get_token_ids("<|im_end|>")) == 1 < len(plain.get_token_ids("<|im_end|>"))


@pytest.mark.parametrize("call", [{"temprature": 1}, {"context_length": 8}, {"dtype": "auto"}])
def test_unknown_settings_of_a_call_are_refused(model: HuggingFaceModel, call: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="did you mean 'temperature'|belongs to the model"):
        model.invoke("a", **call)


@pytest.mark.parametrize(
    "option",
    [
        "dtype=float8",
        "context_length=1",
        "max_tokens=0",
        "temperature=-1",
        "unknown=1",
        "load_in_4bit=1&load_in_8bit=1",
    ],
)
def test_wrong_options_are_named(folder: Folder, option: str) -> None:
    with pytest.raises(SpecError, match=option.partition("=")[0]):
        chainkit.llm(f"hf:{folder('llama')}?{option}")


def test_a_model_with_an_encoder_has_no_session(folder: Folder) -> None:
    with pytest.raises(Unsupported, match="reads with an encoder"):
        HuggingFaceModel(model=folder("t5")).session("a")


def test_copies_and_pickles_write_the_same(model: HuggingFaceModel) -> None:
    wanted = model.invoke("the")
    assert copy.deepcopy(model).invoke("the") == wanted
    assert pickle.loads(pickle.dumps(model)).invoke("the") == wanted
    model.unload()
    assert model.invoke("the") == wanted


def test_two_models_of_the_same_folder_share_their_weights(folder: Folder) -> None:
    one, other = (HuggingFaceModel(model=folder("llama"), temperature=heat) for heat in (0.0, 1.0))
    assert one.loaded is other.loaded
    assert one.runtime is other.runtime
    assert HuggingFaceModel(model=folder("llama"), dtype="bfloat16").loaded is not one.loaded


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_dtype_can_be_chosen(folder: Folder, dtype: str) -> None:
    model = HuggingFaceModel(model=folder("llama"), dtype=dtype, max_tokens=4)
    assert model.loaded.model.dtype == getattr(torch, dtype)
    assert model.invoke("the")


def test_threads_write_what_one_would(model: HuggingFaceModel) -> None:
    wanted = [model.invoke(prompt) for prompt in PROMPTS]
    found: dict[int, str] = {}

    def run(number: int) -> None:
        found[number] = model.invoke(PROMPTS[number % len(PROMPTS)])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number] == wanted[number % len(PROMPTS)] for number in range(10))


async def test_async_calls_write_the_same_and_leave_the_loop_free(model: HuggingFaceModel) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.ensure_future(tick())
    texts = await asyncio.gather(*(model.ainvoke(prompt, max_tokens=50) for prompt in PROMPTS))
    streamed = "".join([chunk async for chunk in model.astream(PROMPTS[0], max_tokens=50)])
    ticking.cancel()
    assert texts == [model.invoke(prompt, max_tokens=50) for prompt in PROMPTS]
    assert streamed == texts[0]
    assert ticks > 5


@pytest.mark.parametrize("kind", ["llama", "t5"])
async def test_a_cancelled_call_stops_computing(folder: Folder, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = HuggingFaceModel(model=folder(kind), max_tokens=None)
    model.invoke("a", max_tokens=1)
    real, steps = model.loaded.model.forward, []

    def slow(*args: Any, **kwargs: Any) -> Any:
        steps.append(time.monotonic())
        time.sleep(0.02)
        return real(*args, **kwargs)

    monkeypatch.setattr(model.loaded.model, "forward", slow)
    model.loaded._keeps_logits = False
    task = asyncio.ensure_future(model.ainvoke("the cat"))
    while len(steps) < 3:  # noqa: ASYNC110 - another thread counts
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    seen = 0
    while seen < len(steps):
        seen = len(steps)
        await asyncio.sleep(0.3)
    assert seen < tiny.CONTEXT // 2


def test_a_constraint_is_kept_in_a_batch_and_in_a_stream(folder: Folder) -> None:
    constraint = pytest.importorskip("chainkit.decoding.constraints").choices(["the red house", "a dog"])
    model = HuggingFaceModel(model=folder("llama"), temperature=1.5)
    texts = model.batch(["the", "a longer prompt", "x"], constraint=constraint)
    assert set(texts) <= {"the red house", "a dog"}
    assert "".join(model.stream("the", constraint=constraint)) in ("the red house", "a dog")


def test_what_an_encoder_writes_cannot_be_constrained(folder: Folder) -> None:
    constraint = pytest.importorskip("chainkit.decoding.constraints").choices(["a"])
    with pytest.raises(Unsupported, match="cannot be constrained"):
        HuggingFaceModel(model=folder("t5")).invoke("Hi", constraint=constraint)
