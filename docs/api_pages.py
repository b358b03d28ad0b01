"""For mkdocs: the first page from the README, the API reference from the public shelf, links out of docs/ as names."""

from __future__ import annotations

import importlib
import re
from types import ModuleType
from typing import Any

from mkdocs.structure.files import File, Files

import chainkit

OUTWARD = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)]+)\)")
HERE = re.compile(r"\]\(docs/")
HEAVY = {"testing"}
"""Suites for pytest, which are described in testing.md."""


def on_files(files: Files, config: Any) -> Files:
    """Add the first page and one page for each public module."""
    with open(f"{config.docs_dir}/../README.md", encoding="utf-8") as readme:
        files.append(File.generated(config, "index.md", content=first_page(readme.read())))
    files.append(File.generated(config, "api/chainkit.md", content=reference(chainkit)))
    for name in chainkit.__all__:
        module = getattr(chainkit, name)
        if isinstance(module, ModuleType) and name not in HEAVY:
            files.append(File.generated(config, f"api/{name}.md", content=reference(module)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Name what lies outside of the site instead of linking to it."""
    return OUTWARD.sub(lambda match: f"{match[1]} (`{match[2]}`)", markdown)


def first_page(readme: str) -> str:
    """The README, whose links into docs/ become links between pages."""
    inside = HERE.sub("](", readme)
    return re.sub(r"\[([^\]]+)\]\(((?!https?:|#)[\w./-]*(?:/|[A-Z]+\.md|LICENSE)[\w./-]*)\)", r"\1 (`\2`)", inside)


def reference(module: ModuleType) -> str:
    """What a public module has, functions and classes; a constant is named only."""
    lines = [f"# {module.__name__}", "", (module.__doc__ or "").split("\n")[0], ""]
    for name in module.__all__:
        thing = getattr(module, name)
        home = getattr(thing, "__module__", None)
        if isinstance(thing, ModuleType) or name == "__version__":
            continue
        if home is None or not hasattr(importlib.import_module(home), name):
            lines += [f"## {name}", "", f"`{module.__name__}.{name}`", ""]
        else:
            lines += [f"::: {home}.{name}", ""]
    return "\n".join(lines)
