"""Whether the numbers of a GGUF header agree with each other and with the tensors.

llama.cpp ends the process on some contradictions; each check here prevents one of those.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainkit.backends.llama_cpp.header import Header
from chainkit.base.errors import ModelFileError

_LARGEST = {
    "context_length": 1 << 28,
    "embedding_length": 1 << 20,
    "block_count": 4096,
    "feed_forward_length": 1 << 24,
    "attention.head_count": 1 << 16,
    "attention.head_count_kv": 1 << 16,
    "rope.dimension_count": 1 << 16,
    "expert_count": 4096,
}
_NEEDED = ("context_length", "embedding_length", "block_count", "attention.head_count")
_SPECIAL = ("bos", "eos", "eot", "eom", "unknown", "unk", "seperator", "separator", "padding", "cls", "mask")
_BYTE_TYPE = 6

# arch "llama": what each block has; {n_embd} x {rows} with the rows given per tensor
_BLOCK = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm")
_DENSE = ("ffn_gate", "ffn_up", "ffn_down")


def check_model(header: Header) -> None:
    """Refuse a model whose header contradicts itself.

    Raises:
        ModelFileError: Says which numbers do not fit.
    """
    fault = _fault(header)
    if fault:
        raise ModelFileError(header.path, fault)


def _fault(header: Header) -> str | None:
    if not header.architecture:
        return "has no general.architecture, so it is not a language model"
    if header.get("general.type", "model") != "model":
        return f"is of type {header['general.type']!r} and no model by itself"
    return _hyperparameter_fault(header) or _vocabulary_fault(header) or _tensor_fault(header)


def _hyperparameter_fault(header: Header) -> str | None:
    arch = header.architecture
    for name in _NEEDED:
        if arch in ("llama", "bert") and f"{arch}.{name}" not in header:
            return f"is damaged: {arch}.{name} is missing"
    for name, largest in _LARGEST.items():
        value = _number(header, name)
        if (value is not None and not 0 <= value <= largest) or (value == 0 and name in _NEEDED):
            return f"is damaged: {arch}.{name} is {value}"
    for key in header:
        value = header.entries[key]
        if isinstance(value, float) and (not math.isfinite(value) or (key.endswith("epsilon") and value < 0)):
            return f"is damaged: {key} is {value}"
    return _head_fault(header)


def _head_fault(header: Header) -> str | None:
    arch, width, heads = (
        header.architecture,
        _number(header, "embedding_length"),
        _number(header, "attention.head_count"),
    )
    if not width or not heads:
        return None
    if width % heads and f"{arch}.attention.key_length" not in header:
        return f"is damaged: {heads} heads do not divide a width of {width}"
    shared = _number(header, "attention.head_count_kv")
    if shared is not None and ((shared == 0 and arch == "llama") or (shared and heads % shared)):
        return f"is damaged: {shared} key heads do not divide {heads} heads"
    rotated = _number(header, "rope.dimension_count")
    if rotated is not None and (rotated % 2 or rotated > (_number(header, "attention.key_length") or width // heads)):
        return f"is damaged: {rotated} rotated dimensions do not fit heads of {width // heads}"
    return None


def _vocabulary_fault(header: Header) -> str | None:
    count = header.count("tokenizer.ggml.tokens")
    model = header.get("tokenizer.ggml.model")
    if model in (None, "none", "no_vocab"):
        return "has no tokenizer, so text cannot be read with it"
    if not isinstance(model, str):
        return f"is damaged: tokenizer.ggml.model is {model!r}"
    if not count:
        return "is damaged: it has a tokenizer and no tokens"
    for name in ("scores", "token_type"):
        length = header.count(f"tokenizer.ggml.{name}")
        if length is not None and length != count:
            return f"is damaged: {count} tokens have {length} entries in tokenizer.ggml.{name}"
    for name in _SPECIAL:
        token = header.get(f"tokenizer.ggml.{name}_token_id")
        if token is not None and not (isinstance(token, int) and 0 <= token < count):
            return f"is damaged: the {name} token is {token!r}, and there are {count} tokens"
    if header.get("tokenizer.ggml.add_bos_token") and "tokenizer.ggml.bos_token_id" not in header and model != "llama":
        return "is damaged: it wants a first token (add_bos_token) and does not say which"
    return _item_fault(header) or (_byte_fault(header) if model == "llama" else None)


def _item_fault(header: Header) -> str | None:
    kinds = {"tokens": (8,), "merges": (8,), "scores": (6,), "token_type": (4, 5)}
    for name, items in kinds.items():
        where = header.entries.get(f"tokenizer.ggml.{name}")
        if where is not None and getattr(where, "item", None) not in items:
            return f"is damaged: tokenizer.ggml.{name} holds values of a wrong type"
    return None


def _byte_fault(header: Header) -> str | None:
    """llama.cpp ends the process when a text needs the token of a byte and there is none."""
    tokens = set(header.array("tokenizer.ggml.tokens"))
    missing = next((b for b in range(256) if b"<0x%02X>" % b not in tokens and bytes([b]) not in tokens), None)
    if missing is not None:
        return f"has no token for the byte 0x{missing:02X}; some texts could not be read with it"
    types = header.entries.get("tokenizer.ggml.token_type")
    scores = header.entries.get("tokenizer.ggml.scores")
    if scores is not None and not np.isfinite(np.asarray(header.array("tokenizer.ggml.scores"))).all():
        return "is damaged: tokenizer.ggml.scores holds values that are not numbers"
    if (
        types is not None
        and int(np.count_nonzero(np.asarray(header.array("tokenizer.ggml.token_type")) == _BYTE_TYPE)) == 0
    ):
        return "is damaged: no token is marked as a byte"
    return None


def _tensor_fault(header: Header) -> str | None:
    if not header.tensors:
        return "has no tensors, so it is not a model by itself"
    if header.architecture != "llama" or (_number(header, "split.count", prefix="") or 1) > 1:
        return None
    blocks = _number(header, "block_count") or 0
    expected = {"token_embd.weight", "output_norm.weight"}
    expected |= {f"blk.{block}.{name}.weight" for block in range(blocks) for name in _BLOCK}
    if not _number(header, "expert_count"):
        expected |= {f"blk.{block}.{name}.weight" for block in range(blocks) for name in _DENSE}
    missing = sorted(name for name in expected if name not in header.tensors and not _fused(name, header))
    if missing:
        return f"is damaged: the tensor {missing[0]} is missing" + (
            f" and {len(missing) - 1} more" if missing[1:] else ""
        )
    return _shape_fault(header)


def _shape_fault(header: Header) -> str | None:
    width = _number(header, "embedding_length")
    tokens = header.count("tokenizer.ggml.tokens")
    shapes = {"token_embd.weight": (width, tokens), "output.weight": (width, tokens), "output_norm.weight": (width,)}
    for block in range(_number(header, "block_count") or 0):
        shapes[f"blk.{block}.attn_norm.weight"] = shapes[f"blk.{block}.ffn_norm.weight"] = (width,)
    for name, shape in shapes.items():
        tensor = header.tensors.get(name)
        if tensor is not None and tensor.shape != shape:
            return f"is damaged: {name} has the shape {tensor.shape} and not {shape}"
    return None


def _fused(name: str, header: Header) -> bool:
    """Whether q, k and v lie in one tensor."""
    block, _, part = name.removesuffix(".weight").rpartition(".")
    return part in ("attn_q", "attn_k", "attn_v") and f"{block}.attn_qkv.weight" in header.tensors


def _number(header: Header, name: str, prefix: str | None = None) -> int | None:
    """A whole number of the architecture, or None; arrays (one number per layer) are left to llama.cpp."""
    key = name if prefix == "" else f"{header.architecture}.{name}"
    value: Any = header.entries.get(key)
    if isinstance(value, bool | float | str):
        raise ModelFileError(header.path, f"is damaged: {key} is {value!r} and no whole number")
    return value if isinstance(value, int) else None
