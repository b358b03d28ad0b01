"""chainkit: chat models, completion models, prompts, embeddings, chains and RAG as langchain-core Runnables.

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
from chainkit.base.shelf import lazily

__version__ = "0.1.0"

if TYPE_CHECKING:
    from chainkit import constraints as constraints
    from chainkit import decisions as decisions
    from chainkit import errors as errors
    from chainkit import ggml as ggml
    from chainkit import knowledge as knowledge
    from chainkit import observe as observe
    from chainkit import programs as programs
    from chainkit import scale as scale
    from chainkit import server as server
    from chainkit import sizing as sizing
    from chainkit import testing as testing
    from chainkit import tuning as tuning
    from chainkit import upscaling as upscaling
    from chainkit import vectors as vectors
    from chainkit.backends.huggingface.embeddings import HuggingFaceEmbeddings as HuggingFaceEmbeddings
    from chainkit.backends.huggingface.models import HuggingFaceChat as HuggingFaceChat
    from chainkit.backends.huggingface.models import HuggingFaceModel as HuggingFaceModel
    from chainkit.backends.llama_cpp.models import GGUFChat as GGUFChat
    from chainkit.backends.llama_cpp.models import GGUFEmbeddings as GGUFEmbeddings
    from chainkit.backends.llama_cpp.models import GGUFModel as GGUFModel
    from chainkit.backends.openai.chat import OpenAIChat as OpenAIChat
    from chainkit.backends.openai.completion import OpenAIModel as OpenAIModel
    from chainkit.backends.openai.embeddings import OpenAIEmbeddings as OpenAIEmbeddings
    from chainkit.backends.sentence.embeddings import SentenceEmbeddings as SentenceEmbeddings
    from chainkit.base.errors import ChainkitError as ChainkitError
    from chainkit.chains.chain import chain as chain
    from chainkit.chains.fallback import fallback as fallback
    from chainkit.chains.limits import RateLimiter as RateLimiter
    from chainkit.chains.map_reduce import answer as answer
    from chainkit.chains.map_reduce import extract as extract
    from chainkit.chains.map_reduce import summarise as summarise
    from chainkit.decisions.model import decision_model as decision_model
    from chainkit.knowledge import Index as Index
    from chainkit.knowledge import aask as aask
    from chainkit.knowledge import ask as ask
    from chainkit.observe.trace import trace as trace
    from chainkit.programs.run.runnable import Program as Program
    from chainkit.programs.run.runnable import program as program
    from chainkit.prompts.short import prompt as prompt
    from chainkit.registry import Provider as Provider
    from chainkit.registry import chat_model as chat_model
    from chainkit.registry import embeddings as embeddings
    from chainkit.registry import llm as llm
    from chainkit.registry import providers as providers
    from chainkit.registry import reranker as reranker
    from chainkit.scale.mapping import map_rows as map_rows
    from chainkit.tuning import tune as tune
    from chainkit.upscaling import upscale as upscale
    from chainkit.vectors import cluster_map as cluster_map
    from chainkit.vectors import clusters as clusters
    from chainkit.vectors import heatmap as heatmap
    from chainkit.vectors import pairs as pairs
    from chainkit.vectors import search as search
    from chainkit.vectors import similarity as similarity
    from chainkit.vectors.cached import CachedEmbeddings as CachedEmbeddings

_HOMES = {
    "CachedEmbeddings": "chainkit.vectors.cached",
    "ChainkitError": "chainkit.base.errors",
    "GGUFChat": "chainkit.backends.llama_cpp.models",
    "GGUFEmbeddings": "chainkit.backends.llama_cpp.models",
    "GGUFModel": "chainkit.backends.llama_cpp.models",
    "HuggingFaceChat": "chainkit.backends.huggingface.models",
    "HuggingFaceEmbeddings": "chainkit.backends.huggingface.embeddings",
    "HuggingFaceModel": "chainkit.backends.huggingface.models",
    "Index": "chainkit.knowledge",
    "OpenAIChat": "chainkit.backends.openai.chat",
    "OpenAIEmbeddings": "chainkit.backends.openai.embeddings",
    "OpenAIModel": "chainkit.backends.openai.completion",
    "Program": "chainkit.programs.run.runnable",
    "Provider": "chainkit.registry",
    "RateLimiter": "chainkit.chains.limits",
    "SentenceEmbeddings": "chainkit.backends.sentence.embeddings",
    "aask": "chainkit.knowledge",
    "answer": "chainkit.chains.map_reduce",
    "ask": "chainkit.knowledge",
    "chain": "chainkit.chains.chain",
    "chat_model": "chainkit.registry",
    "cluster_map": "chainkit.vectors",
    "clusters": "chainkit.vectors",
    "constraints": "chainkit.constraints:",
    "decision_model": "chainkit.decisions.model",
    "decisions": "chainkit.decisions:",
    "embeddings": "chainkit.registry",
    "errors": "chainkit.errors:",
    "extract": "chainkit.chains.map_reduce",
    "fallback": "chainkit.chains.fallback",
    "ggml": "chainkit.ggml:",
    "heatmap": "chainkit.vectors",
    "knowledge": "chainkit.knowledge:",
    "llm": "chainkit.registry",
    "map_rows": "chainkit.scale.mapping",
    "observe": "chainkit.observe:",
    "pairs": "chainkit.vectors",
    "program": "chainkit.programs.run.runnable",
    "programs": "chainkit.programs:",
    "prompt": "chainkit.prompts.short",
    "providers": "chainkit.registry",
    "reranker": "chainkit.registry",
    "scale": "chainkit.scale:",
    "server": "chainkit.server:",
    "search": "chainkit.vectors",
    "similarity": "chainkit.vectors",
    "sizing": "chainkit.sizing:",
    "summarise": "chainkit.chains.map_reduce",
    "testing": "chainkit.testing:",
    "trace": "chainkit.observe.trace",
    "tune": "chainkit.tuning",
    "tuning": "chainkit.tuning:",
    "upscale": "chainkit.upscaling",
    "upscaling": "chainkit.upscaling:",
    "vectors": "chainkit.vectors:",
}

__all__ = [  # noqa: RUF022 - the most used first
    "llm",
    "chat_model",
    "embeddings",
    "reranker",
    "decision_model",
    "prompt",
    "program",
    "Program",
    "chain",
    "fallback",
    "RateLimiter",
    "summarise",
    "extract",
    "answer",
    "map_rows",
    "trace",
    "similarity",
    "search",
    "pairs",
    "clusters",
    "heatmap",
    "cluster_map",
    "ask",
    "aask",
    "Index",
    "tune",
    "upscale",
    "GGUFChat",
    "GGUFModel",
    "GGUFEmbeddings",
    "HuggingFaceChat",
    "HuggingFaceModel",
    "HuggingFaceEmbeddings",
    "OpenAIChat",
    "OpenAIModel",
    "OpenAIEmbeddings",
    "SentenceEmbeddings",
    "CachedEmbeddings",
    "Provider",
    "providers",
    "ChainkitError",
    "constraints",
    "decisions",
    "errors",
    "ggml",
    "knowledge",
    "observe",
    "programs",
    "scale",
    "server",
    "sizing",
    "testing",
    "tuning",
    "upscaling",
    "vectors",
    "__version__",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)


def _opened(kind: str, spec: str) -> object:
    return getattr(importlib.import_module("chainkit.registry"), kind)(spec)


_opening.provide(_opened)
