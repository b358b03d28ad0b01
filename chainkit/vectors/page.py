"""Pictures as one HTML file that needs nothing else: no network, no library."""

from __future__ import annotations

import html
import json
from importlib import resources
from string import Template
from typing import Any


def page(name: str, title: str, data: dict[str, Any]) -> str:
    """A page of `pages/` with its data in it; whatever the texts hold, they stay texts.

    Args:
        name: Which page: "heatmap" or "map".
        title: Its title.
        data: What its script draws, as plain values.
    """
    template = Template((resources.files("chainkit.vectors") / "pages" / f"{name}.html").read_text("utf-8"))
    # inside a script element only "<" could begin an end tag
    payload = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return template.substitute(title=html.escape(title or "chainkit"), data=payload)
