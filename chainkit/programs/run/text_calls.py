"""Functions that the prompt describes and the model calls in its text, as programs of the first Guidance have them.

`{{>tool_def functions=functions}}` describes them; `callable(answer)` says whether the text of a slot is a call of one,
`answer.__name__` and `answer.__kwdefaults__` which one with what, and `answer()` makes it. `tools=` of a slot does all
that by itself, with arguments that are certain on local models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from chainkit.base.errors import ProgramError, nearest
from chainkit.programs.language.parser import parse
from chainkit.programs.language.syntax import Template
from chainkit.programs.model.protocol import Abilities

STOP_REGEX = r"\s*```(?:typescript)?\s*functions\.\w+\(.*?\)\s*```"
NAMES = ("tool_def", "extract_function_call", "function_call_stop_regex")
"""Names of `llm` that also stand for themselves."""

_CALL = re.compile(r"\s*```(?:typescript)?\s*functions\.(\w+)\((.*?)\)\s*```", re.DOTALL)
_TYPES = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}
_DEEPEST = 20
_INSTEAD = {
    "role_start": "a message is {{#user}}...{{/user}}, written as the model expects it",
    "role_end": "a message is {{#user}}...{{/user}}, written as the model expects it",
    "temperature": "write temperature= into {{gen}}, or make the model with it",
    "max_tokens": "write max_tokens= into {{gen}}, or make the model with it",
    "cache": "it is chainkit.programs.model.cache",
    "caching": "switch it off with CHAINKIT_PROGRAM_CACHE=off or chainkit.programs.model.cache.disabled()",
    "token_healing": "write token_healing= into {{gen}}",
}


@dataclass(frozen=True)
class TextCall:
    """A call that a text is; templates read its fields."""

    name: str
    arguments: Mapping[str, Any]


def extract_function_call(text: Any) -> TextCall | None:
    """The call with which a text begins, or None.

    >>> extract_function_call('```typescript\\nfunctions.add({"a": 1})```')
    TextCall(name='add', arguments={'a': 1})
    """
    match = _CALL.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    try:
        arguments = json.loads(match[2]) if match[2].strip() else {}
    except (ValueError, RecursionError):
        return None
    return TextCall(match[1], arguments) if isinstance(arguments, dict) else None


def part(text: str, name: object) -> Any:
    """`text.__name__` and `text.__kwdefaults__` of a text that is a call; None for other names."""
    call = extract_function_call(text) if name in ("__name__", "__kwdefaults__") else None
    return call and (call.name if name == "__name__" else dict(call.arguments))


class TextCallModel(Mapping[str, Any]):
    """The variable `llm` of a template: read-only properties of the model."""

    def __init__(self, abilities: Abilities) -> None:
        kind, _, name = abilities.name.partition(" ")
        self._fields: dict[str, Any] = {
            "model_name": name or kind,
            "chat_mode": abilities.roles != "text",
            "default_system_prompt": "You are a helpful assistant.",
            "extract_function_call": extract_function_call,
            "function_call_stop_regex": STOP_REGEX,
        }

    def __getitem__(self, name: str) -> Any:
        if name == "tool_def":
            return tool_def()
        if name in self._fields:
            return self._fields[name]
        if name in _INSTEAD:
            raise ProgramError(f"templates cannot read llm.{name}; {_INSTEAD[name]}")
        hint = nearest(str(name), list(self))
        advice = f"did you mean '{hint}'?" if hint else f"it has {', '.join(self)}"
        raise ProgramError(f"llm has no '{name}'; {advice}")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)  # so that reading a wrong one says what to write instead

    def __str__(self) -> str:
        return str(self._fields["model_name"])

    def __iter__(self) -> Any:
        return iter((*self._fields, "tool_def"))

    def __len__(self) -> int:
        return len(self._fields) + 1


@dataclass(frozen=True)
class Includable:
    """A template with its variables, for `{{>...}}`."""

    template: Template
    variables: Mapping[str, Any]


@lru_cache(maxsize=1)
def tool_def() -> Includable:
    """The descriptions of `functions` for the model."""
    template = parse("{{functions_as_text(functions)}}")
    return Includable(template, {"functions": [], "functions_as_text": described})


def described(functions: Any) -> str:
    """Functions as TypeScript declares them, and how one is called.

    Args:
        functions: Descriptions in OpenAI's form, Python functions, or langchain tools.

    Raises:
        ProgramError: One is none of these.
    """
    if not isinstance(functions, list | tuple):
        raise ProgramError("functions is a list of descriptions in OpenAI's form, or of functions")
    if not functions:
        return ""
    declared = "\n\n".join(_declared(*_description(function)) for function in functions)
    return (
        f"# Tools\n\n## functions\n\nnamespace functions {{\n\n{declared}\n\n}} // namespace functions\n\n"
        "To call one of these functions, answer with nothing but its call, with the arguments as JSON:\n"
        '```typescript\nfunctions.NAME({"ARGUMENT": VALUE})\n```'
    )


def names_of(functions: Any) -> set[str] | None:
    """The names of functions that were described; None if there are no descriptions."""
    if not isinstance(functions, list | tuple):
        return None
    return {_description(function)[0]["name"] for function in functions}


def _description(function: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    found = function.get("function", function) if isinstance(function, Mapping) else _converted(function)
    if not isinstance(found, Mapping) or not isinstance(found.get("name"), str):
        raise ProgramError("a function is described by a dict with name, description and parameters")
    return found, found.get("parameters") or {}


def _converted(function: Any) -> Any:
    return as_tool(function)[0]["function"]


def as_tool(tool: Any) -> tuple[Mapping[str, Any], Callable[..., Any]]:
    """A tool in OpenAI's format, and its function."""
    from langchain_core.tools import BaseTool
    from langchain_core.utils.function_calling import convert_to_openai_tool

    if not isinstance(tool, BaseTool) and not callable(tool):
        raise ProgramError(f"a tool is a function or a langchain tool, not a {type(tool).__name__}")
    try:
        described = convert_to_openai_tool(tool)
    except (ValueError, TypeError) as error:
        raise ProgramError(f"a tool cannot be described: {error}") from error
    return described, tool.invoke if isinstance(tool, BaseTool) else tool


def _declared(function: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    about = [f"// {line}" for line in str(function.get("description") or "").splitlines()]
    properties = parameters.get("properties") or {}
    required: Sequence[str] = parameters.get("required") or ()
    lines = [line for name, schema in properties.items() for line in _property(name, schema, name in required)]
    return "\n".join([*about, f"type {function['name']} = (_: {{", *lines, "}) => any;"])


def _property(name: str, schema: Any, required: bool) -> list[str]:
    about = schema.get("description", "") if isinstance(schema, Mapping) else ""
    comments = [f"  // {line}" for line in str(about).splitlines()]
    return [*comments, f"  {name}{'' if required else '?'}: {_type(schema)},"]


def _type(schema: Any, depth: int = 0) -> str:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return "any"
    if "enum" in schema:
        return " | ".join(json.dumps(one, ensure_ascii=False) for one in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return f"Array<{_type(schema.get('items'), depth + 1)}>"
    if isinstance(kind, str) and kind in _TYPES:
        return _TYPES[kind]
    properties = schema.get("properties")
    if kind == "object" and isinstance(properties, Mapping):
        return f"{{ {'; '.join(f'{name}: {_type(one, depth + 1)}' for name, one in properties.items())} }}"
    return "any"
