"""A second, smaller GGUF model that proposes what the first one may write."""

from __future__ import annotations

from chainkit.backends.llama_cpp.session import LlamaSession
from chainkit.local.speculative import Drafted


class DraftedLlamaSession(Drafted, LlamaSession):
    """Tokens on an engine of llama.cpp, some of them proposed by another."""
