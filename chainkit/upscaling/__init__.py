"""Depth up-scaling: deeper models from a model's own layers, as SOLAR 10.7B was made.

After D. Kim et al., "SOLAR 10.7B: Scaling Large Language Models with Simple yet Effective Depth Up-Scaling", 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.upscaling.make import upscale as upscale
    from chainkit.upscaling.plan import UpscalePlan as UpscalePlan
    from chainkit.upscaling.slices import Slice as Slice
    from chainkit.upscaling.slices import overlap as overlap
    from chainkit.upscaling.view import upscale_view as upscale_view

_HOMES = {
    "UpscalePlan": "chainkit.upscaling.plan",
    "Slice": "chainkit.upscaling.slices",
    "overlap": "chainkit.upscaling.slices",
    "upscale": "chainkit.upscaling.make",
    "upscale_view": "chainkit.upscaling.view",
}

__all__ = [
    "Slice",
    "UpscalePlan",
    "overlap",
    "upscale",
    "upscale_view",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
