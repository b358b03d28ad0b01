"""GGUF files as langchain-core models: text in, text out; messages in, message out; texts in, vectors out."""

from __future__ import annotations

from chainkit.backends.llama_cpp.chat import GGUFChat
from chainkit.backends.llama_cpp.completion import GGUFModel
from chainkit.backends.llama_cpp.vectors import GGUFEmbeddings

__all__ = ["GGUFChat", "GGUFEmbeddings", "GGUFModel"]
