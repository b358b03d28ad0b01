from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("xllamacpp")

import chainkit
from chainkit.backends.llama_cpp.header import read_header
from chainkit.base.errors import BadExamples, ChainkitError, ModelFileError, SoftPromptMismatch
from chainkit.local.soft_prompt import SoftPrompt, load_soft_prompt
from chainkit.tuning import bake
from examples.demo_model.export import write_gguf
from examples.demo_model.json_task import pairs

DEMO = Path(__file__).parents[2] / "examples" / "demo_model"
JSON = DEMO / "json_prompt"
QUESTION = "Context: Mira lives in Oskaville. Tom is 31 years old.\n\nQuestion: Where does Mira live?"


@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0"])
def test_named_tokens_compute_what_the_soft_prompt_does(kind: str, tmp_path: Path) -> None:
    write_gguf(DEMO / "hf", tmp_path / "plain.gguf", kind)
    baked = bake(tmp_path / "plain.gguf", {"json": JSON, "j-2": str(JSON)}, tmp_path / "baked.gguf")
    assert baked.prompts["j-2"].startswith("<|j-2_0|><|j-2_1|>")
    assert (tmp_path / "baked.gguf").stat().st_size == (tmp_path / "plain.gguf").stat().st_size + baked.grown_bytes
    exact = {"kv_type": "f32", "flash_attention": False, "probe": False}
    plain = chainkit.llm(f"gguf:{tmp_path / 'plain.gguf'}", **exact)
    with_tokens = chainkit.llm(f"gguf:{baked.path}", **exact, special_tokens=True)
    soft = load_soft_prompt(JSON)
    session = plain.session().begin_with(soft).append(QUESTION)
    named = with_tokens.runtime.vocabulary.tokenize(baked.prompts["json"], special=True)
    assert named == list(range(2048, 2056))
    twin = with_tokens.session().append([*named, *session.tokens[session.virtual :]])
    far = np.abs(twin.logits()[:2048] - session.logits()).max()
    assert far < {"f32": 1e-4, "f16": 0.05, "q8_0": 0.5}[kind]
    assert twin.logits()[2048:] == pytest.approx(
        twin.logits()[read_header(baked.path)["tokenizer.ggml.padding_token_id"]]
    )
    assert not with_tokens.invoke(QUESTION).startswith("<|json")


def test_the_rest_of_the_file_stays_as_it_is(tmp_path: Path) -> None:
    model = DEMO / "demo-q8_0.gguf"
    bake(model, {"json": JSON}, tmp_path / "baked.gguf")
    old, new = read_header(model), read_header(tmp_path / "baked.gguf")
    assert set(new.tensors) == {*old.tensors, "output.weight"}
    for key in old:
        if key not in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "llama.vocab_size"):
            assert str(new[key]) == str(old[key])
    assert new["llama.vocab_size"] == len(new["tokenizer.ggml.tokens"]) == 2056
    chat = f"gguf:{tmp_path / 'baked.gguf'}?probe=false"
    assert chainkit.chat_model(chat).invoke(QUESTION).text == "Oskaville"


def test_what_cannot_be_baked_is_named_before_anything_is_written(tmp_path: Path) -> None:
    model, out = DEMO / "demo-q8_0.gguf", tmp_path / "baked.gguf"
    with pytest.raises(BadExamples, match="'a b' is not a name"):
        bake(model, {"a b": JSON}, out)
    with pytest.raises(BadExamples, match="no soft prompts"):
        bake(model, {}, out)
    with pytest.raises(SoftPromptMismatch, match="of width 8"):
        bake(model, {"x": SoftPrompt("narrow", np.ones((2, 8), np.float32))}, out)
    with pytest.raises(ModelFileError, match="no such file"):
        bake(tmp_path / "absent.gguf", {"x": JSON}, out)
    assert list(tmp_path.iterdir()) == []
    bake(model, {"x": JSON}, out)
    with pytest.raises(ChainkitError, match="is there already"):
        bake(model, {"x": JSON}, out)
    with pytest.raises(ModelFileError, match="has a token <.x_0.> already"):
        bake(out, {"x": JSON}, tmp_path / "twice.gguf")


@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_a_file_whose_chats_always_begin_with_a_soft_prompt_answers_as_the_soft_prompt_does(
    kind: str, tmp_path: Path
) -> None:
    write_gguf(DEMO / "hf", tmp_path / "plain.gguf", kind)
    baked = bake(tmp_path / "plain.gguf", {"json": JSON}, tmp_path / "baked.gguf", always="json")
    assert read_header(baked.path)["tokenizer.ggml.add_bos_token"] is False
    questions = [question for question, _ in pairs(8, 5)]
    plain = chainkit.chat_model(f"gguf:{tmp_path / 'plain.gguf'}", soft_prompt=str(JSON))
    there = chainkit.chat_model(f"gguf:{baked.path}?probe=false")
    wanted, found = ([model.invoke(question).text for question in questions] for model in (plain, there))
    assert sum(a == b for a, b in zip(wanted, found, strict=True)) >= (8 if kind == "f32" else 7)
    assert wanted[0].startswith('{"answer"')


def test_only_a_soft_prompt_that_is_baked_can_stand_before_every_chat(tmp_path: Path) -> None:
    with pytest.raises(BadExamples, match="'other' is to stand before every chat, and is none of json"):
        bake(DEMO / "demo-q8_0.gguf", {"json": JSON}, tmp_path / "baked.gguf", always="other")
    assert list(tmp_path.iterdir()) == []
