"""Weights in fewer bits: smaller, and nearly the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import chainkit
from chainkit.backends.huggingface.int8 import Int8Linear
from chainkit.backends.huggingface.models import HuggingFaceModel
from chainkit.base.errors import SpecError, Unsupported
from tests.backends.huggingface import tiny

Folder = Callable[[str], str]
TEXT = "the cat sat on the mat"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Llama whose rows are several blocks of 64 wide."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tiny.bpe()),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
    )
    return tiny.save(tmp_path_factory.mktemp("wide") / "llama", LlamaForCausalLM(config).eval(), tiny.bpe())


def likeness(path: str, **options: Any) -> float:
    """How the next token's scores go together with those of the whole weights: 1 is the same."""
    whole = HuggingFaceModel(model=path, n_threads=1).session(TEXT).logits()
    return float(np.corrcoef(whole, HuggingFaceModel(model=path, **options).session(TEXT).logits())[0, 1])


def test_int8_by_torch_is_nearly_the_same_and_a_quarter_of_the_size(wide: str) -> None:
    assert likeness(wide, int8="dynamic") > 0.999
    model = chainkit.llm(f"hf:{wide}?int8=dynamic&max_tokens=5")
    layer = model.loaded.model.model.layers[0].mlp.up_proj
    assert isinstance(layer, Int8Linear)
    assert layer.weight.dtype == torch.qint8
    assert model.batch(["the cat", "a dog ran"]) == [model.invoke("the cat"), model.invoke("a dog ran")]


@pytest.mark.parametrize("kind", ["llama", "qwen3", "bloom"])
def test_int8_writes_on_every_architecture_with_linear_layers(folder: Folder, kind: str) -> None:
    assert isinstance(HuggingFaceModel(model=folder(kind), int8="dynamic", max_tokens=3).invoke(TEXT), str)


def test_int8_layers_multiply_as_the_layers_did() -> None:
    torch.manual_seed(0)
    layer, values = torch.nn.Linear(96, 40), torch.randn(2, 5, 96)
    found, wanted = Int8Linear(layer)(values), layer(values)
    assert found.shape == wanted.shape
    assert float((found - wanted).detach().abs().max()) < 0.05 * float(wanted.detach().std()) + 0.05


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("int8=dynamic&load_in_8bit=yes", "exclude each other"),
        ("int8=static", "int8"),
        ("quant_type=fp4", "belong to load_in_4bit"),
        ("load_in_4bit=yes&quant_type=nf3", "quant_type"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(folder: Folder, options: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        chainkit.llm(f"hf:{folder('llama')}?{options}")


def test_int8_is_for_a_cpu(folder: Folder) -> None:
    with pytest.raises(Unsupported, match="int8 is for a CPU"):
        HuggingFaceModel(model=folder("llama"), int8="dynamic", device="cuda").invoke("a")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"load_in_8bit": True}, 0.999),
        ({"load_in_4bit": True}, 0.95),
        ({"load_in_4bit": True, "quant_type": "fp4", "double_quant": False, "compute_dtype": "float32"}, 0.9),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_bitsandbytes_is_nearly_the_same_on_a_cpu(wide: str, options: dict[str, Any], least: float) -> None:
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    assert likeness(wide, **options) > least
    model = HuggingFaceModel(model=wide, **options)
    weight = model.loaded.model.model.layers[0].mlp.up_proj.weight
    assert weight.dtype in (torch.uint8, torch.int8)
    if options.get("load_in_4bit"):
        state = weight.quant_state
        assert (state.quant_type, state.nested) == (options.get("quant_type", "nf4"), options.get("double_quant", True))
        assert weight.numel() * 2 == 256 * 512
