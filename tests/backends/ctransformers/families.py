"""Tiny models of the families of 2023, made in transformers at random and written as the files of that time."""

from __future__ import annotations

import struct
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.backends.ctransformers.tiny import CONTEXT, HEADS, LAYERS, WIDTH, pieces

KINDS = ("gpt_neox", "dolly-v2", "gptj", "mpt", "starcoder", "falcon")
_ROTATED = 4  # of the 8 values of a head


@cache
def reference(kind: str, *, parallel: bool = True) -> Any:
    """The model in transformers; all weights are random, also those that are made as ones and zeros."""
    import torch
    import transformers as hf

    words, ends = len(pieces()), {"bos_token_id": None, "eos_token_id": None}
    usual = {"vocab_size": words, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    gpt = {"vocab_size": words, "n_positions": CONTEXT, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
    if kind in ("gpt_neox", "dolly-v2"):
        settings = {"max_position_embeddings": CONTEXT, "intermediate_size": 4 * WIDTH, "rotary_pct": 0.5}
        settings |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
        config: Any = hf.GPTNeoXConfig(**usual, **settings, **ends, use_parallel_residual=parallel)
        model: Any = hf.GPTNeoXForCausalLM(config)
    elif kind == "gptj":
        model = hf.GPTJForCausalLM(hf.GPTJConfig(**gpt, rotary_dim=_ROTATED, tie_word_embeddings=False, **ends))
    elif kind == "mpt":
        sizes = {"d_model": WIDTH, "n_heads": HEADS, "n_layers": LAYERS, "max_seq_len": CONTEXT, "vocab_size": words}
        model = hf.MptForCausalLM(hf.MptConfig(**sizes, **ends))
    elif kind == "starcoder":
        with warnings.catch_warnings():  # transformers 5.3 still imports it by torch.jit, which torch 2.13 deprecates
            warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
            model = hf.GPTBigCodeForCausalLM(
                hf.GPTBigCodeConfig(**gpt, multi_query=True, tie_word_embeddings=False, **ends)
            )
    else:
        model = hf.FalconForCausalLM(hf.FalconConfig(**usual, multi_query=True, bias=False, **ends))
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=random)
            if values.ndim == 2:
                values.copy_(noise * 2 / values.shape[1] ** 0.5)
            else:
                values.copy_(0.1 * noise + (name.endswith("weight") and 1))
    return model.eval()


def write(path: Path, kind: str, *, parallel: bool = True) -> Path:
    """The same model as a file."""
    words, head = len(pieces()), WIDTH // HEADS
    usual = (words, CONTEXT, WIDTH, HEADS, LAYERS)
    settings: dict[str, tuple[Any, ...]] = {
        "gpt_neox": (*usual, _ROTATED, int(parallel), 0),
        "dolly-v2": (*usual, _ROTATED, int(parallel), 0),
        "gptj": (*usual, _ROTATED, 0, words),
        "mpt": (WIDTH, CONTEXT, HEADS, LAYERS, words, 8.0, 0.0, 0),
        "starcoder": (*usual, 0, words),
        "falcon": (10, words, WIDTH, HEADS, 1, LAYERS, 7, 0, 0),
    }
    out = bytearray(b"ccgg" if kind == "falcon" else b"lmgg")
    for value in settings[kind]:
        out += struct.pack("<f" if isinstance(value, float) else "<i", value)
    for piece in pieces():
        # MPT's files spell bytes from 0x80 on as characters
        spelled = piece.decode("latin-1").encode() if kind == "mpt" else piece
        out += struct.pack("<I", len(spelled)) + spelled + (bytes(4) if kind == "falcon" else b"")
    out += struct.pack("<i", 0) if kind == "falcon" else b""  # rules of merging
    for name, values in reference(kind, parallel=parallel).state_dict().items():
        if not (kind == "mpt" and name == "lm_head.weight"):  # that is the table of the words
            out += _tensor(*_as_written(kind, name, values.numpy(), head), 32 if kind == "falcon" else 1, len(out))
    path.write_bytes(out)
    return path


def _as_written(kind: str, name: str, values: np.ndarray, head: int) -> tuple[str, np.ndarray]:
    if kind in ("gpt_neox", "dolly-v2"):
        return name.replace("lm_head", "embed_out"), values
    if kind != "starcoder":
        return name, values
    if ".c_attn." in name:  # one head of keys and of values in transformers, one for each head in the file
        queries, keys, ends = np.split(values, [WIDTH, WIDTH + head])
        values = np.concatenate([queries, *[keys] * HEADS, *[ends] * HEADS])
    plain = name.removeprefix("transformer.").removesuffix(".weight").removesuffix(".bias")
    plain = f"model/{plain.replace('h.', 'h', 1) if plain.startswith('h.') else plain}".replace(".", "/")
    if plain.endswith(("lm_head", "wte", "wpe")):
        return plain, values
    return f"{plain}/{'b' if name.endswith('bias') else 'g' if 'ln_' in name else 'w'}", values


def _tensor(name: str, values: np.ndarray, alignment: int, position: int) -> bytes:
    start = struct.pack("<3i", values.ndim, len(name), 0)
    start += struct.pack(f"<{values.ndim}i", *reversed(values.shape)) + name.encode()
    return start + bytes(-(position + len(start)) % alignment) + values.astype(np.float32).tobytes()
