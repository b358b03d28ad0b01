"""GGML files of 2023 on ctransformers: the same numbers as transformers, and its faults kept in a child process."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import HumanMessage

import chainkit
from chainkit.backends.ctransformers.kinds import kind_of, named_kind
from chainkit.backends.ctransformers.models import CTransformersChat, CTransformersModel
from chainkit.base.errors import ContextOverflow, ModelFileError, SpecError, TemplateError, Unsupported
from chainkit.base.generation import GenerationRequest
from tests.backends.ctransformers import tiny
from tests.backends.session_contract import TEXT, SessionContract


class TestSession(SessionContract):
    limit = tiny.CONTEXT

    @pytest.fixture(autouse=True)
    def _runtime(self, model: CTransformersModel, file: Any) -> Any:
        self._shared, self._other = model, CTransformersModel(model=str(file), n_batch=4)
        yield
        self._other.unload()

    test_prompts_in_turn_are_never_read_twice = None  # the library has one memory: prompts in turn are read in turn

    def make(self) -> Any:
        return self._shared.session()

    def alone(self) -> Any:
        session = self._other.session()
        session.runtime.forget()
        return session


def test_the_logits_are_those_of_transformers(model):
    torch = pytest.importorskip("torch")
    session = model.session(TEXT)
    with torch.inference_mode():
        wanted = tiny.reference()(torch.tensor([session.tokens])).logits[0, -1].numpy()
    np.testing.assert_allclose(session.logits(), wanted, atol=2e-2)  # its GELU is a table of half floats
    assert int(session.logits().argmax()) == int(wanted.argmax())


@pytest.mark.parametrize("text", [TEXT, "the cat's 12  mats\n\n and\t42!", "漢字 🙂 é", "   ", "the<|endoftext|>cat"])
def test_text_is_cut_as_the_library_cuts_it_and_nothing_is_lost(model, text):
    tokens = model.get_token_ids(text)
    assert model.runtime.vocabulary.detokenize(tokens) == text
    assert tokens == model.runtime.tokens_by_library(text.encode(), False)


def test_a_text_with_more_tokens_than_characters_breaks_nothing(model):
    session = model.session("🙂漢" * 8)
    assert len(session.tokens) == 56
    assert np.isfinite(session.logits()).all()
    with pytest.raises(ContextOverflow):
        model.invoke("漢" * 20_000)


def test_a_full_context_is_an_error_and_nothing_is_dropped(model):
    with pytest.raises(ContextOverflow, match=f"the context holds {tiny.CONTEXT}"):
        model.invoke("the " * 200)
    session = model.session("cat " * 60)
    last = list(session.generate(GenerationRequest(max_tokens=None)))[-1]
    assert last.finish in ("length", "eos")


def test_multi_byte_characters_and_newlines_come_out_whole(model):
    vocabulary = model.runtime.vocabulary
    wanted = "é\n\n🙂".encode()
    tokens = [vocabulary._tokens["é".encode()], vocabulary._tokens[b"\n\n"], *"🙂".encode()]
    assert b"".join(map(vocabulary.piece, tokens)) == wanted
    session = model.session("the").append(tokens)
    assert session.text == "the" + wanted.decode()
    assert session.logits().shape == (vocabulary.size,)


def test_a_stop_text_ends_the_stream_and_is_not_shown(model):
    whole = model.invoke("the cat")
    stop = whole[6:9]
    streamed = "".join(model.stream("the cat", stop=[stop]))
    assert streamed == model.invoke("the cat", stop=[stop]) == whole[: whole.index(stop)]


def test_usage_counts_tokens(model):
    result = model.generate(["the cat sat"])
    usage = result.llm_output["token_usage"]
    assert usage["prompt_tokens"] == len(model.get_token_ids("the cat sat"))
    assert usage["completion_tokens"] == 16


def test_a_constraint_is_followed(model):
    from chainkit.decoding.constraints import regex

    text = model.invoke("the cat", constraint=regex("(red|blue) [0-9]{3}"), temperature=1.5)
    assert text[:3] in ("red", "blu")
    assert text[-3:].isdigit()


def test_threads_take_turns_and_each_gets_its_own_text(model):
    prompts = [f"the cat {number}" for number in range(4)]
    alone = [model.invoke(prompt) for prompt in prompts]
    found: dict[int, str] = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: model.invoke(prompts[n])})) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(4)] == alone


def test_messages_are_written_by_a_named_template(file):
    chat = CTransformersChat(model=str(file), chat_template="alpaca", max_tokens=4)
    answer = chat.invoke([HumanMessage("the cat")], stop=["zzz"])
    assert answer.usage_metadata["output_tokens"] == 4
    assert answer.response_metadata["model_provider"] == "ctransformers"
    with pytest.raises(TemplateError, match="chat_template="):
        CTransformersChat(model=str(file)).invoke("hello")


def test_a_child_that_dies_is_an_error_and_the_next_call_starts_another(file):
    model = CTransformersModel(model=str(file), n_batch=3, max_tokens=2)
    text = model.invoke("the cat")
    model.runtime._child.kill()
    with pytest.raises(ModelFileError, match="ended ctransformers"):
        model.invoke("the cat")
    model.unload()
    assert model.invoke("the cat") == text


def test_unloading_ends_the_process(file):
    model = CTransformersModel(model=str(file), n_batch=5)
    child = model.runtime._child
    model.unload()
    assert child.poll() is not None


@pytest.mark.slow
def test_a_damaged_file_is_an_error_or_works_and_never_ends_this_process(file, tmp_path):
    data, chance = file.read_bytes(), random.Random(1)
    for number in range(40):
        damaged = bytearray(data)
        for _ in range(4):
            damaged[chance.randrange(4, 30 if number % 4 == 1 else len(data))] = chance.randrange(256)
        path = tmp_path / f"gpt2-{number}.bin"
        path.write_bytes(damaged[: chance.randrange(len(data))] if number % 3 == 0 else damaged)
        model = CTransformersModel(model=str(path), model_type="gpt2", max_tokens=3)
        with suppress(chainkit.ChainkitError, ValueError):  # a name, or a text that the model cannot read
            model.invoke("the cat")
        model.unload()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "cut short"), (b"lmgg" + b"\xff" * 100, "claims -1 tokens"), (b"PK\3\4" + bytes(100), "not a GGML file")],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, reason):
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    options = {} if content.startswith(b"PK") else {"model_type": "gpt2"}
    with pytest.raises(ModelFileError, match=reason):
        CTransformersModel(model=str(path), **options).invoke("a")


def test_the_kind_is_found_in_the_file_or_its_name(file, tmp_path):
    assert kind_of(file) == "gpt2"
    unnamed = tmp_path / "model.bin"
    unnamed.write_bytes(file.read_bytes())
    with pytest.raises(ModelFileError, match="gpt2 or starcoder"):
        kind_of(unnamed)
    assert named_kind("GPT-NeoX") == "gpt_neox"
    with pytest.raises(SpecError, match="no kind of model is called 'bert'"):
        chainkit.llm(f"ctransformers:{file}?model_type=bert")


def test_a_context_longer_than_the_model_is_refused(file):
    with pytest.raises(Unsupported, match="can read 128 tokens"):
        CTransformersModel(model=str(file), context_length=4096).invoke("the")


def test_a_ggml_file_of_another_family_goes_to_ctransformers(file):
    model = chainkit.llm(f"ggml:{file}", max_tokens=4)
    assert isinstance(model, CTransformersModel)
    assert model.invoke("the cat") == chainkit.llm(f"ctransformers:{file}?max_tokens=4").invoke("the cat")
    assert isinstance(chainkit.chat_model(f"ggml:{file}?chat_template=alpaca"), CTransformersChat)
