"""From the name of a model to the model: tables of text, so that no backend is imported before it is used."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

from chainkit.base.errors import NoModel, SpecError, nearest
from chainkit.base.hiding import hides_locals
from chainkit.base.keys import find_key
from chainkit.base.paths import models_dir, parts
from chainkit.base.plugins import Names, Provider, installed, load
from chainkit.base.settings import user_settings
from chainkit.base.spec import Spec, parse_spec, split_options

if TYPE_CHECKING:
    from langchain_core.documents import BaseDocumentCompressor
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel, BaseLLM

Kind = Literal["chat_model", "llm", "embeddings", "reranker"]
Table = Mapping[str, str]

_OPENAI = "chainkit.backends.openai:"
_PARTNERS = "chainkit.backends.partners:"

# provider -> what it has; a service with OpenAI's API that `backends/openai/services.py` describes
_SERVICES: Mapping[str, str] = {
    "ai21": "chat",
    "azure_openai": "chat embeddings",
    "cerebras": "chat text",
    "deepseek": "chat",
    "fireworks": "chat text embeddings",
    "groq": "chat",
    "huggingface_router": "chat text embeddings",
    "llamacpp": "chat text embeddings",
    "lmstudio": "chat text embeddings",
    "mistral": "chat embeddings",
    "nvidia": "chat embeddings",
    "ollama": "chat text embeddings",
    "openrouter": "chat text embeddings",
    "perplexity": "chat",
    "together": "chat text embeddings",
    "vllm": "chat text embeddings",
    "xai": "chat",
}


def _services(kind: str, name: str) -> dict[str, str]:
    return {
        service: f"{_OPENAI}{name}?service={service}" for service, kinds in _SERVICES.items() if kind in kinds.split()
    }


# provider -> "module:class?option=value"; the class is called as Class(model=name, **options)
LLMS: Table = {
    "ctransformers": "chainkit.backends.ctransformers.models:CTransformersModel",
    "fake": "chainkit.backends.fake:FakeLLM",
    "ggml": "chainkit.backends.llama_cpp.ggml:GGMLModel",
    "gguf": "chainkit.backends.llama_cpp.models:GGUFModel",
    "huggingface": "chainkit.backends.huggingface.models:HuggingFaceModel",
    "openai": f"{_OPENAI}OpenAIModel",
    "smollm2": "chainkit.backends.llama_cpp.smollm2:SmolLM2Model",
    **_services("text", "OpenAIModel"),
}
CHAT_MODELS: Table = {
    "ctransformers": "chainkit.backends.ctransformers.models:CTransformersChat",
    "fake": "chainkit.backends.fake:FakeChat",
    "ggml": "chainkit.backends.llama_cpp.ggml:GGMLChat",
    "gguf": "chainkit.backends.llama_cpp.models:GGUFChat",
    "huggingface": "chainkit.backends.huggingface.models:HuggingFaceChat",
    "openai": f"{_OPENAI}OpenAIChat",
    "smollm2": "chainkit.backends.llama_cpp.smollm2:SmolLM2Chat",
    "anthropic": f"{_PARTNERS}ANTHROPIC_CHAT",
    "bedrock": f"{_PARTNERS}BEDROCK_CHAT",
    "cohere": f"{_PARTNERS}COHERE_CHAT",
    "google": f"{_PARTNERS}GOOGLE_CHAT",
    **_services("chat", "OpenAIChat"),
}
EMBEDDINGS: Table = {
    "fake": "chainkit.backends.fake:FakeEmbeddings",
    "gguf": "chainkit.backends.llama_cpp.models:GGUFEmbeddings",
    "gpt4all": "chainkit.backends.gpt4all_embeddings:GPT4AllEmbeddings",
    "huggingface": "chainkit.backends.huggingface.embeddings:HuggingFaceEmbeddings",
    "minilm": "chainkit.backends.sentence:SentenceEmbeddings",
    "openai": f"{_OPENAI}OpenAIEmbeddings",
    "spacy": "chainkit.backends.spacy_embeddings:SpacyEmbeddings",
    "static": "chainkit.backends.sentence:StaticEmbeddings",
    "bedrock": f"{_PARTNERS}BEDROCK_EMBEDDINGS",
    "cohere": f"{_PARTNERS}COHERE_EMBEDDINGS",
    "google": f"{_PARTNERS}GOOGLE_EMBEDDINGS",
    **_services("embeddings", "OpenAIEmbeddings"),
}
RERANKERS: Table = {
    "gguf": "chainkit.backends.llama_cpp.reranker:GGUFReranker",
    "huggingface": "chainkit.backends.huggingface.reranker:HuggingFaceReranker",
}

ALIASES: Table = {
    "azure": "azure_openai",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "google_genai": "google",
    "hf": "huggingface",
    "hf_router": "huggingface_router",
    "llama_server": "llamacpp",
    "lm_studio": "lmstudio",
    "mistralai": "mistral",
    "together_ai": "together",
    "x_ai": "xai",
}

_TABLES: Mapping[Kind, Table] = {
    "chat_model": CHAT_MODELS,
    "llm": LLMS,
    "embeddings": EMBEDDINGS,
    "reranker": RERANKERS,
}
_WORDS: Mapping[str, str] = {
    "chat_model": "a chat model",
    "llm": "a language model",
    "embeddings": "embeddings",
    "reranker": "a reranker",
}
_KNOWN = Names(*_TABLES.values(), ALIASES)
_OPENAI_CHATS = re.compile(r"(ft:)?(gpt-|chatgpt|o\d)")

DEFAULT_CHAT_MODELS: Table = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-5-5",
    "mistral": "mistral-small-latest",
    "groq": "openai/gpt-oss-20b",
}
"""Default model of each provider when only an API key is set, in order of preference."""


@hides_locals
def llm(spec: str | None = None, **options: Any) -> BaseLLM:
    """A model that continues text: `llm("gguf:./llama-2-7b.Q4_K_M.gguf")`.

    Args:
        spec: `provider:name?option=value&...`; without one, as for `chat_model`.
        options: Settings of the model; they win over those in the spec.

    Raises:
        SpecError: The spec or an option cannot be understood, or it names a chat model of OpenAI.
        NoModel: No spec was given and nothing to run on was found.
        MissingLibrary: The backend's library is not installed.
        MissingKey: The provider needs an API key and none was found.
    """
    chosen = default_spec() if spec is None else spec
    _refuse_chat_model(read_spec(chosen), options)
    return _make("llm", chosen, options)


@hides_locals
def chat_model(spec: str | None = None, **options: Any) -> BaseChatModel:
    """A model that answers messages: `chat_model("openai:gpt-4o-mini")`.

    Args:
        spec: `provider:name?option=value&...`, or an alias of the user's; without one: `CHAINKIT_MODEL`, else the
            user's default, else the first provider whose API key is set, else the newest GGUF file in the models
            folder.
        options: Settings of the model; they win over those in the spec.

    Raises:
        SpecError: The spec or an option cannot be understood.
        NoModel: No spec was given and nothing to run on was found.
        MissingLibrary: The backend's library is not installed.
        MissingKey: The provider needs an API key and none was found.
    """
    return _make("chat_model", default_spec() if spec is None else spec, options)


@hides_locals
def embeddings(spec: str = "minilm", **options: Any) -> Embeddings:
    """A model that turns texts into vectors: `embeddings("minilm")`.

    Args:
        spec: `provider:name?option=value&...`; of any provider, `cache=true` keeps vectors in a file of the user's
            cache folder, `cache=PATH` in that file.
        options: Settings of the model; they win over those in the spec.

    Raises:
        SpecError: The spec or an option cannot be understood.
        MissingLibrary: The backend's library is not installed.
        MissingKey: The provider needs an API key and none was found.
    """
    read = read_spec(spec)
    chosen = dict(read.options) | options
    cache = chosen.pop("cache", False)
    model = _made("embeddings", read, chosen)
    path = _cache_path(cache)
    if path is False:
        return model
    from chainkit.vectors.cached import CachedEmbeddings

    return CachedEmbeddings(model, path)


@hides_locals
def reranker(spec: str, **options: Any) -> BaseDocumentCompressor:
    """A model that puts passages in the order in which they answer a question: `reranker("hf:BAAI/bge-reranker-base")`.

    Args:
        spec: `provider:name?option=value&...`.
        options: Settings of the model; they win over those in the spec.

    Raises:
        SpecError: The spec or an option cannot be understood.
        MissingLibrary: The backend's library is not installed.
    """
    return _make("reranker", spec, options)


@hides_locals
def answering(spec: str | None = None, **options: Any) -> BaseChatModel | BaseLLM:
    """The chat model that a spec names; where there is none, as for a file without a chat template, the model that
    continues text.

    Args:
        spec: As for `chat_model`.
        options: Settings of the model; they win over those in the spec.

    Raises:
        SpecError: The spec cannot be understood.
        MissingLibrary: The backend's library is not installed.
        MissingKey: The provider needs an API key and none was found.
    """
    spec = default_spec() if spec is None else spec
    provider, name = _named(spec)
    kinds = offers(provider)
    if "llm" not in kinds:
        return chat_model(spec, **options)
    if "chat_model" not in kinds or (provider == "openai" and _instructed(name)):
        return llm(spec, **options)
    model = chat_model(spec, **options)
    return model if getattr(model, "has_template", True) else llm(spec, **options)


@hides_locals
def continuing(spec: str) -> BaseChatModel | BaseLLM:
    """The model that continues text which a spec names; where there is none, the chat model. Raises as `answering`.

    Nearly all of OpenAI's own models are chat models; those that continue text are known by their names.
    """
    provider, name = _named(spec)
    kinds = offers(provider)
    continues = "llm" in kinds and (provider != "openai" or _instructed(name))
    return llm(spec) if continues or "chat_model" not in kinds else chat_model(spec)


def read_spec(text: str) -> Spec:
    """Parse a spec; a user's alias is replaced by its spec.

    Options that follow an alias win over those in its spec. A provider wins over an alias of its name.

    Raises:
        SpecError: The text cannot be understood.
    """
    try:
        return parse_spec(text, known=_KNOWN)
    except SpecError:
        name, options = split_options(text.strip()) if isinstance(text, str) else ("", {})  # pyright: ignore[reportUnnecessaryIsInstance]
        meant = user_settings().aliases.get(name) if name else None
        if meant is None:
            raise
        spec = parse_spec(meant, known=_KNOWN)
        return replace(spec, options={**spec.options, **options})


def offers(provider: str) -> tuple[str, ...]:
    """Of "chat_model", "llm", "embeddings" and "reranker", what a provider has; a package is imported for it.

    Raises:
        SpecError: The package that brings the provider cannot be loaded.
    """
    own = tuple(kind for kind, table in _TABLES.items() if provider in table)
    return own or (_plugin(provider).kinds() if provider in installed() else ())


def _named(text: str) -> tuple[str, str]:
    spec = read_spec(text)
    return ALIASES.get(spec.provider, spec.provider), spec.name


def _instructed(name: str) -> bool:
    return any(word in name for word in ("instruct", "davinci", "babbage"))


def _refuse_chat_model(spec: Spec, options: Mapping[str, Any]) -> None:
    """OpenAI's API for completions knows hardly a model of today and says so only at the first call."""
    if ALIASES.get(spec.provider, spec.provider) != "openai" or _instructed(spec.name) or not spec.name:
        return
    elsewhere = {"base_url", "service"} & {*spec.options, *options} or os.environ.get("OPENAI_BASE_URL")
    if not elsewhere or _OPENAI_CHATS.match(spec.name):
        raise SpecError(
            f"{spec.provider}:{spec.name} is a chat model; write chat_model('{spec.provider}:{spec.name}'). "
            "Models of OpenAI that continue text: gpt-3.5-turbo-instruct, davinci-002, babbage-002"
        )


