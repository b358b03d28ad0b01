"""Kinds of arguments that a shell can complete: models, embeddings, templates and conversations."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_ENDINGS = {"gguf": ".gguf", "ggml": ".bin"}


class SpecType(click.ParamType):
    """The name of a model: an alias, a provider, `provider:name` or a file."""

    name = "spec"

    def __init__(self, *kinds: str) -> None:
        self._kinds = set(kinds)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text unchanged; it is parsed when the model is opened."""
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """What begins so: aliases, local models, providers, and files after the name of a provider that reads files."""
        from click.shell_completion import CompletionItem

        provider, colon, path = incomplete.partition(":")
        if colon and provider in _ENDINGS:
            return [CompletionItem(f"{provider}:{one}") for one in _files(path, _ENDINGS[provider])]
        return [CompletionItem(one) for one in self._names(incomplete) if one.startswith(incomplete)]

    def _names(self, incomplete: str) -> Iterator[str]:
        from chainkit.base.settings import user_settings
        from chainkit.registry import ALIASES, local_models, offers, providers

        with suppress(ChainkitError):  # the command itself tells it
            yield from sorted(user_settings().aliases)
        if incomplete.startswith((".", "/", "~")):
            yield from _files(incomplete, ".gguf")
        for name in providers():
            if name not in ALIASES and self._kinds.intersection(_offered(offers, name)):
                yield f"{name}:"
        yield from (f"gguf:{path}" for path in local_models())


class SavedName(click.ParamType):
    """The name of something that the user has saved: a template, an alias, or the id of a conversation."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text unchanged."""
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """The names that begin so."""
        from click.shell_completion import CompletionItem

        try:
            known = list(self._known())
        except ChainkitError:
            return []
        return [CompletionItem(one, help=about or None) for one, about in known if one.startswith(incomplete)]

    def _known(self) -> Iterable[tuple[str, str]]:
        from chainkit.base.settings import user_settings

        match self.name:
            case "template":
                return [(one, "") for one in sorted(user_settings().templates)]
            case "alias":
                return [(one, "") for one in sorted(user_settings().aliases)]
            case _:
                from chainkit.conversations.file import ConversationFile

                return [(one.id, one.title) for one in ConversationFile().recent()]


def _offered(offers: Any, provider: str) -> tuple[str, ...]:
    try:
        return offers(provider)
    except ChainkitError:  # the package of a plugin is broken
        return ()


def _files(begun: str, ending: str) -> list[str]:
    """Files of this ending and folders whose paths begin so; a folder ends with a slash."""
    pattern = glob.escape(os.path.expanduser(begun)) + "*"
    found = sorted(glob.glob(pattern))
    kept = [
        f"{one}{os.sep}" if os.path.isdir(one) else one for one in found if os.path.isdir(one) or one.endswith(ending)
    ]
    home = os.path.expanduser("~")
    return [f"~{one[len(home) :]}" if begun.startswith("~") else one for one in kept]


MODEL = SpecType("chat_model", "llm")
EMBEDDINGS = SpecType("embeddings")
TEMPLATE = SavedName("template")
ALIAS = SavedName("alias")
CONVERSATION = SavedName("conversation")
