"""A tiny GPT-2 as a GGML file of 2023, written as the converter of that time wrote it, and the same in transformers."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, LAYERS, HEADS, CONTEXT = 32, 2, 4, 128
_WORDS = "the cat sat on mat and dog ran to a Once there was small house near sea red blue is it 12 30 42".split()  # noqa: SIM905


@cache
def pieces() -> list[bytes]:
    """All single bytes, the beginnings of some words, and GPT-2's end."""
    singles = [bytes([byte]) for byte in range(256)]
    words = sorted({word[:n] for word in _WORDS for n in range(2, len(word) + 1)} | {f" {word}" for word in _WORDS})
    return [*singles, *(word.encode() for word in words), b"\n\n", "é".encode(), b"<|endoftext|>"]


@cache
def weights(seed: int = 3) -> dict[str, np.ndarray]:
    """Under GGML's names; matrices are [rows, columns] with the input along the columns."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 2.0) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float32)

    def vector(count: int, around: float = 0.0) -> np.ndarray:
        return (around + 0.1 * random.standard_normal(count)).astype(np.float32)

    result = {"model/ln_f/g": vector(WIDTH, 1), "model/ln_f/b": vector(WIDTH)}
    result |= {"model/wte": matrix(len(pieces()), WIDTH, 4.0), "model/wpe": matrix(CONTEXT, WIDTH, 1.0)}
    result["model/lm_head"] = matrix(len(pieces()), WIDTH, 6.0)
    for layer in range(LAYERS):
        h = f"model/h{layer}"
        for norm in ("ln_1", "ln_2"):
            result |= {f"{h}/{norm}/g": vector(WIDTH, 1), f"{h}/{norm}/b": vector(WIDTH)}
        shapes = {"attn/c_attn": (3, 1), "attn/c_proj": (1, 1), "mlp/c_fc": (4, 1), "mlp/c_proj": (1, 4)}
        for name, (rows, columns) in shapes.items():
            result[f"{h}/{name}/w"] = matrix(rows * WIDTH, columns * WIDTH)
            result[f"{h}/{name}/b"] = vector(rows * WIDTH)
    return result


def write(path: Path) -> Path:
    out = bytearray(struct.pack("<4s6i", b"lmgg", len(pieces()), CONTEXT, WIDTH, HEADS, LAYERS, 0))
    out += struct.pack("<i", len(pieces()))
    for piece in pieces():
        out += struct.pack("<I", len(piece)) + piece
    for name, values in weights().items():
        out += struct.pack("<3i", values.ndim, len(name), 0)
        out += struct.pack(f"<{values.ndim}i", *reversed(values.shape)) + name.encode() + values.tobytes()
    path.write_bytes(out)
    return path


def reference() -> Any:
    """The model in transformers."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(pieces()),
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config).eval()
    names = {"g": "weight", "w": "weight", "b": "bias"}
    state = {}
    for name, values in weights().items():
        part, _, kind = name.removeprefix("model/").rpartition("/")
        if name == "model/lm_head":
            state["lm_head.weight"] = torch.from_numpy(values)
        elif not part:
            state[f"transformer.{kind}.weight"] = torch.from_numpy(values)
        else:
            inner = part.replace("h0/", "h.0.").replace("h1/", "h.1.").replace("/", ".")
            turned = values.T.copy() if kind == "w" else values  # transformers' Conv1D has its input along the rows
            state[f"transformer.{inner}.{names[kind]}"] = torch.from_numpy(turned)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert not [name for name in missing if not name.endswith(".attn.bias")]
    return model
