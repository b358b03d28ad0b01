"""XML of documents by lxml: how it is parsed, and what its elements are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Container, Iterator
from typing import Any

from chainkit.base.errors import MissingLibrary

try:
    etree: Any = importlib.import_module("lxml.etree")  # it comes without types
except ImportError as _error:
    raise MissingLibrary("lxml", extra="knowledge") from _error


def parsed_xml(data: bytes) -> Any:
    """The root of an XML text; no entity is resolved, nothing is fetched.

    Raises:
        lxml.etree.XMLSyntaxError: It is not well-formed.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, remove_comments=True, remove_pis=True
    )
    return etree.fromstring(data, parser)


def local(element: Any) -> str:
    """The name of an element without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """An attribute in whatever namespace; empty if there is none."""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def nearest(element: Any, names: Container[str], skipped: Container[str]) -> Iterator[Any]:
    """The elements of these names below, in whatever they are wrapped, but none inside another or inside `skipped`."""
    walk = etree.iterwalk(element, events=("start",))
    for _, one in walk:
        if one is element:
            continue
        name = local(one)
        if name in names:
            walk.skip_subtree()
            yield one
        elif name in skipped:
            walk.skip_subtree()
