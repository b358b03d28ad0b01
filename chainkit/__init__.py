"""chainkit: models, prompts, embeddings and chains behind langchain-core's interfaces.

Importing this package loads no third-party library; each public name is imported when it is first used.

>>> import chainkit
>>> model = chainkit.chat_model("fake:?reply=Hello!")
>>> (chainkit.prompt("Greet {name}") | model).invoke({"name": "Ada"}).content
'Hello!'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from chainkit.base import opening as _opening

if TYPE_CHECKING:
    from chainkit.base.errors import ChainkitError as ChainkitError
    from chainkit.chains.chain import chain as chain
    from chainkit.chains.fallback import fallback as fallback
    from chainkit.knowledge import ask as ask
    from chainkit.observe.trace import trace as trace
    from chainkit.programs.run.runnable import program as program
    from chainkit.prompts.short import prompt as prompt
    from chainkit.registry import chat_model as chat_model
    from chainkit.registry import embeddings as embeddings
    from chainkit.registry import llm as llm
    from chainkit.registry import reranker as reranker
    from chainkit.tuning import tune as tune
    from chainkit.upscale import upscale as upscale
    from chainkit.vectors import cluster_map as cluster_map
    from chainkit.vectors import clusters as clusters
    from chainkit.vectors import heatmap as heatmap
    from chainkit.vectors import pairs as pairs
    from chainkit.vectors import search as search
    from chainkit.vectors import similarity as similarity

__version__ = "0.1.0"

_HOMES = {
    "ChainkitError": "chainkit.base.errors",
    "ask": "chainkit.knowledge",
    "chain": "chainkit.chains.chain",
    "chat_model": "chainkit.registry",
    "cluster_map": "chainkit.vectors",
    "clusters": "chainkit.vectors",
    "embeddings": "chainkit.registry",
    "fallback": "chainkit.chains.fallback",
    "heatmap": "chainkit.vectors",
    "llm": "chainkit.registry",
    "program": "chainkit.programs.run.runnable",
    "pairs": "chainkit.vectors",
    "prompt": "chainkit.prompts.short",
    "reranker": "chainkit.registry",
    "search": "chainkit.vectors",
    "similarity": "chainkit.vectors",
    "trace": "chainkit.observe.trace",
    "tune": "chainkit.tuning",
    "upscale": "chainkit.upscale",
}

__all__ = [  # noqa: RUF022 - the front doors first
    "llm",
    "chat_model",
    "embeddings",
    "reranker",
    "prompt",
    "program",
    "chain",
    "fallback",
    "trace",
    "similarity",
    "search",
    "pairs",
    "clusters",
    "heatmap",
    "cluster_map",
    "ask",
    "tune",
    "upscale",
    "ChainkitError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'chainkit' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def _opened(kind: str, spec: str) -> object:
    return getattr(importlib.import_module("chainkit.registry"), kind)(spec)


_opening.provide(_opened)


def __dir__() -> list[str]:
    return sorted(__all__)
