"""From config.json and the headers of safetensors files to what a model's memory depends on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chainkit.base.errors import ModelFileError, of_system
from chainkit.base.safetensors import header_of
from chainkit.sizing.model import MOST_LAYERS, Layer, ModelShape, WeightShape

INDEX = "model.safetensors.index.json"

# dtype as safetensors spells it -> bytes of a value
DTYPES: Mapping[str, float] = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F4": 0.5, "F6_E2M3": 0.75, "F6_E3M2": 0.75,
}  # fmt: skip
_CHOSEN = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_FLOATS = {"F64", "F32", "F16", "BF16"}
_PART = re.compile(r".+\.safetensors")

Whole = Callable[[str], Mapping[str, Any]]
"""Reads a JSON file by name."""

Read = Callable[[str, int, int], bytes]
"""From the name of a file, a place and a length to the bytes there."""


def folder_model(folder: Path | str, dtype: str = "auto") -> ModelShape:
    """The model of a folder with config.json and safetensors; `dtype` as for `model_of_folder`.

    Raises:
        ModelFileError: A file is missing or damaged, or the weights are not safetensors.
    """

    folder = Path(folder)

    def read(file: str, start: int, length: int) -> bytes:
        try:
            with (folder / file).open("rb") as opened:
                opened.seek(start)
                return opened.read(length)
        except OSError as error:
            raise ModelFileError(folder / file, of_system(error)) from error

    def whole(file: str) -> Mapping[str, Any]:
        return settings_of(folder / file, read(file, 0, 1 << 30))

    try:
        files = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise ModelFileError(folder, of_system(error)) from error
    return model_of_folder(str(folder), files, whole, read, dtype)


def model_of_folder(name: str, files: Sequence[str], whole: Whole, read: Read, dtype: str = "auto") -> ModelShape:
    """The model of a folder, here or on a server.

    Args:
        name: For people.
        files: The names that there are.
        whole: Reads a JSON file.
        read: Reads a part of a file.
        dtype: What the weights will be in memory: "float32", "float16", "bfloat16"; "auto" is what config.json says.

    Raises:
        ModelFileError: A file is missing or damaged, or the weights are not safetensors.
    """
    if "config.json" not in files:
        raise ModelFileError(name, "has no config.json, so it is not a folder of a transformers model")
    config = whole("config.json")
    weights = [weight for file in _weight_files(name, files, whole) for weight in _header(name, file, read)]
    if dtype == "auto":
        stated = str(config.get("dtype") or config.get("torch_dtype"))
        dtype = stated if stated in _CHOSEN and "quantization_config" not in config else dtype
    return model_from_config(name, config, as_dtype(weights, dtype))


def settings_of(name: object, data: bytes) -> Mapping[str, Any]:
    """What a JSON file of settings holds.

    Raises:
        ModelFileError: It is not JSON, or holds no settings.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(name, f"is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ModelFileError(name, "holds no settings")
    return value


def as_dtype(weights: Sequence[WeightShape], dtype: str) -> tuple[WeightShape, ...]:
    """The weights as they are in memory when transformers loads them with a dtype; integers keep theirs."""
    if dtype == "auto":
        return tuple(weights)
    kind = _CHOSEN[dtype]
    return tuple(
        WeightShape(weight.name, kind, weight.shape, int(weight.values * DTYPES[kind]))
        if weight.type in _FLOATS
        else weight
        for weight in weights
    )


def model_from_config(name: str, config: Mapping[str, Any], weights: tuple[WeightShape, ...]) -> ModelShape:
    """The model that transformers' settings describe, with these weights.

    Raises:
        ModelFileError: The settings do not say how large the model is, or say what cannot be true.
    """
    text = config.get("text_config")
    config = dict(config) | (dict(text) if isinstance(text, dict) else {})

    def number(*keys: str, default: int = 0) -> int:
        found = (config.get(key) for key in keys)  # -1 means "not limited" or "not given"
        return next((n for n in found if isinstance(n, int) and not isinstance(n, bool) and n >= 0), default)

    width = number("hidden_size", "n_embd", "d_model", "dim")
    blocks = number("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    if width < 1 or blocks < 1:
        raise ModelFileError(name, "has a config.json that does not say how large the model is (hidden_size, layers)")
    if blocks > MOST_LAYERS:
        raise ModelFileError(name, f"has a config.json that claims {blocks:,} layers")
    heads = max(number("num_attention_heads", "n_head", "num_heads", "n_heads"), 1)
    shared = number("num_key_value_heads", "num_kv_heads", "n_head_kv", default=heads)
    shared = 1 if config.get("multi_query") and not config.get("new_decoder_architecture") else shared
    size = number("head_dim", "d_kv", default=width // heads)
    return ModelShape(
        name=name,
        format="transformers",
        architecture=str(config.get("model_type", "")),
        weights=weights,
        layers=tuple(Layer(shared * size, shared * size, window) for window in _windows(config, blocks)),
        width=width,
        inner=number("intermediate_size", "n_inner", "d_ff", "ffn_dim", "ffn_hidden_size", default=4 * width),
        heads=heads,
        vocabulary=number("vocab_size"),
        trained_context=number("max_position_embeddings", "n_positions", "seq_length", "max_seq_len") or None,
    )


def _windows(config: Mapping[str, Any], blocks: int) -> list[int | None]:
    window, kinds = config.get("sliding_window"), config.get("layer_types")
    if not isinstance(window, int) or window < 1 or config.get("use_sliding_window") is False:
        return [None] * blocks
    if isinstance(kinds, list) and len(kinds) == blocks:
        return [window if "sliding" in str(kind) else None for kind in kinds]
    return [window] * blocks


def _weight_files(name: str, files: Sequence[str], whole: Whole) -> list[str]:
    if INDEX in files:
        table = whole(INDEX).get("weight_map")
        wanted = sorted(set(map(str, table.values()))) if isinstance(table, dict) else []
    elif "model.safetensors" in files:
        wanted = ["model.safetensors"]
    else:
        wanted = sorted(file for file in files if _PART.fullmatch(file))
    if not wanted:
        raise ModelFileError(name, "has no safetensors files, so its size cannot be read from headers")
    if missing := [file for file in wanted if file not in files]:
        raise ModelFileError(name, f"lacks {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
    return wanted


def _header(name: str, file: str, read: Read) -> list[WeightShape]:
    where = f"{name}/{file}"
    table, _ = header_of(where, partial(read, file))
    return [_weight(where, key, entry) for key, entry in table.items() if key != "__metadata__"]


def _weight(where: str, key: str, entry: Any) -> WeightShape:
    try:
        kind, shape, (start, end) = str(entry["dtype"]), tuple(map(int, entry["shape"])), entry["data_offsets"]
        weight = WeightShape(key, kind, tuple(reversed(shape)), int(end) - int(start))
    except (TypeError, KeyError, ValueError) as error:
        raise ModelFileError(where, f"is damaged: its header does not describe {key!r}") from error
    size = DTYPES.get(kind)
    if min(shape, default=1) < 0 or (size is not None and weight.nbytes != int(weight.values * size)):
        raise ModelFileError(where, f"is damaged: {key!r} of shape {list(shape)} has {weight.nbytes} bytes as {kind}")
    return weight
