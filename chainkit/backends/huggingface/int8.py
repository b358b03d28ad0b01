"""Weights in 8 bits on a CPU, by torch itself: the matrices of linear layers, each row with a separate scale.

What comes in is quantised for each call ("dynamic"), so that nothing has to be measured beforehand. The operators are
called directly: their wrapper `torch.ao.quantization` is announced to go.
"""

from __future__ import annotations

import warnings
from typing import Any

from chainkit.backends.huggingface.libraries import torch
from chainkit.base.errors import Unsupported

_LARGEST = 127


class Int8Linear(torch.nn.Module):
    """A linear layer with weights of 8 bits."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weights = layer.weight.detach().float()
        scales = weights.abs().amax(1).clamp(min=1e-12).double() / _LARGEST
        with warnings.catch_warnings():  # announced to go; torch itself has nothing in its place
            warnings.filterwarnings("ignore", message=".*quantize_per_channel")
            rows = torch.quantize_per_channel(weights, scales, torch.zeros_like(scales).long(), 0, torch.qint8)
        bias = None if layer.bias is None else layer.bias.detach().float()
        self._packed: Any = torch.ops.quantized.linear_prepack(rows, bias)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The product, [..., out]; in the type of what came in."""
        found = torch.ops.quantized.linear_dynamic(values.float(), self._packed, reduce_range=True)
        return found.to(values.dtype)

    @property
    def weight(self) -> torch.Tensor:
        """The weights as quantised, [out, in]."""
        return torch.ops.quantized.linear_unpack(self._packed)[0]


def quantize(model: Any) -> None:
    """Put layers of 8 bits in the place of all linear ones, one after the other, but for the one that makes the logits.

    Raises:
        Unsupported: This torch was built without quantised operators.
    """
    if torch.backends.quantized.engine == "none" or not hasattr(torch, "quantize_per_channel"):
        raise Unsupported("this build of torch has no quantised operators; load the model without int8")
    last = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    for name, layer in list(model.named_modules()):
        # logits are where rounding shows, and often the same matrix as the embedding
        if type(layer) is torch.nn.Linear and layer is not last:
            above, _, own = name.rpartition(".")
            setattr(model.get_submodule(above), own, Int8Linear(layer))