def default_spec() -> str:
    """The spec of the default model.

    Raises:
        NoModel: There is none; the error lists the ways to get one.
    """
    if named := os.environ.get("CHAINKIT_MODEL", "").strip() or user_settings().model:
        return named
    for provider, name in DEFAULT_CHAT_MODELS.items():
        if find_key(provider):
            return f"{provider}:{name}"
    pulled = local_models()
    if not pulled:
        raise NoModel
    return f"gguf:{pulled[0]}"


def local_models() -> list[Path]:
    """The GGUF files in the models folder, the newest first; of a model in several files, the first."""
    files = [path for path in models_dir().glob("**/*.gguf") if path == parts(path)[0]]
    return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)


def providers() -> list[str]:
    """All provider names: chainkit's own, their aliases, and those of installed packages."""
    return list(_KNOWN)


def _make(kind: Kind, text: str, options: Mapping[str, Any]) -> Any:
    spec = read_spec(text)
    return _made(kind, spec, dict(spec.options) | dict(options))


def _made(kind: Kind, spec: Spec, options: dict[str, Any]) -> Any:
    provider = ALIASES.get(spec.provider, spec.provider)
    has = offers(provider)
    if kind not in has:
        table = ", ".join(sorted(_TABLES[kind]))
        only = f" (it has {' and '.join(_WORDS[one] for one in has)})" if has else ""
        raise SpecError(f"{provider} has no {_WORDS[kind].removeprefix('a ')}{only}; providers that have one: {table}")
    if provider not in _TABLES[kind]:
        made_by = getattr(_plugin(provider), kind)
        return _build(_load(made_by) if isinstance(made_by, str) else made_by, spec, options, {})
    row, _, preset = _TABLES[kind][provider].partition("?")
    model_class = _load(row)
    other = model_class.provider_for(spec.name) if hasattr(model_class, "provider_for") else None
    if other is not None:
        return _made(kind, replace(spec, provider=other), options)
    return _build(model_class, spec, options, dict(parse_qsl(preset)))


