"""Settings of published models, for plans without files."""

from __future__ import annotations

from typing import Any

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "torch_dtype": "float16",
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "Llama-2-7B": LLAMA,
    "Llama-2-13B": LLAMA
    | {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40},
    "SOLAR-10.7B": LLAMA | {"intermediate_size": 14336, "num_hidden_layers": 48, "num_key_value_heads": 8},
    "BLOOM-176B": {
        "model_type": "bloom",
        "hidden_size": 14336,
        "n_layer": 70,
        "num_attention_heads": 112,
        "vocab_size": 250880,
        "seq_length": 2048,
        "torch_dtype": "bfloat16",
    },
}
