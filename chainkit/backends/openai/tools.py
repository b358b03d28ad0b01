"""Tools as the API wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

Tool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
Choice = str | bool | Mapping[str, Any] | None

PLAIN_CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def tool_dicts(tools: Sequence[Tool], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Functions, classes, langchain-core's tools or dicts, as descriptions for a request."""
    return [convert_to_openai_tool(tool, strict=strict) for tool in tools]  # pyright: ignore[reportArgumentType]


def chosen_tool(choice: Choice, tools: Sequence[Mapping[str, Any]]) -> Any:
    """What a request says about the tool to call.

    >>> tools = [{"type": "function", "function": {"name": "add"}}]
    >>> chosen_tool("any", tools), chosen_tool("add", tools)
    ('required', {'type': 'function', 'function': {'name': 'add'}})

    Raises:
        ValueError: There is no such tool.
    """
    if not choice:
        return None
    if choice is True:
        return _named(_name(tools[0])) if len(tools) == 1 else "required"
    if isinstance(choice, Mapping):
        return dict(choice)
    if choice in PLAIN_CHOICES:
        return PLAIN_CHOICES[choice]
    names = [_name(tool) for tool in tools]
    if choice not in names:
        known = ", ".join([*names, "auto", "any", "none"])
        raise ValueError(f"tool_choice '{choice}' is none of the tools; there are: {known}")
    return _named(choice)


def _name(tool: Mapping[str, Any]) -> str:
    return tool["function"]["name"] if "function" in tool else tool["type"]


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}
