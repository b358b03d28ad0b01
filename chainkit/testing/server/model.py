"""A model that is a rule: the same request gets the same answer, and tools and schemas are obeyed.

Only `random` replies differ, as long as there is no seed.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Said:
    """What the model says to one request."""

    text: str | None = None
    calls: tuple[tuple[str, Json], ...] = ()
    refusal: str | None = None
    reasoning: str | None = None


def chat(body: Json) -> Said:
    """The answer to a chat request."""
    question = last_question(body["messages"])
    reasoning = "Let me think." if body["model"].startswith("reasoner") else None
    if "refuse" in question:
        return Said(refusal="I cannot help with that.")
    if calls := _calls(body, question):
        return Said(calls=calls, reasoning=reasoning)
    if form := body.get("response_format"):
        return Said(json.dumps(_formed(form, question), ensure_ascii=False), reasoning=reasoning)
    if "random" in question:
        return Said("".join(random.Random(body.get("seed")).sample("abcdefghij", 5)), reasoning=reasoning)  # noqa: S311
    return Said(_spoken(body["messages"], question), reasoning=reasoning)


def complete(prompt: str) -> str:
    """The continuation of a prompt."""
    return _spoken([], prompt)


def pieces(text: str) -> list[str]:
    """The tokens of this model: words with the space before them.

    >>> pieces("One, two  three")
    ['One,', ' two', '  three']
    """
    return re.findall(r"\s*\S+|\s+$", text)


def vector(text: str, width: int) -> list[float]:
    """A vector of length 1 that depends on the text alone, in 32-bit precision."""
    source = random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311 - no secret
    values = [source.gauss(0, 1) for _ in range(width)]
    length = sum(value * value for value in values) ** 0.5
    return list(struct.unpack(f"<{width}f", struct.pack(f"<{width}f", *(value / length for value in values))))


def last_question(messages: Sequence[Json]) -> str:
    """The text of the last message of the user."""
    return next((text_of(m) for m in reversed(messages) if m["role"] == "user"), "")


def text_of(message: Json) -> str:
    """All text of a message."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def _spoken(messages: Sequence[Json], question: str) -> str:
    if question.startswith("say:"):
        return question[4:]
    if count := re.match(r"count to (\d+)", question):
        return " ".join(str(number) for number in range(1, int(count[1]) + 1))
    media = [part["type"] for m in messages if isinstance(m.get("content"), list) for part in m["content"]]
    seen = [kind for kind in media if kind not in {"text", "refusal"}]
    if seen:
        return f"I see: {', '.join(seen)}"
    return "Hello there, how can I help you today?"


def _calls(body: Json, question: str) -> tuple[tuple[str, Json], ...]:
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or []}
    choice = body.get("tool_choice", "auto")
    if not tools or choice == "none":
        return ()
    if isinstance(choice, Mapping):
        chosen = [choice["function"]["name"]]
    else:
        chosen = [name for name in tools if _meant(name, question)]
        if choice == "required":
            chosen = chosen or list(tools)[:1]
        elif body["messages"][-1]["role"] == "tool":
            chosen = []
    if body.get("parallel_tool_calls") is False:
        chosen = chosen[:1]
    return tuple((name, sample(tools[name].get("parameters") or {}, question)) for name in chosen)


def _meant(name: str, question: str) -> bool:
    words = [word for word in re.split(r"[_\W]+", name.lower()) if word not in {"get", "my", "tool"}]
    return name in question or all(word in question.lower() for word in words)


def _formed(form: Json, question: str) -> Any:
    if form["type"] == "json_schema":
        return sample(form["json_schema"]["schema"], question)
    return {key: f"a {key}" for key in re.findall(r"'(\w+)'", question)} or {"answer": "yes"}


def sample(schema: Json, question: str, root: Json | None = None) -> Any:
    """A value that the schema accepts, with what the question offers: numbers and quoted text.

    >>> sample({"type": "object", "properties": {"n": {"type": "integer"}}}, "take 3")
    {'n': 3}
    """
    root = schema if root is None else root
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return sample(target, question, root)
    if "enum" in schema or "const" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    if options := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return sample(options[0], question, root)
    match schema.get("type"):
        case "object" | None:
            return {key: sample(part, question, root) for key, part in (schema.get("properties") or {}).items()}
        case "array":
            return [sample(schema.get("items", {"type": "string"}), question, root)]
        case "boolean":
            return True
        case "null":
            return None
        case "integer" | "number":
            found = re.search(r"-?\d+", question)
            return int(found[0]) if found else 1
    quoted = re.search(r"'([^']+)'|\bin ([A-Z][\w ,]+)", question)
    return (quoted[1] or quoted[2]) if quoted else "Pirate"
