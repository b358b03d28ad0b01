"""Tiny decoders with random weights: every architecture of the promise, and layers stacked by hand to compare with."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

DEPTH, VOCABULARY = 6, 96
_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
_PYTHIA = {key: _LLAMA[key] for key in _LLAMA if key != "num_key_value_heads"}
_OPT = {
    "hidden_size": 32,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "word_embed_proj_dim": 32,
}
# name of the architecture -> class of its config, settings
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _LLAMA),
    "llama_tied": ("LlamaConfig", _LLAMA | {"tie_word_embeddings": True}),
    "mistral": ("MistralConfig", _LLAMA | {"sliding_window": 8}),
    "qwen2": ("Qwen2Config", _LLAMA | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 4}),
    "qwen3": ("Qwen3Config", _LLAMA | {"head_dim": 8}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": DEPTH, "n_head": 4, "n_positions": 128}),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": DEPTH, "n_head": 4}),
    "phi": ("PhiConfig", _PYTHIA),
    "phi3": ("Phi3Config", _LLAMA | {"pad_token_id": 0}),
    "gpt_neox": ("GPTNeoXConfig", _PYTHIA),
    "opt": ("OPTConfig", _OPT),
    "falcon": (
        "FalconConfig",
        {"hidden_size": 32, "num_hidden_layers": DEPTH, "num_attention_heads": 4, "alibi": False},
    ),
    "gemma": ("GemmaConfig", _LLAMA | {"head_dim": 8}),
    "gemma2": ("Gemma2Config", _LLAMA | {"head_dim": 8, "sliding_window": 8}),
    "gemma3": ("Gemma3TextConfig", _LLAMA | {"head_dim": 8, "sliding_window": 8}),
    "mixtral": ("MixtralConfig", _LLAMA | {"num_local_experts": DEPTH, "num_experts_per_tok": 2}),
    "gpt_oss": (
        "GptOssConfig",
        _LLAMA | {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 8},
    ),
}
PLACES = {"gpt2": "transformer.h", "bloom": "transformer.h", "falcon": "transformer.h"}
PLACES |= {"gpt_neox": "gpt_neox.layers", "opt": "model.decoder.layers"}


def model(kind: str, **changes: Any) -> transformers.PreTrainedModel:
    """A model whose logits show which layers it has."""
    name, settings = KINDS[kind]
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = getattr(transformers, name)(**special | {"vocab_size": VOCABULARY} | settings | changes)
    torch.manual_seed(3)
    made = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for weights in made.parameters():
            if weights.dim() > 1:
                weights.normal_(0, 1.5 / weights.shape[-1] ** 0.5)
    return made.eval()


def save(kind: str, folder: Path, **options: Any) -> Path:
    model(kind).save_pretrained(folder, **options)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 128}')
    return folder


def load(folder: Path) -> transformers.PreTrainedModel:
    """A model from its files, nothing of it missing, left over or of another shape."""
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True, dtype=torch.float32
    )
    assert not any(report.values()), report
    return loaded.eval()


def by_hand(kind: str, whole: transformers.PreTrainedModel, sources: list[int]) -> transformers.PreTrainedModel:
    """The model with its own layers in another order, each a copy."""
    stacked = copy.deepcopy(whole)
    parent, _, name = PLACES.get(kind, "model.layers").rpartition(".")
    holder = stacked.get_submodule(parent)
    layers = [copy.deepcopy(getattr(holder, name)[source]) for source in sources]
    for number, layer in enumerate(layers):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number
    setattr(holder, name, nn.ModuleList(layers))
    stacked.config.num_hidden_layers = len(sources)
    if getattr(stacked.config, "layer_types", None):
        stacked.config.layer_types = [whole.config.layer_types[source] for source in sources]
    return stacked


def logits(model: transformers.PreTrainedModel) -> torch.Tensor:
    torch.manual_seed(5)
    with torch.inference_mode():
        return model(torch.randint(3, VOCABULARY, (2, 24)), use_cache=False).logits


def written(model: transformers.PreTrainedModel) -> list[int]:
    """Twelve tokens, computed with a cache."""
    start = torch.tensor([[5, 9, 33]])
    return model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=12, do_sample=False)[0].tolist()