@cache
def _plugin(name: str) -> Provider:
    """What a package brings; its entry point is a `Provider`, or a class of langchain-core's kinds."""
    from langchain_core.documents import BaseDocumentCompressor
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel, BaseLLM

    found = load(name)
    if isinstance(found, Provider):
        return found
    kinds = {"chat_model": BaseChatModel, "llm": BaseLLM, "embeddings": Embeddings, "reranker": BaseDocumentCompressor}
    for kind, base in kinds.items():
        if isinstance(found, type) and issubclass(found, base):
            return Provider(**{kind: found})
    raise SpecError(f"the entry point of provider '{name}' is neither a chainkit.Provider nor a model class: {found!r}")


def _cache_path(chosen: object) -> str | Path | Literal[False] | None:
    """False for no cache, None for the file in the user's cache folder, or a path."""
    if isinstance(chosen, Path):
        return chosen
    word = str(chosen).strip()
    if word.lower() in {"false", "no", "off", "0", "none", ""}:
        return False
    return None if word.lower() in {"true", "yes", "on", "1"} else word


def _load(row: str) -> Any:
    module, _, name = row.partition(":")
    return getattr(importlib.import_module(module), name)


def _build(model_class: Any, spec: Spec, options: dict[str, Any], preset: dict[str, str]) -> Any:
    from pydantic import ValidationError

    _refuse_unknown(spec, options, set(_option_names(model_class)) - set(preset))
    try:
        return model_class(model=spec.name, **options, **preset)
    except ValidationError as error:
        raise SpecError(_explained(spec, error)) from None  # pydantic's own text repeats every value, keys too


def _option_names(model_class: Any) -> list[str]:
    fields: Mapping[str, Any] | None = getattr(model_class, "model_fields", None)
    if fields is not None:
        return [name for key, field in fields.items() for name in {key, field.alias or key}]
    return list(inspect.signature(model_class).parameters)


def _refuse_unknown(spec: Spec, options: Iterable[str], known: Iterable[str]) -> None:
    names = sorted(known)
    for option in options:
        if option not in names:
            hint = nearest(option, names)
            advice = f"did you mean '{hint}'?" if hint else f"options: {', '.join(names)}"
            raise SpecError(f"{spec.provider} has no option '{option}'; {advice}")


def _explained(spec: Spec, error: Any) -> str:
    faults = [
        f"option '{'.'.join(map(str, fault['loc']))}': {fault['msg']}" if fault["loc"] else str(fault["msg"])
        for fault in error.errors(include_input=False, include_url=False)
    ]
    return f"{spec.provider}: {'; '.join(faults)}"
