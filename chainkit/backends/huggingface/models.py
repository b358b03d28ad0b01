"""Transformers models as langchain-core models: text in, text out; messages in, message out."""

from __future__ import annotations

from chainkit.backends.huggingface.chat import HuggingFaceChat
from chainkit.backends.huggingface.completion import HuggingFaceModel

__all__ = ["HuggingFaceChat", "HuggingFaceModel"]
