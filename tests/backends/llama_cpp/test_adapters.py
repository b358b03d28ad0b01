"""LoRA adapters: a model that wears one computes what a model with merged weights computes."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

import chainkit
from chainkit.backends.llama_cpp.models import GGUFChat, GGUFModel
from chainkit.base.errors import ModelFileError, SpecError
from tests.backends.llama_cpp import tiny

TEXT = "the cat sat on the mat"
RANK, ALPHA = 4, 8.0
EXACT = {"kv_type": tiny.KV, "flash_attention": False, "n_threads": 1}


def changes(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The halves of the change of each matrix of attention and of one of the rest, under GGUF's names."""
    random = np.random.default_rng(seed)
    result = {}
    for name, matrix in tiny.weights(len(tiny.bpe().tokens)).items():
        if "layers" in name and matrix.ndim == 2 and ("self_attn" in name or "up_proj" in name):
            first = random.standard_normal((RANK, matrix.shape[1])).astype(np.float32) * 0.3
            second = random.standard_normal((matrix.shape[0], RANK)).astype(np.float32) * 0.3
            result[tiny.gguf_name(name)] = first, second
    return result


def write_adapter(path: Path, seed: int, *, arch: str = "llama", kind: str = "lora", width: int | None = None) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", kind)
    writer.add_float32("adapter.lora.alpha", ALPHA)
    for name, (first, second) in changes(seed).items():
        writer.add_tensor(f"{name}.lora_a", first if width is None else first[:, :width].copy())
        writer.add_tensor(f"{name}.lora_b", second)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_merged(path: Path, scales: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> Path:
    plain = tiny.weights
    wanted = {}
    for name, matrix in plain(len(tiny.bpe().tokens)).items():
        heads = {"q_proj": tiny.HEADS, "k_proj": tiny.KV_HEADS}.get(name.split(".")[-2], 0)
        delta = np.zeros_like(matrix)
        for seed, scale in scales.items():
            if (halves := changes(seed).get(tiny.gguf_name(name))) is not None:
                change = (halves[1] @ halves[0]) * (scale * ALPHA / RANK)
                delta += unpermuted(change, heads) if heads else change
        wanted[name] = matrix + delta
    with monkeypatch.context() as patch:
        patch.setattr(tiny, "weights", lambda *_args: wanted)
        return tiny.write_model(path)


def unpermuted(matrix: np.ndarray, heads: int) -> np.ndarray:
    rows = matrix.shape[0] // heads // 2
    return matrix.reshape(heads, rows, 2, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)


@pytest.fixture(scope="module")
def adapter(models: Path) -> Path:
    return write_adapter(models / "lora-1.gguf", 1)


@pytest.fixture(scope="module")
def second(models: Path) -> Path:
    return write_adapter(models / "lora-2.gguf", 2)


@pytest.mark.parametrize("scales", [{1: 1.0}, {1: 0.5}, {1: 1.0, 2: -0.5}])
def test_logits_are_those_of_merged_weights(bpe_model, adapter, second, tmp_path, monkeypatch, scales):
    files = [str({1: adapter, 2: second}[seed]) for seed in scales]
    worn = GGUFModel(model=str(bpe_model), lora=files, lora_scale=list(scales.values()), **EXACT)
    merged = GGUFModel(model=str(write_merged(tmp_path / "merged.gguf", scales, monkeypatch)), **EXACT)
    found, wanted = worn.session(TEXT).logits(), merged.session(TEXT).logits()
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    plain = GGUFModel(model=str(bpe_model), **EXACT).session(TEXT).logits()
    assert np.abs(plain - wanted).max() > 0.5


def test_models_with_and_without_an_adapter_share_weights_and_keep_their_own_text(bpe_model, adapter):
    plain = GGUFModel(model=str(bpe_model), max_tokens=12)
    alone = plain.invoke(TEXT)
    worn = chainkit.llm(f"gguf:{bpe_model}?lora={adapter}&max_tokens=12")
    assert worn.invoke(TEXT) != alone == plain.invoke(TEXT)
    assert worn.runtime.weights is plain.runtime.weights
    nothing = GGUFModel(model=str(bpe_model), lora=str(adapter), lora_scale=0, max_tokens=12)
    assert nothing.invoke(TEXT) == alone


def test_a_chat_takes_adapters_in_its_spec(bpe_model, adapter, second):
    chat = chainkit.chat_model(f"gguf:{bpe_model}?lora={adapter},{second}&lora_scale=1,0.5&max_tokens=3")
    assert isinstance(chat, GGUFChat)
    assert [worn.scale for worn in chat.runtime.settings.adapters] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"arch": "qwen2"}, "was made for a model of kind 'qwen2'"),
        ({"kind": "control"}, "adapter of the kind 'control'"),
        ({"width": 16}, "does not fit: its change of"),
    ],
)
def test_an_adapter_for_another_model_is_refused(bpe_model, tmp_path, made, reason):
    path = write_adapter(tmp_path / "other.gguf", 3, **made)
    with pytest.raises(ModelFileError, match=reason):
        GGUFModel(model=str(bpe_model), lora=[str(path)])


def test_a_model_is_no_adapter_and_an_adapter_no_model(bpe_model, adapter):
    with pytest.raises(ModelFileError, match="is not an adapter but a model"):
        GGUFModel(model=str(bpe_model), lora=[str(bpe_model)])
    with pytest.raises(ModelFileError, match="of type 'adapter'"):
        GGUFModel(model=str(adapter))
    with pytest.raises(ModelFileError, match="no such file"):
        GGUFModel(model=str(bpe_model), lora=["missing.gguf"])


@pytest.mark.parametrize("options", ["lora_scale=1", "lora={0}&lora_scale=1,2", "lora={0}&lora_scale=nan"])
def test_scales_that_do_not_fit_are_refused(bpe_model, adapter, options):
    with pytest.raises(SpecError, match="lora_scale"):
        chainkit.llm(f"gguf:{bpe_model}?{options.format(adapter)}")
