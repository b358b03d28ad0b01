"""Which layers of a model follow each other in the new one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chainkit.base.errors import BadLayers

_RANGE = re.compile(r"\s*(\d+)\s*:\s*(\d+)\s*")


@dataclass(frozen=True)
class Slice:
    """Layers `first` to `end - 1`, as in Python.

    Attributes:
        first: The first layer; layers are counted from 0.
        end: The layer after the last.
    """

    first: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.end:
            raise BadLayers(f"the slice {self.first}:{self.end} holds no layer; write first:end, as in 0:24")

    def __str__(self) -> str:
        return f"{self.first}:{self.end}"


Slices = str | Iterable[Slice | tuple[int, int]]
"""Slices as a user gives them: "0:24,8:32", or pairs."""


def overlap(depth: int, drop: int) -> tuple[Slice, ...]:
    """Two copies of a model, each missing `drop` layers where the copies meet.

    >>> overlap(depth=32, drop=8)
    (Slice(first=0, end=24), Slice(first=8, end=32))

    Raises:
        BadLayers: The model has fewer layers, or the result would have no more.
    """
    if not 0 <= drop < depth:
        raise BadLayers(
            f"cannot drop {drop} of {depth} layers; drop at least 0 and less than half of them ({depth // 2}), "
            "and the new model is deeper"
        )
    if 2 * (depth - drop) <= depth:
        raise BadLayers(
            f"two copies of {depth} layers without {drop} each have {2 * (depth - drop)} layers, no more than before; "
            f"drop less than {-(-depth // 2)}"
        )
    return Slice(0, depth - drop), Slice(drop, depth)


def parse_slices(text: str) -> tuple[Slice, ...]:
    """Slices as they are typed.

    >>> parse_slices("0:24,8:32")
    (Slice(first=0, end=24), Slice(first=8, end=32))

    Raises:
        BadLayers: It is not a list of first:end.
    """
    found = [(part, _RANGE.fullmatch(part)) for part in text.split(",")]
    for part, match in found:
        if match is None:
            raise BadLayers(
                f"'{part.strip()}' is not a slice of layers; write first:end, several with commas: 0:24,8:32"
            )
    return tuple(Slice(int(match[1]), int(match[2])) for _, match in found if match)


def chosen_slices(depth: int, drop: int | None, slices: Slices | None) -> tuple[Slice, ...]:
    """What the user asked for, checked against the depth of the model.

    Raises:
        BadLayers: Neither or both are given, or the model has no such layers.
    """
    if (drop is None) == (slices is None):
        raise BadLayers("give drop (layers to leave out where two copies meet) or slices, one of the two")
    if drop is not None:
        return overlap(depth, drop)
    assert slices is not None
    chosen = parse_slices(slices) if isinstance(slices, str) else tuple(_slice(item) for item in slices)
    if not chosen:
        raise BadLayers("no slices are given, so the new model would have no layers")
    for one in chosen:
        if one.end > depth:
            raise BadLayers(f"the slice {one} ends after the last layer: the model has layers 0 to {depth - 1}")
    return chosen


def layer_sources(slices: Sequence[Slice]) -> list[int]:
    """For each new layer, the layer that it copies.

    >>> layer_sources(overlap(4, 1))
    [0, 1, 2, 1, 2, 3]
    """
    return [layer for one in slices for layer in range(one.first, one.end)]


def _slice(item: Slice | tuple[int, int]) -> Slice:
    return item if isinstance(item, Slice) else Slice(*item)
