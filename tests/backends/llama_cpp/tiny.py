"""Tiny Llama models with random weights, written as GGUF; the same weights go into transformers as the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from chainkit.backends.llama_cpp.libraries import forced

WIDTH, LAYERS, HEADS, KV_HEADS, FF, CONTEXT = 32, 2, 4, 2, 64, 512
ROPE_THETA, EPSILON = 10_000.0, 1e-5
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
# the most exact that the library of the setting can do: ik_llama.cpp keeps what was read as f16
KV = "f16" if forced() == "ik_llama_cpp" else "f32"

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TEXT = """the cat sat on the mat and the dog ran to the cat. Once there was a small house near the sea; the
house was red and the sea was blue. What is the colour of the house? The colour of the house is red.
12 and 30 are 42."""


@dataclass(frozen=True)
class Vocab:
    """What a GGUF file says about its tokens."""

    model: str
    tokens: list[bytes]
    types: list[int]
    keys: dict[str, Any] = field(default_factory=dict)
    scores: list[float] | None = None
    merges: list[str] | None = None


@cache
def bpe_tokenizer() -> Any:
    """A byte-level BPE of 400 tokens, trained on a few lines, with the special tokens of ChatML."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEXT] * 4, trainer)
    return tokenizer


@cache
def bpe() -> Vocab:
    import json

    spec = json.loads(bpe_tokenizer().to_str())["model"]
    tokens = [token.encode() for token, _ in sorted(spec["vocab"].items(), key=lambda item: item[1])]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in spec["merges"]]
    keys = {"tokenizer.ggml.pre": "gpt-2", "eos_token_id": 2, "bos_token_id": 0, "add_bos_token": False}
    return Vocab("gpt2", tokens, [CONTROL] * 3 + [NORMAL] * (len(tokens) - 3), keys, merges=merges)


@cache
def spm() -> Vocab:
    """Llama-2's kind of vocabulary: a space is spelled U+2581, what has no token is spelled in bytes."""
    words = sorted({word.strip(".;?") for word in _TEXT.split()})
    characters = sorted({c for c in _TEXT if c.strip()} | set("\u2581"))
    pieces = [*characters, *_prefixes(words)]
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256)), *(p.encode() for p in pieces)]
    scores = [0.0] * 259 + [-float(len(pieces) - len(piece) * 50) for piece in pieces]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(pieces)
    keys = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0, "add_bos_token": True}
    return Vocab("llama", tokens, types, keys, scores=scores)


def _prefixes(words: list[str]) -> list[str]:
    """Every beginning of every word with its space, so that merges can reach the whole word."""
    pieces = {"\u2581" + word[:n] for word in words for n in range(1, len(word) + 1)}
    return sorted(pieces, key=lambda piece: (len(piece), piece))


def taught(
    weights: dict[str, np.ndarray], likes: dict[int, float], follows: dict[int, dict[int, float]]
) -> dict[str, np.ndarray]:
    """The weights with habits: tokens that are always likely, and tokens that like to follow another one."""
    embedding, head = weights["model.embed_tokens.weight"].copy(), weights["lm_head.weight"].copy()
    embedding[:, 0], head[:, 0] = 4.0, 0.0  # one feature that every token has: what reads it is a constant
    quiet = {name: matrix * 0.02 for name, matrix in weights.items() if "o_proj" in name or "down_proj" in name}
    for token, strength in likes.items():
        head[token, 0] = strength
    for before, after in follows.items():
        direction = embedding[before, 1:] / np.linalg.norm(embedding[before, 1:])
        for token, strength in after.items():
            head[token, 1:] += strength * direction
    return weights | quiet | {"model.embed_tokens.weight": embedding, "lm_head.weight": head}


def weights(tokens: int, seed: int = 0, width: int = WIDTH) -> dict[str, np.ndarray]:
    """Random weights under transformers' names; the logits are far apart, so that rounding changes no choice."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float32)

    result = {"model.embed_tokens.weight": matrix(tokens, width, 4.0), "lm_head.weight": matrix(tokens, width, 6.0)}
    result["model.norm.weight"] = np.ones(width, np.float32)
    head = width // HEADS
    for layer in range(LAYERS):
        block = f"model.layers.{layer}"
        result[f"{block}.self_attn.q_proj.weight"] = matrix(width, width, 2.0)
        result[f"{block}.self_attn.k_proj.weight"] = matrix(KV_HEADS * head, width, 2.0)
        result[f"{block}.self_attn.v_proj.weight"] = matrix(KV_HEADS * head, width)
        result[f"{block}.self_attn.o_proj.weight"] = matrix(width, width, 2.0)
        result[f"{block}.mlp.gate_proj.weight"] = matrix(FF, width, 2.0)
        result[f"{block}.mlp.up_proj.weight"] = matrix(FF, width)
        result[f"{block}.mlp.down_proj.weight"] = matrix(width, FF, 2.0)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            result[f"{block}.{norm}.weight"] = np.ones(width, np.float32)
    return result


_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name: str) -> str:
    """transformers' name of a tensor in GGUF's spelling."""
    if name.startswith("model.layers."):
        layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
        return f"blk.{layer}.{_NAMES[part]}.weight"
    return {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }[name]


def permuted(matrix: np.ndarray, heads: int) -> np.ndarray:
    """GGUF's order of the rows of q and k: pairs of a rotation lie side by side."""
    rows = matrix.shape[0] // heads // 2
    return matrix.reshape(heads, 2, rows, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)


def write_model(
    path: Path,
    vocab: Vocab | None = None,
    *,
    seed: int = 0,
    quantized: bool = False,
    template: str | None = CHATML,
    context: int = CONTEXT,
    habits: tuple[dict[int, float], dict[int, dict[int, float]]] | None = None,
) -> Path:
    """A model of 30,000 parameters."""
    vocab = vocab or bpe()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_vocab_size(len(vocab.tokens))
    _write_vocab(writer, vocab)
    if template is not None:
        writer.add_chat_template(template)
    matrices = weights(len(vocab.tokens), seed)
    if habits is not None:
        matrices = taught(matrices, *habits)
    for name, matrix in matrices.items():
        heads = {"q_proj": HEADS, "k_proj": KV_HEADS}.get(name.split(".")[-2], 0)
        matrix = permuted(matrix, heads) if heads else matrix
        if quantized and matrix.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(matrix, kind), raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name), matrix)
    _close(writer)
    return path


def _write_vocab(writer: gguf.GGUFWriter, vocab: Vocab) -> None:
    writer.add_tokenizer_model(vocab.model)
    writer.add_token_list(vocab.tokens)
    writer.add_token_types(vocab.types)
    if vocab.scores is not None:
        writer.add_token_scores(vocab.scores)
    if vocab.merges is not None:
        writer.add_token_merges(vocab.merges)
    for key, value in vocab.keys.items():
        key = key if "." in key else f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_string(key, value)


def _close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
