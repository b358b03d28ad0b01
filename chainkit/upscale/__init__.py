"""Deeper models from a model's own layers: depth up-scaling, as SOLAR 10.7B was made.

The package can be called: `chainkit.upscale("model", "deeper", drop=8)` is `chainkit.upscale.make.upscale`.
After D. Kim et al., "SOLAR 10.7B: Scaling Large Language Models with Simple yet Effective Depth Up-Scaling", 2023.
"""

from typing import TYPE_CHECKING

from chainkit.base.callable_module import make_callable
from chainkit.upscale.plan import Plan
from chainkit.upscale.slices import Slice, overlap
from chainkit.upscale.view import upscale_view

if TYPE_CHECKING:
    from chainkit.upscale.make import upscale as upscale
else:
    # so that `from chainkit import upscale` and `import chainkit.upscale` find the same thing
    upscale = make_callable(__name__, "chainkit.upscale.make:upscale")

__all__ = ["Plan", "Slice", "overlap", "upscale", "upscale_view"]
