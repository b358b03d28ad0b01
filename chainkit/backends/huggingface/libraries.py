"""torch and transformers, or an error that says how to get them."""

from __future__ import annotations

import os

from chainkit.base.errors import MissingLibrary

# libgomp reads it when torch loads it; waiting threads that spin made a busy machine several times slower
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

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
