"""Layer settings of `config.json`, and their values for the new layers.

Models describe layers that differ from each other in four ways: a list with one entry per layer, a list of the numbers
of some layers, a period ("every sixth layer sees everything"), or a number of special layers at the start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chainkit.base.errors import BadLayers

Config = Mapping[str, Any]
_LLAMA_LIKE = {"llama", "mistral"}

_DEPTH = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_PARTS = ("text_config", "llm_config", "language_config")
# lists that may by chance be as long as the model is deep
_NOT_PER_LAYER = re.compile(r"token|architectures|mrope|id2label|label2id|betas|factors?$|_sizes?$|torch_dtype|^dtype$")
_LAYER_NUMBERS = ("mlp_only_layers", "full_attn_idxs", "attn_layer_indices", "cross_attention_layers", "moe_layers")
_AT_THE_START = ("first_k_dense_replace", "num_dense_layers")
_AT_THE_END = ("num_kv_shared_layers",)
# key of the period -> the key of the list that says the same of each layer and wins
_PERIODS = {
    "decoder_sparse_step": None,
    "attn_layer_period": "layers_block_type",
    "expert_layer_period": None,
    "moe_layer_freq": None,
    "interleave_moe_layer_step": "moe_layers",
    "no_rope_layer_interval": "no_rope_layers",
    "global_attn_every_n_layers": "layer_types",
    "full_attention_interval": "layer_types",
    "sliding_window_pattern": "layer_types",
    "_sliding_window_pattern": "layer_types",
}
# model_type -> of this many layers one has global attention, where the config need not say so
_UNWRITTEN_PERIODS = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4, "gpt_oss": 2}
_BY_NUMBER = ("scale_attn_by_inverse_layer_idx", "scale_attention_by_inverse_layer_idx", "use_layer_scaling")


def depth_of(config: Config) -> int:
    """How many layers a model says it has.

    Raises:
        BadLayers: It does not say so, or has an encoder and a decoder.
    """
    if config.get("is_encoder_decoder"):
        raise BadLayers(f"a {_kind(config)} has an encoder and a decoder; only stacks of decoder layers are up-scaled")
    inner = _inner(config)[1]
    for key in _DEPTH:
        if type(inner.get(key)) is int and inner[key] > 0:
            return inner[key]
    raise BadLayers(f"config.json has none of {', '.join(_DEPTH)}; a {_kind(config)} is not known to have layers")


def layer_kinds(config: Config) -> Sequence[object] | None:
    """What kind each layer is, where a list says so."""
    depth = depth_of(config)
    inner = _inner(config)[1]
    lists = [value for key, value in inner.items() if _per_layer(key, value, depth)]
    marked = [set(inner[key]) for key in _LAYER_NUMBERS if isinstance(inner.get(key), list)]
    limits = [inner[key] for key in _AT_THE_START if type(inner.get(key)) is int]
    periodic = any(_period(inner, key) > 1 for key in _PERIODS)
    if not (lists or any(marked) or any(limits) or periodic):
        return None
    periods = [_period(inner, key) for key in _PERIODS]
    return [
        repr(
            (
                [value[layer] for value in lists],
                [layer in numbers for numbers in marked],
                [layer < limit for limit in limits],
                [layer % period for period in periods],
            )
        )
        for layer in range(depth)
    ]


def config_changes(config: Config, sources: Sequence[int]) -> dict[str, Any]:
    """The settings that are different in the new model, with their new values.

    Args:
        config: Of the model, as in config.json.
        sources: For each new layer, the layer that it copies.

    Returns:
        New values by name; in a model of several parts, those of the part with the layers: `{"text_config": {...}}`.

    Raises:
        BadLayers: A new layer would be of another kind than the one that it copies.
    """
    depth = depth_of(config)
    part, inner = _inner(config)
    inner = dict(inner) | _written_types(inner, depth)
    for key in _BY_NUMBER:
        if inner.get(key):
            raise BadLayers(f"{key} lets a layer depend on its number, so a copy elsewhere is another layer")
    changes: dict[str, Any] = {key: len(sources) for key in _DEPTH if inner.get(key) == depth}
    for key, value in inner.items():
        if _per_layer(key, value, depth):
            changes[key] = [value[layer] for layer in sources]
        elif key in _LAYER_NUMBERS and isinstance(value, list):
            changes[key] = [layer for layer, source in enumerate(sources) if source in value]
    changes |= _borders(inner, sources)
    _require_periods(inner, sources)
    if type(inner.get("max_window_layers")) is int:
        changes["max_window_layers"] = _window_border(inner, sources)
    return {part: changes} if part else changes


def changed(config: Config, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The config with changes made, those of its parts too."""
    result = dict(config)
    for key, value in changes.items():
        result[key] = changed(config[key], value) if isinstance(value, Mapping) else value
    return result


