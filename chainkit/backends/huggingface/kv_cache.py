"""The KV cache of a text: keys and values that later tokens attend to."""

from __future__ import annotations

import copy
from typing import Any, Protocol, Self

from chainkit.backends.huggingface.libraries import torch, transformers

_FIRST = 64  # tokens that there is room for at first


class Cache(Protocol):
    """Keys and values of one text."""

    def crop(self, length: int) -> int:
        """Forget all but the first tokens; how many are left, which may be fewer if the model cannot do it."""
        ...

    def copied(self) -> Self:
        """The same once more."""
        ...


class KeysValues:
    """Keys and values in buffers that grow, so that a token costs no copy of those before it.

    Attributes:
        length: Number of tokens in it.
        keys: [1, H, capacity, D] of each layer.
        values: Likewise.
    """

    def __init__(self) -> None:
        self.length = 0
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values of a layer, [1, H, T, D]; returns all of them, with the new ones.

        `length` is unchanged, so that a failed pass leaves no partial state.
        """
        end = self.length + keys.shape[2]
        if layer == len(self.values):  # an interrupt may have come between keys and values
            del self.keys[layer:]
            self.keys.append(_buffer(keys, end))
            self.values.append(_buffer(values, end))
        if end > self.keys[layer].shape[2]:
            self.keys[layer] = _grown(self.keys[layer], self.length, end)
        if end > self.values[layer].shape[2]:
            self.values[layer] = _grown(self.values[layer], self.length, end)
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def crop(self, length: int) -> int:
        """Forget all but the first tokens."""
        del self.keys[len(self.values) :]
        self.length = min(self.length, length)
        return self.length

    def copied(self) -> KeysValues:
        """The same once more."""
        return self.part(0, self.length)

    def part(self, start: int, end: int) -> KeysValues:
        """A copy of some tokens."""
        twin = KeysValues()
        twin.length = end - start
        twin.keys = [keys[:, :, start:end].clone() for keys in self.keys]
        twin.values = [values[:, :, start:end].clone() for values in self.values]
        return twin

    def take(self, other: KeysValues, count: int) -> None:
        """Append the first tokens of another cache."""
        for layer, (keys, values) in enumerate(zip(other.keys, other.values, strict=True)):
            self.write(layer, keys[:, :, :count], values[:, :, :count])
        self.length += count

    @property
    def token_bytes(self) -> int:
        """Bytes per token; 0 before anything was read."""
        return sum(part.element_size() * part.shape[1] * part.shape[3] for part in (*self.keys, *self.values))


class LibraryCache:
    """The library's own cache, for models whose layers keep something else than keys and values of all tokens."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self.cache = transformers.DynamicCache(config=config)
        self.length = 0

    def crop(self, length: int) -> int:
        """Forget all but the first tokens; some models can only forget everything."""
        surplus = self.length - length
        if surplus > 0:
            # while the library crops its layers one by one, nothing may be taken for a text: an interrupt may come
            cache, fresh = self.cache, transformers.DynamicCache(config=self._config)
            self.cache, self.length = fresh, 0
            if length and _can_crop(cache):
                cache.crop(-surplus)
                self.cache, self.length = cache, length
        return self.length

    def copied(self) -> LibraryCache:
        """The same once more."""
        twin = LibraryCache(self._config)
        twin.cache, twin.length = copy.deepcopy(self.cache), self.length
        return twin


def _buffer(like: torch.Tensor, room: int) -> torch.Tensor:
    return like.new_empty(1, like.shape[1], max(_FIRST, room + room // 2), like.shape[3])


def _grown(buffer: torch.Tensor, length: int, room: int) -> torch.Tensor:
    larger = _buffer(buffer, room)
    larger[:, :, :length] = buffer[:, :, :length]
    return larger


def _can_crop(cache: Any) -> bool:
    """A layer with a sliding window that is full has lost what lies before the window; a recurrent one, everything."""
    return cache.is_croppable and not any(
        getattr(layer, "is_sliding", False) and layer.get_seq_length() >= layer.sliding_window for layer in cache.layers
    )
