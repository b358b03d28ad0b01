"""The stack of layers in a model, found from the names of its tensors."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chainkit.base.errors import BadLayers

_NUMBER = re.compile(r"(?:^|(?<=\.))(\d+)(?=\.)")


@dataclass(frozen=True)
class Stack:
    """Tensors named `prefix.LAYER.part`.

    Attributes:
        prefix: "model.layers", "transformer.h", "blk", ...
        depth: Layers, numbered from 0.
    """

    prefix: str
    depth: int

    def layer(self, name: str) -> int | None:
        """The layer that a tensor belongs to; None for those outside of the stack."""
        head, number, _ = _parted(name, self.prefix)
        return int(number) if head and number.isdecimal() else None

    def renamed(self, name: str, layer: int) -> str:
        """The name of the same tensor in another layer."""
        _, _, part = _parted(name, self.prefix)
        return f"{self.prefix}.{layer}.{part}"

    def by_layer(self, names: Iterable[str]) -> tuple[list[str], list[list[str]]]:
        """The names outside of the stack, and those in each layer."""
        outside: list[str] = []
        inside: list[list[str]] = [[] for _ in range(self.depth)]
        for name in names:
            layer = self.layer(name)
            (outside if layer is None else inside[layer]).append(name)
        return outside, inside


def find_stack(names: Sequence[str], depth: int, prefix: str | None = None) -> Stack:
    """The only place in the names that counts from 0 to `depth` - 1.

    Numbers inside of layers (experts) are not considered.

    Args:
        names: Of all tensors.
        depth: Layers that the model says it has.
        prefix: Take this place, where there are several.

    Raises:
        BadLayers: No such place was found, or several.
    """
    places = _places(names)
    if prefix is not None:
        if places.get(prefix) != set(range(depth)):
            raise BadLayers(f"the names {prefix}.N do not count from 0 to {depth - 1}; {_seen(places)}")
        return Stack(prefix, depth)
    found = [place for place, numbers in places.items() if numbers == set(range(depth))]
    outer = [place for place in found if not any(place.startswith(f"{other}.") for other in found if other != place)]
    if not outer:
        raise BadLayers(
            f"no layers were found: the model says that it has {depth}, and no tensors are named prefix.0 to "
            f"prefix.{depth - 1}; {_seen(places)}"
        )
    if len(outer) > 1:
        raise BadLayers(f"several places count {depth} layers: {', '.join(sorted(outer))}; choose one with prefix=...")
    return Stack(outer[0], depth)


def require_alike(stack: Stack, names: Iterable[str], kinds: Sequence[object] | None) -> None:
    """Refuse layers that share weights with each other, or lack some.

    Args:
        stack: The layers.
        names: Of all tensors.
        kinds: Of each layer, where the model says that its layers differ; only layers of a kind are compared.

    Raises:
        BadLayers: Two layers of a kind do not have the same tensors.
    """
    parts = [{_parted(name, stack.prefix)[2] for name in layer} for layer in stack.by_layer(names)[1]]
    examples: dict[object, int] = {}
    for layer, own in enumerate(parts):
        example = examples.setdefault(kinds[layer] if kinds else None, layer)
        if own != parts[example]:
            lacking, having = (layer, example) if parts[example] - own else (example, layer)
            part = min(parts[having] - parts[lacking])
            raise BadLayers(
                f"layer {lacking} has no {part} and layer {having} has: the file is not complete, or the weights of "
                "layers are tied to each other, which up-scaling would untie"
            )


def _places(names: Iterable[str]) -> Mapping[str, set[int]]:
    places: dict[str, set[int]] = defaultdict(set)
    for name in names:
        for match in _NUMBER.finditer(name):
            if match.start() > 0:
                places[name[: match.start() - 1]].add(int(match[1]))
    return places


def _seen(places: Mapping[str, set[int]]) -> str:
    shown = [f"{place}.0 to {max(numbers)}" for place, numbers in places.items() if numbers == set(range(len(numbers)))]
    return f"its names count {', '.join(sorted(shown)[:4])}" if shown else "its names count nothing from 0"


def _parted(name: str, prefix: str) -> tuple[str, str, str]:
    """Prefix, number and rest of a name; empty texts if it does not begin with the prefix."""
    if not name.startswith(f"{prefix}."):
        return "", "", ""
    number, _, part = name[len(prefix) + 1 :].partition(".")
    return prefix, number, part
