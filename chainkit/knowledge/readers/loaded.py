"""Documents from a LangChain loader, put together by their source."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.blocks import Block, storable
from chainkit.knowledge.readers.text import paragraphs

if TYPE_CHECKING:
    from langchain_core.documents import Document


def gathered(documents: Iterable[Document]) -> Iterator[tuple[str, list[Document]]]:
    """Name and parts of each document: loaders give pages one by one, with the same `source`.

    Raises:
        DocumentError: A document has neither a `source` in its metadata nor an id.
    """
    for name, parts in itertools.groupby(documents, key=_name):
        yield name, list(parts)


def blocks_of(parts: Sequence[Document]) -> Iterator[Block]:
    """The paragraphs, without lines: those of what the loader gave need not be those of the source."""
    for part in parts:
        for block in paragraphs(iter(list(enumerate(part.page_content.split("\n"), 1)))):
            yield Block(storable(block.text), block.kind, block.level)


def metadata_of(parts: Sequence[Document]) -> dict[str, Any]:
    """What the parts have in common of what a filter can compare."""
    first, *others = (part.metadata for part in parts)
    return {
        name: value
        for name, value in first.items()
        if _comparable(value) and all(other.get(name) == value for other in others)
    }


def fingerprint_of(parts: Sequence[Document]) -> str:
    """The SHA-256 of texts and metadata."""
    text = json.dumps([[part.page_content, part.metadata] for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _comparable(value: object) -> bool:
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, str | int)


def _name(document: Document) -> str:
    name = document.metadata.get("source") or document.id
    if not name:
        raise DocumentError("a document of the loader", "has no 'source' in its metadata and no id, so it has no name")
    return str(name)
