"""Write the demo model as a transformers folder and, from that folder, as GGUF.

The folder holds float16 weights; each GGUF file is made from those, so that all files describe one model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from numpy.typing import NDArray
from safetensors.numpy import load_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

HERE = Path(__file__).parent
Kind = Literal["f32", "f16", "q8_0"]
TYPES: dict[Kind, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
# Name in transformers -> name in GGUF, of the tensors outside of the layers and of those in each layer.
OUTER_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def save_transformers(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write config, float16 weights and tokenizer with its chat template.

    The model is changed to float16.
    """
    from transformers import GenerationConfig

    from .chat import for_transformers

    config = model.config
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        do_sample=False,
        max_new_tokens=64,
    )
    model.half().save_pretrained(folder)
    for_transformers(tokenizer).save_pretrained(folder)


def write_gguf(folder: Path, target: Path, kind: Kind = "q8_0") -> None:
    """Write a Llama model with a "llama-bpe" tokenizer as GGUF v3.

    Args:
        folder: A folder that `save_transformers` wrote.
        target: The file to write.
        kind: Type of the matrices; norms are always float32.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    matrix_type, file_type = TYPES[kind]
    writer = GGUFWriter(target, "llama")
    writer.add_file_type(file_type)
    write_identity(writer)
    write_shape(writer, config)
    write_tokenizer(writer, folder)
    for name, values in gguf_tensors(folder).items():
        stored = matrix_type if values.ndim == 2 else GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_identity(writer: GGUFWriter) -> None:
    """What the file is and how it may be used."""
    writer.add_name("chainkit demo")
    writer.add_description("A demonstration model that answers questions by copying words from a short context.")
    writer.add_license("mit")
    writer.add_languages(["en"])


def write_shape(writer: GGUFWriter, config: dict[str, Any]) -> None:
    """The sizes that llama.cpp needs to run the tensors."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])


def write_tokenizer(writer: GGUFWriter, folder: Path) -> None:
    """Vocabulary, merges, special tokens and chat template."""
    parts = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    special = {token["content"]: token["id"] for token in parts["added_tokens"]}
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    ids: dict[str, int] = {**parts["model"]["vocab"], **special}
    tokens = sorted(ids, key=ids.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in parts["model"]["merges"]])
    writer.add_bos_token_id(ids[settings["bos_token"]])
    writer.add_eos_token_id(ids[settings["eos_token"]])
    writer.add_eot_token_id(ids[settings["eos_token"]])
    writer.add_pad_token_id(ids[settings["pad_token"]])
    writer.add_add_bos_token(True)
    writer.add_chat_template(chat_template(folder))


def chat_template(folder: Path) -> str:
    """The chat template of a transformers folder, from the file of its own or from the tokenizer's settings."""
    own_file = folder / "chat_template.jinja"
    if own_file.exists():
        return own_file.read_text("utf-8")
    template: str = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))["chat_template"]
    return template


def gguf_tensors(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The weights of a transformers folder under their GGUF names, with q and k in llama.cpp's row order."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    tensors = {}
    for name, stored in load_file(folder / "model.safetensors").items():
        values = stored.astype(np.float32)
        count = next((count for part, count in heads.items() if part in name), None)
        tensors[gguf_name(name)] = values if count is None else interleaved(values, count)
    return tensors


def gguf_name(name: str) -> str:
    """The GGUF name of a tensor of a Llama model in transformers.

    >>> gguf_name("model.layers.3.self_attn.q_proj.weight")
    'blk.3.attn_q.weight'
    """
    if name in OUTER_NAMES:
        return OUTER_NAMES[name]
    _, _, layer, part = name.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[part.removesuffix('.weight')]}.weight"


def interleaved(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of a query or key matrix [heads * size, width] in the order llama.cpp rotates them.

    transformers pairs row i of a head with row i + size / 2, llama.cpp's "llama" architecture neighbouring rows.
    """
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(rows.shape)


def uninterleaved(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """The inverse of `interleaved`."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def main() -> None:
    """Write the GGUF file of a transformers folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=HERE / "hf", help="a transformers folder of the demo model")
    parser.add_argument("--kind", choices=list(TYPES), default="q8_0")
    parser.add_argument("--target", type=Path, help="default: demo-KIND.gguf beside this file")
    chosen = parser.parse_args()
    write_gguf(chosen.folder, chosen.target or HERE / f"demo-{chosen.kind}.gguf", chosen.kind)


if __name__ == "__main__":
    main()
