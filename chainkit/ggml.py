"""GGML model files of 2023 converted to GGUF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.backends.llama_cpp.ggml import Unstored as Unstored
    from chainkit.backends.llama_cpp.ggml import convert as convert
    from chainkit.backends.llama_cpp.ggml import plan as plan

_HOMES = {
    "Unstored": "chainkit.backends.llama_cpp.ggml",
    "convert": "chainkit.backends.llama_cpp.ggml",
    "plan": "chainkit.backends.llama_cpp.ggml",
}

__all__ = [
    "Unstored",
    "convert",
    "plan",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
