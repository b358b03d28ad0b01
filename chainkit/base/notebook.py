"""Values as a table of HTML, as notebooks show them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, cast


def html_table(caption: str, values: Mapping[str, Any]) -> str:
    """A table of names and values; whole numbers have separators, None is left out, and text is escaped.

    >>> html_table("Plan", {"new_layers": 1200, "bytes": None})
    '<table><caption>Plan</caption><tr><th>new layers</th><td>1,200</td></tr></table>'
    """
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{escape(_shown(value))}</td></tr>"
        for name, value in values.items()
        if value is not None
    )
    return f"<table><caption>{escape(caption)}</caption>{rows}</table>"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_shown(one)}" for key, one in cast(Mapping[str, Any], value).items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
