"""Providers that other packages bring: entry points of the group `chainkit.providers`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import SpecError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "chainkit.providers"

_NAME = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True, kw_only=True)
class Provider:
    """What a package offers under the name of a provider.

    Each value is a class, a function, or "module:name" of one, which is imported when it is first used. It is called
    with `model=` (the part of the spec after the colon) and the options of the spec; pydantic models get the values of
    a spec as the types of their fields, anything else gets text.

    Attributes:
        chat_model: Makes a BaseChatModel of langchain-core.
        llm: Makes a BaseLLM.
        embeddings: Makes an Embeddings.
        reranker: Makes a BaseDocumentCompressor.
    """

    chat_model: Any = None
    llm: Any = None
    embeddings: Any = None
    reranker: Any = None

    def kinds(self) -> tuple[str, ...]:
        """Those of the four that it has."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)


class Names(Collection[str]):
    """The names of chainkit's own providers and of those that are installed; asks for the latter only when needed."""

    def __init__(self, *own: Collection[str]) -> None:
        self._own = own

    def __contains__(self, name: object) -> bool:
        if any(name in names for names in self._own):
            return True
        return isinstance(name, str) and bool(_NAME.fullmatch(name)) and name in installed()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*installed(), *(name for names in self._own for name in names)}))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@cache
def installed() -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of each name, which is normalised as in specs; nothing of them is imported."""
    from importlib.metadata import entry_points

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        name = point.name.strip().lower().replace("-", "_")
        found[name] = (*found.get(name, ()), point)
    return found


def load(name: str) -> Any:
    """What the entry point of a provider names.

    Raises:
        SpecError: Two packages bring this provider, or the package cannot be imported.
    """
    points = installed()[name]
    if len({point.value for point in points}) > 1:
        both = " and ".join(sorted(map(_source, points)))
        raise SpecError(f"two packages bring a provider '{name}': {both}; uninstall one")
    try:
        return points[0].load()
    except (ImportError, AttributeError) as error:
        raise SpecError(f"provider '{name}' of {_source(points[0])} cannot be loaded: {error}") from error


def _source(point: EntryPoint) -> str:
    return f"{point.dist.name} ({point.value})" if point.dist else point.value
