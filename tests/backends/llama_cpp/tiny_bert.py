"""A tiny BERT with random weights as GGUF, and the same in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

WORDS = (
    "the cat sat on mat and dog ran to a small house near sea red blue travel pillow kitchen knife ##s ##ing".split()  # noqa: SIM905
)
TOKENS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *WORDS,
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
]
TOKENS = list(dict.fromkeys(TOKENS))
WIDTH, LAYERS, HEADS, FF, CONTEXT = 32, 2, 4, 64, 64


def weights() -> dict[str, np.ndarray]:
    """Random weights under transformers' names."""
    random = np.random.default_rng(0)
    shapes = {
        "embeddings.word_embeddings.weight": (len(TOKENS), WIDTH),
        "embeddings.position_embeddings.weight": (CONTEXT, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
    }
    for layer in range(LAYERS):
        sizes = {name: (WIDTH, WIDTH) for name in _BLOCK if "LayerNorm" not in name}
        sizes |= {"intermediate.dense": (FF, WIDTH), "output.dense": (WIDTH, FF)}
        for name, shape in sizes.items():
            shapes[f"encoder.layer.{layer}.{name}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{name}.bias"] = shape[:1]
    result = {name: (random.standard_normal(shape) * 0.3).astype(np.float32) for name, shape in shapes.items()}
    norms = ["embeddings.LayerNorm"]
    norms += [f"encoder.layer.{n}.{name}" for n in range(LAYERS) for name in _BLOCK if "LayerNorm" in name]
    for norm in norms:
        result[f"{norm}.weight"], result[f"{norm}.bias"] = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    return result


def reference() -> Any:
    """The model in transformers."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(TOKENS),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FF,
        max_position_embeddings=CONTEXT,
    )
    bert = BertModel(config, add_pooling_layer=False).eval()
    bert.load_state_dict({name: torch.from_numpy(value) for name, value in weights().items()}, strict=True)
    return bert


def write(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    spelled = [t[2:] if t.startswith("##") else t if t.startswith("[") else "\u2581" + t for t in TOKENS]
    writer.add_token_list([text.encode() for text in spelled])
    writer.add_token_types([3 if text.startswith("[") else 1 for text in TOKENS])
    writer.add_token_type_count(2)
    for name, token in {"unknown": 1, "seperator": 3, "padding": 0, "cls": 2, "mask": 4, "bos": 2, "eos": 3}.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)
    for name, matrix in _tensors().items():
        writer.add_tensor(name, np.ascontiguousarray(matrix, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_BLOCK = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_TOP = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}


def _tensors() -> dict[str, np.ndarray]:
    result = {}
    for name, value in weights().items():
        part, _, kind = name.rpartition(".")
        if part in _TOP:
            result[f"{_TOP[part]}.{kind}"] = value
        elif part.startswith("encoder.layer."):
            layer, inner = part.removeprefix("encoder.layer.").split(".", 1)
            result[f"blk.{layer}.{_BLOCK[inner]}.{kind}"] = value
    return result
