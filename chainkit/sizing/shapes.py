"""The tensors of a model that its config.json alone implies, for families that are all built alike.

For a repository whose weights are not at hand as safetensors, and for reckoning with a model that nobody has yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainkit.base.errors import ModelFileError
from chainkit.sizing.model import ModelShape, WeightShape
from chainkit.sizing.transformers import DTYPES, model_from_config

Shapes = dict[str, tuple[int, ...]]

_LLAMAS = {"llama", "mistral", "qwen2", "qwen3", "solar"}
_SPELLED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def config_model(name: str, config: Mapping[str, Any], dtype: str = "auto") -> ModelShape:
    """The model that a config.json describes, of the Llama or the BLOOM family.

    Args:
        name: For people.
        config: The settings.
        dtype: "float32", "float16" or "bfloat16"; "auto" is what the settings say, float16 if they say nothing.

    Raises:
        ModelFileError: It is of another family, whose tensors must be read from its files.
    """
    kind = str(config.get("model_type"))
    model = model_from_config(name, config, ())
    if kind in _LLAMAS:
        shapes = _llama(model, config)
    elif kind == "bloom":
        shapes = _bloom(model)
    else:
        raise ModelFileError(
            name, f"is a config.json of the family {kind!r}; the size of those is read from safetensors"
        )
    stated = str(config.get("dtype") or config.get("torch_dtype")) if dtype == "auto" else dtype
    spelled = _SPELLED.get(stated, "F16")
    return model_from_config(name, config, tuple(_weight(key, shape, spelled) for key, shape in shapes.items()))


def _weight(name: str, shape: tuple[int, ...], kind: str) -> WeightShape:
    weight = WeightShape(name, kind, shape, 0)
    return WeightShape(name, kind, shape, int(weight.values * DTYPES[kind]))


def _llama(model: ModelShape, config: Mapping[str, Any]) -> Shapes:
    width, inner, words = model.width, model.inner, model.vocabulary
    shapes: Shapes = {"model.embed_tokens.weight": (width, words)}
    stated = config.get("head_dim")
    size = stated if isinstance(stated, int) and stated > 0 else width // model.heads
    for number, layer in enumerate(model.layers):
        queries = size * model.heads
        block = {
            "self_attn.q_proj.weight": (width, queries),
            "self_attn.k_proj.weight": (width, layer.keys),
            "self_attn.v_proj.weight": (width, layer.values),
            "self_attn.o_proj.weight": (queries, width),
            "mlp.gate_proj.weight": (width, inner),
            "mlp.up_proj.weight": (width, inner),
            "mlp.down_proj.weight": (inner, width),
            "input_layernorm.weight": (width,),
            "post_attention_layernorm.weight": (width,),
        }
        if config.get("model_type") == "qwen2" or config.get("attention_bias"):
            block |= {"self_attn.q_proj.bias": (queries,), "self_attn.k_proj.bias": (layer.keys,)}
            block |= {"self_attn.v_proj.bias": (layer.values,)}
        if config.get("model_type") == "qwen3":
            block |= {"self_attn.q_norm.weight": (size,), "self_attn.k_norm.weight": (size,)}
        shapes |= {f"model.layers.{number}.{key}": shape for key, shape in block.items()}
    shapes["model.norm.weight"] = (width,)
    return shapes if config.get("tie_word_embeddings") else shapes | {"lm_head.weight": (width, words)}


def _bloom(model: ModelShape) -> Shapes:
    width = model.width
    both = ("weight", "bias")
    shapes: Shapes = {"word_embeddings.weight": (width, model.vocabulary)}
    shapes |= {f"word_embeddings_layernorm.{part}": (width,) for part in both}
    for number in range(len(model.layers)):
        block: Shapes = {
            f"{norm}.{part}": (width,) for norm in ("input_layernorm", "post_attention_layernorm") for part in both
        }
        for name, inner, outer in (
            ("self_attention.query_key_value", width, 3 * width),
            ("self_attention.dense", width, width),
            ("mlp.dense_h_to_4h", width, 4 * width),
            ("mlp.dense_4h_to_h", 4 * width, width),
        ):
            block |= {f"{name}.weight": (inner, outer), f"{name}.bias": (outer,)}
        shapes |= {f"h.{number}.{key}": shape for key, shape in block.items()}
    return shapes | {f"ln_f.{part}": (width,) for part in both}
