"""Tiny GGML files of 2023 (ggjt), written as llama.cpp's converter of that time wrote them."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np

from tests.backends.llama_cpp import tiny

TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
    "q4_1": gguf.GGMLQuantizationType.Q4_1,
    "q5_0": gguf.GGMLQuantizationType.Q5_0,
    "q5_1": gguf.GGMLQuantizationType.Q5_1,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9}
_ENDS = {"token_embd": "tok_embeddings", "output_norm": "norm", "output": "output"}
_PARTS = {
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_output": "attention.wo",
    "attn_norm": "attention_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
    "ffn_norm": "ffn_norm",
}


def tensors(tokens: int, kind: str = "f32", seed: int = 1) -> dict[str, tuple[gguf.GGMLQuantizationType, np.ndarray]]:
    """The weights of `tiny`, under GGUF's names, in the blocks of a type; vectors stay in float32."""
    result = {}
    for name, matrix in tiny.weights(tokens, seed).items():
        heads = {"q_proj": tiny.HEADS, "k_proj": tiny.KV_HEADS}.get(name.split(".")[-2], 0)
        matrix = tiny.permuted(matrix, heads) if heads else matrix
        wanted = TYPES[kind] if matrix.ndim == 2 else TYPES["f32"]
        result[tiny.gguf_name(name)] = wanted, gguf.quants.quantize(matrix, wanted)
    return result


def write_old(
    path: Path, kind: str = "f32", *, seed: int = 1, version: int = 3, vocab: list[bytes] | None = None
) -> Path:
    """A ggjt file with the weights of `tiny` and its SentencePiece vocabulary."""
    words = old_tokens() if vocab is None else vocab
    scores = [*(tiny.spm().scores or ()), *[0.0] * len(words)]
    out = bytearray(struct.pack("<II", 0x67676A74, version))
    head = tiny.WIDTH // tiny.HEADS
    out += struct.pack("<7I", len(words), tiny.WIDTH, 256, tiny.HEADS, tiny.LAYERS, head, FILE_TYPES[kind])
    for word, score in zip(words, scores, strict=False):
        out += struct.pack("<I", len(word)) + word + struct.pack("<f", score)
    for name, (type_, data) in tensors(len(words), kind, seed).items():
        shape = gguf.quant_shape_from_byte_shape(data.shape, type_) if data.dtype == np.uint8 else data.shape
        raw = old_name(name).encode()
        out += struct.pack(f"<III{len(shape)}I", len(shape), len(raw), type_, *reversed(shape)) + raw
        out += b"\0" * (-len(out) % 32) + data.tobytes()
    path.write_bytes(out)
    return path


def old_tokens() -> list[bytes]:
    """The tokens of `tiny.spm` as they were spelled then: spaces as spaces, a byte token as its byte."""
    words = [token.replace("\u2581".encode(), b" ") for token in tiny.spm().tokens[259:]]
    return [b" \xe2\x81\x87 ", b"", b"", *(bytes([byte]) for byte in range(256)), *words]


def old_name(name: str) -> str:
    """GGUF's name of a tensor in Meta's spelling."""
    stem = name.removesuffix(".weight")
    if stem.startswith("blk."):
        _, layer, part = stem.split(".")
        return f"layers.{layer}.{_PARTS[part]}.weight"
    return f"{_ENDS[stem]}.weight"


def write_reference(path: Path, kind: str = "f32", *, seed: int = 1) -> Path:
    """The same model as the gguf package writes it."""
    vocab = tiny.spm()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(tiny.WIDTH)
    writer.add_block_count(tiny.LAYERS)
    writer.add_feed_forward_length(tiny.FF)
    writer.add_head_count(tiny.HEADS)
    writer.add_head_count_kv(tiny.KV_HEADS)
    writer.add_rope_dimension_count(tiny.WIDTH // tiny.HEADS)
    writer.add_rope_freq_base(tiny.ROPE_THETA)
    writer.add_layer_norm_rms_eps(tiny.EPSILON)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(vocab.tokens)
    writer.add_token_types(vocab.types)
    writer.add_token_scores(vocab.scores or [])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    for name, (type_, data) in tensors(len(vocab.tokens), kind, seed).items():
        writer.add_tensor(name, data, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
