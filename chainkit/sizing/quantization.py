"""The size of a model in another quantization: llama.cpp's choice of a type for each tensor.

A name like Q4_K_M means a mixture of types. The rules are those of llama.cpp's `llama_tensor_get_type`, in
src/llama-quant.cpp, for dense models.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from chainkit.sizing.header import TENSOR_TYPES
from chainkit.sizing.model import ModelShape, WeightShape

BLOCKS = {name: (block, nbytes) for name, block, nbytes in TENSOR_TYPES.values()}
"""Type -> values per block, bytes per block."""

_ROLES = {
    "value": re.compile(r"(attn_v|v_proj|attention\.wv|self_attn\.v)\.weight$"),
    "joint": re.compile(r"(attn_qkv|query_key_value|c_attn|qkv_proj|Wqkv)\.weight$"),
    "mixed": re.compile(r"(attn_output|o_proj|attention\.wo|self_attention\.dense|attn\.c_proj)\.weight$"),
    "down": re.compile(r"(ffn_down(_exps)?|down_proj|w2|fc2|mlp\.c_proj|dense_4h_to_h)\.weight$"),
    "output": re.compile(r"^(output|lm_head|embed_out)\.weight$"),
    "embedding": re.compile(r"(^|\.)(token_embd|embed_tokens|wte|word_embeddings|embed_in)\.weight$"),
}
_BLOCK = re.compile(r"\.(\d+)\.")
_COARSER = {"Q2_K": "IQ4_NL", "Q3_K": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}

Rule = Callable[[str, int, int, ModelShape], str]


def quantized(model: ModelShape, name: str) -> ModelShape:
    """The model with its tensors as llama.cpp would store them.

    Args:
        model: Best one with weights that are not quantized; the types of its tensors are not looked at.
        name: "Q4_K_M", "Q8_0", "F16", ...; see `MIXTURES`. Upper or lower case.

    Raises:
        ValueError: There is no such quantization.
    """
    kind = name.upper()
    if kind not in MIXTURES:
        raise ValueError(f"no quantization {name!r}; known: {', '.join(MIXTURES)}")
    tied = not any(_ROLES["output"].search(weight.name) for weight in model.weights)
    weights = tuple(_as(weight, _type(weight, kind, model, tied)) for weight in model.weights)
    return replace(model, format="gguf", weights=weights)


def is_token_table(name: str) -> bool:
    """Whether a tensor is the table in which the vectors of tokens are looked up."""
    return _ROLES["embedding"].search(name) is not None


def _type(weight: WeightShape, mixture: str, model: ModelShape, tied: bool) -> str:
    if len(weight.shape) < 2 or not weight.name.endswith("weight") or min(weight.shape) == 1:
        return "F32"
    base, rule = MIXTURES[mixture]
    role = next((role for role, pattern in _ROLES.items() if pattern.search(weight.name)), "")
    found = _BLOCK.search(weight.name)
    kind = _type_of_role(role, base, rule, int(found[1]) if found else 0, model, tied)
    while weight.shape[0] % BLOCKS[kind][0]:
        kind = _COARSER.get(kind, "F16")
    return kind


def _type_of_role(role: str, base: str, rule: Rule | None, block: int, model: ModelShape, tied: bool) -> str:
    if role == "output" or (role == "embedding" and tied):
        return base if base in ("F32", "F16", "BF16", "Q8_0") else "Q6_K"
    if rule is None or role in ("", "embedding"):
        return base
    kind = rule(role, block, len(model.layers), model)
    seventy = model.width == 8192 and len(model.layers) == 80 and _grouping(model) == 8
    return "Q5_K" if seventy and role == "value" and kind in ("Q3_K", "Q4_K") else kind


def _as(weight: WeightShape, kind: str) -> WeightShape:
    block, nbytes = BLOCKS[kind]
    return WeightShape(weight.name, kind, weight.shape, weight.values // block * nbytes)


def _grouping(model: ModelShape) -> int:
    """How many heads share a key."""
    keys = max((layer.keys for layer in model.layers), default=0)
    return round(model.width / keys) if keys else 1


def _more(block: int, blocks: int) -> bool:
    """The layers that get more bits: the first and last eighth, and every third between."""
    return block < blocks // 8 or block >= 7 * blocks // 8 or (block - blocks // 8) % 3 == 2


def _medium(base: str, better: str, joint: str) -> Rule:
    def rule(role: str, block: int, blocks: int, _model: ModelShape) -> str:
        if role in ("value", "down") and _more(block, blocks):
            return better
        return joint if role == "joint" else base

    return rule


def _small_4(role: str, block: int, blocks: int, _model: ModelShape) -> str:
    first = (role == "value" and block < 4) or (role == "down" and block < blocks // 8)
    return "Q5_K" if first else "Q4_K"


def _medium_3(role: str, block: int, blocks: int, _model: ModelShape) -> str:
    first = (role == "value" and block < 2) or (role == "down" and block < blocks // 16)
    if first:
        return "Q5_K"
    return "Q4_K" if role in ("value", "down", "mixed", "joint") else "Q3_K"


def _two(role: str, _block: int, _blocks: int, model: ModelShape) -> str:
    if role == "value":
        return "Q4_K" if _grouping(model) >= 4 else "Q3_K"
    return "Q3_K" if role in ("down", "mixed") else "Q2_K"


MIXTURES: dict[str, tuple[str, Rule | None]] = {
    "F32": ("F32", None),
    "F16": ("F16", None),
    "BF16": ("BF16", None),
    "Q8_0": ("Q8_0", None),
    "Q6_K": ("Q6_K", None),
    "Q5_K_M": ("Q5_K", _medium("Q5_K", "Q6_K", "Q6_K")),
    "Q5_K_S": ("Q5_K", None),
    "Q5_1": ("Q5_1", None),
    "Q5_0": ("Q5_0", None),
    "Q4_K_M": ("Q4_K", _medium("Q4_K", "Q6_K", "Q5_K")),
    "Q4_K_S": ("Q4_K", _small_4),
    "Q4_1": ("Q4_1", None),
    "Q4_0": ("Q4_0", None),
    "Q3_K_M": ("Q3_K", _medium_3),
    "Q2_K": ("Q2_K", _two),
}
"""Quantization -> the type of most tensors, and the rule for the others; the best first."""

LADDER = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M")
"""Quantizations proposed where a model is too large, best first; below these, quality suffers."""
