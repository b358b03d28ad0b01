"""Open specs, folders, files and objects for serving."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from chainkit.base import opening
from chainkit.base.errors import ChainkitError, SpecError, of_system
from chainkit.server.catalogue import Ability, ServedModel


def served_model(spec: Any, name: str | None = None) -> ServedModel:
    """A language model: chats where it has a template, texts, and decisions.

    Args:
        spec: `provider:name?option=value`, or a model of langchain-core.
        name: What clients ask for; by default the name in the spec, without folder and ending.

    Raises:
        SpecError: The spec cannot be understood.
    """
    if not isinstance(spec, str):
        return _of_object(spec, name)
    from chainkit.registry import chat_model, llm, offers

    named, spec, provider = spec, repeatable(spec), _provider(spec)
    kinds = offers(provider)
    makers: dict[Ability, Callable[[], Any]] = {}
    if "chat_model" in kinds:
        chat = chat_model(spec)  # not loaded yet, but a faulty spec or file raises now
        if getattr(chat, "has_template", True):
            makers["chat"] = lambda: chat
    if "llm" in kinds and provider != "openai":
        text = llm(spec)
        makers["text"] = lambda: text
    if not makers:
        raise SpecError(f"{provider} has no language models; serve it with --embeddings")
    makers["decisions"] = lambda: _decisions(spec)
    return ServedModel(name or short_name(named), "model", makers)


def repeatable(spec: Any) -> Any:
    """A spec whose model gives one text to a call with a seed that is made alone, unless the spec says otherwise.

    Clients of OpenAI's API count on `seed`. All that is served on one spec shares one model, so each goes through here.
    """
    from chainkit.registry import chat_model, offers

    if not isinstance(spec, str) or "chat_model" not in offers(_provider(spec)):
        return spec
    made = chat_model(spec)
    if "repeatable" not in type(made).model_fields or "repeatable" in made.model_fields_set:
        return spec
    return f"{spec}{'&' if '?' in spec else '?'}repeatable=true"


def served_embeddings(spec: Any, name: str | None = None) -> ServedModel:
    """A model that turns texts into vectors; arguments as for `served_model`."""
    return ServedModel(name or short_name(spec), "embeddings", {"embeddings": lambda: _vectors(spec)})


def served_reranker(spec: Any, name: str | None = None) -> ServedModel:
    """A model that puts documents in an order; arguments as for `served_model`."""
    return ServedModel(name or short_name(spec), "reranker", {"rerank": lambda: opening.reranker(spec)})


def served_documents(
    place: Any, name: str | None = None, *, model: Any = None, embeddings: Any = "minilm", **settings: Any
) -> ServedModel:
    """Documents that answer with citations.

    Args:
        place: A folder or file of documents, an index file, the URL of a vector store, or an `Index`.
        name: What clients ask for; by default the name of the folder or file.
        model: Writes the answers; None quotes sentences.
        embeddings: Finds passages by meaning.
        settings: Those of `chainkit.ask`.

    Raises:
        ChainkitError: There is no such folder or file.
    """
    if isinstance(place, str | os.PathLike):
        _require(place)

    @cache
    def index() -> Any:
        return _opened_index(place, embeddings)

    def speak() -> Any:
        from chainkit.server.speakers.documents import DocumentsSpeaker

        return DocumentsSpeaker(index(), opening.answering(repeatable(model)), **settings)

    makers: dict[Ability, Callable[[], Any]] = {"chat": speak}
    return ServedModel(name or short_name(place), "documents", makers)


def served_chain(chain: Any, name: str | None = None) -> ServedModel:
    """Any Runnable that answers.

    Args:
        chain: The Runnable, or where it is, as "module:name"; the module may lie in the working folder.
        name: What clients ask for; by default the name after the colon.

    Raises:
        ChainkitError: There is no such module or name, or it is not a Runnable.
    """
    found = imported(chain) if isinstance(chain, str) else chain
    named = chain.partition(":")[2] if isinstance(chain, str) else getattr(chain, "name", None) or "chain"
    from chainkit.server.speakers.choose import speaker_of

    try:
        speaker = speaker_of(found)
    except TypeError as error:
        raise ChainkitError(f"{named}: {error}") from error
    return ServedModel(name or named, "chain", {"chat": lambda: speaker})


def served_program(program: Any, name: str | None = None, *, model: Any = None) -> ServedModel:
    """A program that answers.

    Args:
        program: A file, or a `Program`.
        name: Name for clients; by default the file name without its ending.
        model: The model it runs on, if it is a file.

    Raises:
        ChainkitError: The file cannot be read.
        ProgramSyntaxError: It holds no program.
    """
    from chainkit.programs.run import checks
    from chainkit.programs.run.runnable import Program
    from chainkit.server.speakers.programs import ProgramSpeaker

    made = program
    if not isinstance(program, Program):
        made = Program(_read(program))
        name = name or Path(program).stem

    def speak() -> Any:
        writes = model is not None and made.model is None and checks.writes(made.template)
        return ProgramSpeaker(made.with_model(repeatable(model)) if writes else made)

    return ServedModel(name or "program", "program", {"chat": speak}, about={"variables": list(made.inputs)})


def short_name(spec: Any) -> str:
    """The name for clients, from a spec or path.

    >>> short_name("gguf:./models/tiny-Q4_1.gguf?n_threads=2"), short_name("minilm"), short_name("openai:gpt-4o-mini")
    ('tiny-Q4_1', 'minilm', 'gpt-4o-mini')
    >>> short_name("docs/"), short_name("notes/all.sqlite")
    ('docs', 'all')
    """
    text = str(spec if isinstance(spec, str | os.PathLike) else getattr(spec, "model", "") or type(spec).__name__)
    main = text.partition("?")[0]
    provider, colon, rest = main.partition(":")
    if colon and len(provider) > 1:
        main = rest or provider
    last = main.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or main
    stem, dot, ending = last.rpartition(".")
    return stem if dot and ending.lower() in ("gguf", "bin", "sqlite", "db") else last


def imported(place: str) -> Any:
    """Import the object at "module:name".

    Raises:
        ChainkitError: There is no such module or name.
    """
    module, colon, name = place.partition(":")
    if not colon or not name:
        raise ChainkitError(f"{place}: write it as module:name, like rag:chain")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ChainkitError(f"{place}: {error}") from error
    return found


def _of_object(model: Any, name: str | None) -> ServedModel:
    from langchain_core.language_models import BaseChatModel, BaseLLM

    made: dict[Ability, Callable[[], Any]] = {"decisions": lambda: _decisions(model)}
    if isinstance(model, BaseChatModel):
        made["chat"] = lambda: model
    elif isinstance(model, BaseLLM):
        made["text"] = lambda: model
    else:
        raise ChainkitError(f"a chat model or language model is served, not {type(model).__name__}; see served_chain")
    return ServedModel(name or short_name(model), "model", made)


def _decisions(spec: Any) -> Any:
    from chainkit.decisions.model import decision_model

    return decision_model(spec)


def _vectors(spec: Any) -> Any:
    return _vectors_of(spec) if isinstance(spec, str) else spec


@cache
def _vectors_of(spec: str) -> Any:
    return opening.embeddings(spec)  # one object for all that name it, so that its weights are in memory once


def _provider(spec: str) -> str:
    from chainkit.base.spec import parse_spec
    from chainkit.registry import ALIASES, providers

    found = parse_spec(spec, known=providers()).provider
    return ALIASES.get(found, found)


def _require(place: str | os.PathLike[str]) -> None:
    from chainkit.knowledge.index.store_urls import is_store

    if not is_store(str(place)) and not Path(place).exists():
        raise ChainkitError(f"{place}: there is no such file or folder")


def _opened_index(place: Any, embeddings: Any) -> Any:
    if not isinstance(place, str | os.PathLike):
        return place
    from chainkit.knowledge import Index
    from chainkit.knowledge.answer.asking import kept_index
    from chainkit.knowledge.index.store_urls import is_store

    vectors = _vectors(embeddings)
    path = Path(place)
    if is_store(str(place)) or (path.is_file() and path.suffix.lower() in (".sqlite", ".db", ".index")):
        return Index.open(place, vectors)
    return kept_index([str(place)], vectors)[0]


def _read(path: Any) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise ChainkitError(f"{path}: {of_system(error)}") from error
    except UnicodeError as error:
        raise ChainkitError(f"{path}: is not UTF-8 text") from error
