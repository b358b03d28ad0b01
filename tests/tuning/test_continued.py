from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

import chainkit
from chainkit.base.errors import BadExamples, ChainkitError
from chainkit.tuning import train_on
from tests.backends.huggingface import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")

TEXTS = [f"the cat sat on the mat and the dog ran to the house {number}" for number in range(60)]
SMALL = {"block_tokens": 16, "max_steps": 12, "batch_size": 4, "learning_rate": 0.01}


@pytest.mark.slow
def test_an_upscaled_model_is_trained_on_and_loads(tmp_path: Path) -> None:
    tiny.save(tmp_path / "small", tiny.causal("llama"), tiny.bpe())
    chainkit.upscale(tmp_path / "small", tmp_path / "deep", slices="0:2,0:2")
    steps: list[int] = []
    result = train_on(
        tmp_path / "deep",
        TEXTS,
        tmp_path / "out",
        method="full",
        progress=lambda step: steps.append(step.number),
        **SMALL,
    )
    assert result.loss_after < result.loss_before - 1
    assert result.steps == steps[-1] == 12
    assert chainkit.llm(f"hf:{tmp_path / 'out'}?max_tokens=3").invoke("the cat")
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["num_hidden_layers"] == 4
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text("utf-8")


@pytest.mark.slow
def test_lora_leaves_the_weights_and_saves_an_adapter(tmp_path: Path) -> None:
    import peft

    folder = tiny.save(tmp_path / "small", tiny.causal("llama"), tiny.bpe())
    result = train_on(folder, TEXTS, tmp_path / "out", method="lora", **SMALL)
    assert result.loss_after < result.loss_before
    assert result.parameters < 20_000
    base = transformers.AutoModelForCausalLM.from_pretrained(folder)
    before = base.model.layers[0].mlp.up_proj.weight.clone()
    assert peft.PeftModel.from_pretrained(base, tmp_path / "out")
    assert torch.equal(base.model.layers[0].mlp.up_proj.base_layer.weight, before)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"method": "soft"}, "method must be lora or full"),
        ({"max_steps": 0}, "max_steps must be 1 or more"),
        ({"epochs": 0}, "epochs must be above 0"),
        ({"held_out": 1.5}, "held_out must be between"),
        ({"rank": 0}, "rank must be 1"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], fault: str, folder: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=fault):
        train_on(folder, TEXTS, tmp_path / "out", **change)


def test_too_little_text_and_a_folder_that_is_there_are_named(folder: str, tmp_path: Path) -> None:
    with pytest.raises(BadExamples, match="tokens and make 0 blocks of 256"):
        train_on(folder, ["the cat"], tmp_path / "out")
    with pytest.raises(ChainkitError, match="is there already"):
        train_on(folder, TEXTS, tmp_path)
