"""The plan of an up-scaling, in numbers, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainkit.base.notebook import html_table
from chainkit.upscaling.slices import Slice, layer_sources

AFTERWARDS = (
    "The new model is a little worse than the old one until it is trained further (docs/upscale.md, 'Train on'): "
    "its layers have never worked in this order."
)


@dataclass(frozen=True, kw_only=True)
class UpscalePlan:
    """An up-scaling before it is done.

    Attributes:
        source: The model.
        architecture: What kind of model it is: "llama", "gpt2", ...
        depth: Its number of layers.
        slices: The layers of the new model, in order.
        parameters: Numbers in the weights of the model; None where only its config is there and tells too little.
        new_parameters: The same of the new model.
        nbytes: Bytes of the files that are read; None where there are no weights.
        new_bytes: Bytes that will be written.
        changes: Settings of the model that will be different, with their new values.
    """

    source: Path
    architecture: str
    depth: int
    slices: tuple[Slice, ...]
    parameters: int | None
    new_parameters: int | None
    nbytes: int | None
    new_bytes: int | None
    changes: Mapping[str, Any]

    @property
    def sources(self) -> list[int]:
        """For each new layer, the layer that it copies."""
        return layer_sources(self.slices)

    def as_dict(self) -> dict[str, Any]:
        """The plan as values for JSON."""
        return {
            "source": str(self.source),
            "architecture": self.architecture,
            "layers": self.depth,
            "new_layers": len(self.sources),
            "sources": self.sources,
            "parameters": self.parameters,
            "new_parameters": self.new_parameters,
            "bytes": self.nbytes,
            "new_bytes": self.new_bytes,
            "changes": dict(self.changes),
        }

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        return html_table("Up-scaling", self.as_dict())

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.architecture}, {self.depth} layers{_amount(self.parameters, self.nbytes)}",
            f"new model: {len(self.sources)} layers{_amount(self.new_parameters, self.new_bytes)}",
        ]
        start = 0
        for one in self.slices:
            end = start + one.end - one.first
            lines.append(f"  new layers {_span(start, end)} copy layers {_span(one.first, one.end)}")
            start = end
        if self.changes:
            lines.append("  settings: " + ", ".join(f"{key}={_brief(value)}" for key, value in self.changes.items()))
        return "\n".join([*lines, AFTERWARDS])


def _amount(parameters: int | None, nbytes: int | None) -> str:
    parts = [] if parameters is None else [f"{_scaled(parameters)} parameters"]
    return "".join(f", {part}" for part in [*parts, *([] if nbytes is None else [f"{_scaled(nbytes)}B"])])


def _scaled(value: float) -> str:
    """Three digits with a decimal prefix.

    >>> _scaled(10_731_524_096)
    '10.73 G'
    """
    units = iter(("", "k", "M", "G"))
    unit = next(units)
    while value >= 1000:
        value, unit = value / 1000, next(units, "T")
    return f"{value:.2f} {unit}" if unit else f"{value:.0f} "


def _span(first: int, end: int) -> str:
    """The layers of a slice, the last included, as people count."""
    return f"{first}" if end == first + 1 else f"{first} to {end - 1}"


def _brief(value: Any) -> str:
    return f"[{len(value)} values]" if isinstance(value, list) and len(value) > 6 else str(value)
