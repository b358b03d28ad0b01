"""torch and transformers, or an error that says how to get them."""

from __future__ import annotations

from chainkit.base.errors import MissingLibrary
from chainkit.sizing.machines import limit_spinning

limit_spinning()  # before torch loads libgomp

try:
    import torch
except ImportError as error:
    raise MissingLibrary("torch (which build of it to take is said in docs/huggingface.md)", "huggingface") from error
try:
    import transformers
    from safetensors import SafetensorError
except ImportError as error:
    raise MissingLibrary("transformers", extra="huggingface") from error

__all__ = ["SafetensorError", "torch", "transformers"]
