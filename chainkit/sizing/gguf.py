"""From the header of a GGUF file to what its memory depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chainkit.base.errors import ModelFileError
from chainkit.base.paths import parts
from chainkit.sizing.header import Header, read_header
from chainkit.sizing.model import MOST_LAYERS, Layer, ModelShape, WeightShape

# every n-th layer looks at the whole text, the others at a window, where the file does not say which
_WINDOW_PATTERN = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2, "exaone4": 4, "olmo2": 4}


def gguf_model(path: Path | str) -> ModelShape:
    """The model of a GGUF file; of one in several files, name the first, and all must be there.

    Raises:
        ModelFileError: A file is absent or damaged.
    """
    return model_of([read_header(part) for part in parts(Path(path))])


def model_of(headers: Iterable[Header]) -> ModelShape:
    """The model that one header describes, or those of all its parts; settings are in the first."""
    headers = list(headers)
    weights = tuple(
        WeightShape(tensor.name, tensor.type, tensor.shape, tensor.nbytes)
        for header in headers
        for tensor in header.tensors.values()
    )
    merges = headers[0].count("tokenizer.ggml.merges") or 0
    return replace(model_from(headers[0].path.name, headers[0], weights, source=headers[0].path), merges=merges)


def model_from(
    name: str, values: Mapping[str, Any], weights: tuple[WeightShape, ...], *, source: object = None
) -> ModelShape:
    """The model that GGUF's keys and tensors describe.

    Raises:
        ModelFileError: The keys that say how large the model is are missing, or cannot be true.
    """
    settings = _Settings(values, source or name)
    width, blocks = settings.required("embedding_length"), settings.required("block_count")
    if blocks > MOST_LAYERS:
        raise ModelFileError(source or name, f"claims {blocks:,} layers ({settings.architecture}.block_count)")
    heads = max(settings.per_layer("attention.head_count", blocks, 1), default=1) or 1
    embedding = next((weight for weight in weights if weight.name == "token_embd.weight"), None)
    vocabulary = embedding.shape[1] if embedding and len(embedding.shape) > 1 else settings.number("vocab_size", 0)
    return ModelShape(
        name=name,
        format="gguf",
        architecture=settings.architecture,
        weights=weights,
        layers=_layers(settings, blocks, width),
        width=width,
        inner=_inner(settings, blocks, width),
        heads=heads,
        vocabulary=vocabulary,
        trained_context=settings.number("context_length", 0) or None,
    )


class _Settings:
    """The keys of a header without the name of the architecture before them."""

    def __init__(self, values: Mapping[str, Any], source: object) -> None:
        self._values, self._source = values, source
        self.architecture = str(values.get("general.architecture", ""))

    def value(self, name: str) -> Any:
        return self._values.get(f"{self.architecture}.{name}")

    def number(self, name: str, default: int) -> int:
        value = self.value(name)
        return int(value) if isinstance(value, int) and not isinstance(value, bool) else default

    def required(self, name: str) -> int:
        value = self.number(name, 0)
        if value < 1:
            raise ModelFileError(self._source, f"does not say how large the model is ({self.architecture}.{name})")
        return value

    def per_layer(self, name: str, blocks: int, default: int) -> list[int]:
        """A setting that is one number for all layers, or one for each."""
        value = self.value(name)
        if isinstance(value, np.ndarray) and len(value) >= blocks:
            return [int(number) for number in value[:blocks]]
        return [self.number(name, default)] * blocks


def _layers(settings: _Settings, blocks: int, width: int) -> tuple[Layer, ...]:
    heads = settings.per_layer("attention.head_count", blocks, 1)
    shared = settings.per_layer("attention.head_count_kv", blocks, 0)
    given = settings.value("attention.head_count_kv") is not None
    windows = _windows(settings, blocks)
    layers: list[Layer] = []
    for own, keys, window in zip(heads, shared, windows, strict=True):
        count = keys if given else own
        size = width // max(own, 1)
        key = settings.number("attention.key_length", size)
        value = settings.number("attention.value_length", size)
        if window is not None:
            key = settings.number("attention.key_length_swa", key)
            value = settings.number("attention.value_length_swa", value)
        layers.append(Layer(count * key, count * value, window, 0 if count else _state(settings)))
    return tuple(layers)


def _state(settings: _Settings) -> int:
    """Bytes of a Mamba layer for each text: the last inputs of its convolution, and its state, both as float32."""
    inner, state = settings.number("ssm.inner_size", 0), settings.number("ssm.state_size", 0)
    kernel, groups = settings.number("ssm.conv_kernel", 0), settings.number("ssm.group_count", 0)
    return 4 * (max(kernel - 1, 0) * (inner + 2 * groups * state) + inner * state)


def _windows(settings: _Settings, blocks: int) -> list[int | None]:
    window = settings.number("attention.sliding_window", 0)
    pattern = settings.value("attention.sliding_window_pattern")
    if not window or (pattern is None and settings.architecture not in _WINDOW_PATTERN):
        return [None] * blocks
    if isinstance(pattern, np.ndarray):
        flags = [bool(flag) for flag in pattern[:blocks]]
        return [window if flag else None for flag in flags + [False] * (blocks - len(flags))]
    every = int(pattern or _WINDOW_PATTERN[settings.architecture])
    return [None if (block + 1) % max(every, 1) == 0 else window for block in range(blocks)]


def _inner(settings: _Settings, blocks: int, width: int) -> int:
    dense = max(settings.per_layer("feed_forward_length", blocks, 4 * width), default=0)
    experts = settings.number("expert_feed_forward_length", dense) * settings.number("expert_used_count", 0)
    return max(dense, experts)
