"""EPUB: the chapters in the order of the book."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers import charsets, html
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.zipped import Archive, archive


def read(source: Source) -> Iterator[Block]:
    """The blocks of each chapter.

    Raises:
        DocumentError: The file holds no book, is protected, or would unpack to too much.
    """
    with archive(source) as opened:
        container = opened.tree("META-INF/container.xml")
        name = (
            "" if container is None else next((one.get("full-path", "") for one in container.iter("{*}rootfile")), "")
        )
        package = opened.tree(name)
        if package is None:
            raise DocumentError(source.path, "is not a readable EPUB (it holds no book)")
        locked = _locked(opened)
        chapters = list(_chapters(package, name))
        if chapters and all(chapter in locked for chapter in chapters):
            raise DocumentError(source.path, "is protected (DRM)")
        for chapter in chapters:
            data = opened.read(chapter)
            if chapter in locked or not data:
                source.note(f"the chapter {chapter} cannot be read")
                continue
            found = charsets.of_bytes(data, charsets.declared(data))
            for block in html.blocks(found.decode(data)):
                yield Block(block.text, block.kind, block.level)  # lines of a chapter are none of the book


def _chapters(package: Any, name: str) -> Iterator[str]:
    folder = posixpath.dirname(name)
    places = {one.get("id"): one.get("href", "") for one in package.iter("{*}item")}
    for one in package.iter("{*}itemref"):
        if place := places.get(one.get("idref")):
            yield posixpath.normpath(posixpath.join(folder, unquote(place.partition("#")[0])))


def _locked(opened: Archive) -> set[str]:
    root = opened.tree("META-INF/encryption.xml")
    return set() if root is None else {unquote(one.get("URI", "")) for one in root.iter("{*}CipherReference")}