def _inner(config: Config) -> tuple[str, Config]:
    for part in _PARTS:
        if isinstance(config.get(part), Mapping):
            return part, config[part]
    return "", config


def _kind(config: Config) -> str:
    return str(config.get("model_type", "model of unknown kind"))


def _per_layer(key: str, value: Any, depth: int) -> bool:
    marks_numbers = key in _LAYER_NUMBERS
    return isinstance(value, list) and len(value) == depth and not marks_numbers and not _NOT_PER_LAYER.search(key)


def _written_types(inner: Config, depth: int) -> dict[str, Any]:
    """The kinds of the layers, where the model's code counts them out and the config does not."""
    period = _UNWRITTEN_PERIODS.get(str(inner.get("model_type")))
    if period is None or isinstance(inner.get("layer_types"), list):
        return {}
    for key in ("sliding_window_pattern", "_sliding_window_pattern"):
        period = inner[key] if type(inner.get(key)) is int else period
    kinds = ["sliding_attention" if (layer + 1) % period else "full_attention" for layer in range(depth)]
    return {"layer_types": kinds}


def _borders(inner: Config, sources: Sequence[int]) -> dict[str, Any]:
    """How many layers at the start or the end are special."""
    changes: dict[str, Any] = {}
    for key in _AT_THE_START:
        limit = inner.get(key)
        if type(limit) is int and limit:
            special = [source < limit for source in sources]
            changes[key] = sum(special)
            if special != sorted(special, reverse=True):
                raise BadLayers(f"the first {limit} layers are of another kind ({key}); copy each of them once, first")
    for key in _AT_THE_END:
        if inner.get(key):
            raise BadLayers(f"the last {inner[key]} layers use what others have read ({key}); none can follow them")
    return changes


def _window_border(inner: Config, sources: Sequence[int]) -> int:
    """Qwen's layers from this one on see a window only, if the model has one at all."""
    border = inner["max_window_layers"]
    windowed = [source >= border for source in sources]
    used = inner.get("use_sliding_window") and inner.get("layer_types") is None
    if used and windowed != sorted(windowed):
        raise BadLayers(f"layers from {border} on see a window only (max_window_layers), and would come before others")
    return len(sources) - sum(windowed) if used or border <= len(set(sources)) else border


def _period(inner: Config, key: str) -> int:
    listed = _PERIODS[key]
    if listed is not None and isinstance(inner.get(listed), list):
        return 1
    value = inner.get(key)
    return value if type(value) is int and value > 1 else 1


def _require_periods(inner: Config, sources: Sequence[int]) -> None:
    for key in _PERIODS:
        period = _period(inner, key)
        moved = next((new for new, source in enumerate(sources) if (new - source) % period), None)
        if moved is not None:
            raise BadLayers(
                f"one layer in {period} is of another kind ({key}), and new layer {moved} would copy layer "
                f"{sources[moved]}, which is at another place in that order; move layers by multiples of {period}"
            )


def parameters(config: Config) -> int | None:
    """Numbers in the weights of a Llama or Mistral; None for other models, whose layers have other parts.

    >>> solar = {"model_type": "llama", "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 14_336}
    >>> solar |= {"num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 8}
    >>> parameters(solar)
    10731524096
    """
    if config.get("model_type") not in _LLAMA_LIKE:
        return None
    try:
        width, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
        vocabulary, layers = config["vocab_size"], config["num_hidden_layers"]
    except KeyError:
        return None
    shared = config.get("num_key_value_heads") or heads
    length = config.get("head_dim") or width // heads
    attention = 2 * width * heads * length + 2 * width * shared * length
    biases = (heads + 2 * shared) * length + width if config.get("attention_bias") else 0
    biases += 2 * inner + width if config.get("mlp_bias") else 0
    layer = attention + biases + 3 * width * inner + 2 * width
    tables = vocabulary * width * (1 if config.get("tie_word_embeddings") else 2)
    return tables + layers * layer + width
