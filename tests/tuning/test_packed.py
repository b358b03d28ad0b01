"""The packed pass beside the library's own."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from chainkit.tuning.batches import EncodedExample, batch_of
from chainkit.tuning.learners import Soft, answer_loss, start_vectors
from chainkit.tuning.model import Base, open_base
from chainkit.tuning.packed import packed
from chainkit.tuning.settings import TuningSettings
from tests.backends.huggingface import tiny

ROWS = {
    "unequal": [
        EncodedExample((5, 6, 7, 8), (9,)),
        EncodedExample((5, 6), (7, 8, 9)),
        EncodedExample((5, 6, 4, 3, 2, 1, 8), (3, 4)),
    ],
    "equal": [EncodedExample((1, 2, 3), (4, 5)), EncodedExample((3, 2, 1), (5, 4))],
    "nothing in common": [EncodedExample((9, 8), (1,)), EncodedExample((), (2, 3))],
    "the same": [EncodedExample((9, 8, 7), (6, 5))] * 3,
    "one": [EncodedExample((4,), (2,))],
}


def base_of(kind: str) -> Base:
    sizes = {"vocab_size": len(tiny.bpe()), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": tiny.CONTEXT}
    torch.manual_seed(1)
    made = {
        "biases": lambda: LlamaForCausalLM(LlamaConfig(**sizes, **heads, attention_bias=True, mlp_bias=True)),
        "scaled": lambda: LlamaForCausalLM(
            LlamaConfig(**sizes, **heads, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4})
        ),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**sizes, **heads)),
    }
    model = made[kind]().eval() if kind in made else tiny.causal(kind)
    return open_base((model, tiny.bpe()))


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "biases", "scaled"])
def test_losses_and_slopes_are_those_of_the_models_own_pass(kind: str) -> None:
    base = base_of(kind)
    learner = Soft(base, TuningSettings(), start_vectors(base, TuningSettings(), "the cat sat on"))
    assert learner._packed is not None
    with base.frozen():
        for name, rows in ROWS.items():
            ours, count = learner.loss(rows)
            theirs, wanted = answer_loss(base, batch_of(rows, 4), learner.vectors)
            slopes = [torch.autograd.grad(loss, learner.vectors)[0] for loss in (ours, theirs)]
            assert count == wanted
            assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5), name
            assert torch.allclose(*slopes, rtol=1e-3, atol=1e-5 * float(slopes[1].abs().max())), name


@pytest.mark.parametrize("kind", ["gpt2", "bloom"])
def test_other_models_are_computed_by_their_own_pass(kind: str) -> None:
    assert packed(base_of(kind)) is None


def test_a_model_that_calls_itself_llama_and_computes_something_else_is_found_out() -> None:
    base = base_of("biases")
    assert packed(base) is not None
    base.model.model.layers[1].register_forward_hook(lambda _module, _given, output: output * 1.5)
    assert packed(base) is None


def test_texts_longer_than_a_sliding_window_are_computed_by_the_models_own_pass() -> None:
    base = base_of("mistral")
    learner = Soft(base, TuningSettings(), start_vectors(base, TuningSettings(), "the cat"))
    long = [EncodedExample(tuple(range(20)), (1, 2))]
    assert learner._packed is not None
    assert not learner._packed.reads(long, 4)
    with torch.inference_mode():
        ours, _ = learner.loss(long)
        assert float(ours) == pytest.approx(float(answer_loss(base, batch_of(long, 4), learner.vectors)[0]), rel=1e-6)


def test_half_precision_is_packed_too() -> None:
    base = open_base((base_of("llama").model.to(torch.bfloat16), tiny.bpe()))
    learner = Soft(base, TuningSettings(), start_vectors(base, TuningSettings(), "the cat"))
    assert learner._packed is not None
    loss, _ = learner.loss(ROWS["unequal"])
    theirs, _ = answer_loss(base, batch_of(ROWS["unequal"], 4), learner.vectors)
    assert float(loss.detach()) == pytest.approx(float(theirs.detach()), rel=0.02)
    loss.backward()
    assert learner.vectors.grad is not None
    assert torch.isfinite(learner.vectors.grad).all()
