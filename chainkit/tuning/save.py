"""A soft prompt as a folder that PEFT loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save

from chainkit.backends.huggingface.libraries import torch
from chainkit.local.soft_prompt import CONFIG, FINGERPRINT, WEIGHTS, fingerprint
from chainkit.tuning.model import Base

SMALL_BYTES = 90_000
"""Vectors that take more than this as float32 are saved as float16."""


def save_prompt(folder: Path, base: Base, vectors: torch.Tensor) -> None:
    """Write vectors [v, D] with PEFT's config and the model's fingerprint."""
    values = vectors.detach().float().cpu()
    if values.nbytes > SMALL_BYTES:
        values = values.half()
    # not save_file, which gives files that only their owner may read
    (folder / WEIGHTS).write_bytes(save({"prompt_embeddings": values.contiguous()}, {"format": "pt"}))
    write_json(folder / CONFIG, _config(base, len(values)))
    save_fingerprint(folder, base)


def save_fingerprint(folder: Path, base: Base) -> None:
    """Write what the model is known by."""
    write_json(folder / FINGERPRINT, fingerprint(base.vocabulary.size, base.sample()))


def saved_bytes(vectors: int, width: int) -> int:
    """About how large the folder's weights become."""
    plain = 4 * vectors * width
    return plain if plain <= SMALL_BYTES else plain // 2


def write_json(path: Path, value: Any) -> None:
    """An object as a file."""
    path.write_text(json.dumps(value, indent=1) + "\n", "utf-8")


def _config(base: Base, count: int) -> dict[str, Any]:
    """What PEFT's PromptTuningConfig holds; "RANDOM", since any other init would load a tokenizer."""
    config = base.loaded.config
    return {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": Path(base.name).name,
        "inference_mode": True,
        "num_virtual_tokens": count,
        "token_dim": base.width,
        "num_transformer_submodules": 1,
        "num_attention_heads": getattr(config, "num_attention_heads", None),
        "num_layers": getattr(config, "num_hidden_layers", None),
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": None,
        "tokenizer_name_or_path": None,
        "tokenizer_kwargs": None,
        "auto_mapping": None,
        "revision": None,
    }
