"""Tools and structured answers: what a model may write, how it is told, and how its text is read back."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolCallChunk,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.utils.json_schema import dereference_refs

from chainkit.base.errors import ConstraintError
from chainkit.decoding.schemas import closed
from chainkit.local.conversation import plain_text
from chainkit.local.template import ChatTemplate

if TYPE_CHECKING:
    from chainkit.decoding.constraints import Constraint

_OPEN, _CLOSE = "<tool_call>\n", "\n</tool_call>"


@dataclass(frozen=True)
class Toolbox:
    """The tools of one call.

    Attributes:
        tools: In OpenAI's form.
        choice: "auto", "any", "none", or the name of the tool that must be called.
        native: Whether the chat template knows tools; then it tells the model, and calls stand in <tool_call> tags.
    """

    tools: tuple[dict[str, Any], ...]
    choice: str
    native: bool

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return [tool["function"]["name"] for tool in self.tools]

    def constraint(self) -> Constraint | None:
        """What the model may write: one call of a tool whose arguments fit its schema, or, if it may, plain text."""
        if self.choice == "none":
            return None
        from chainkit.decoding.constraints import SPACE, lark  # llguidance is only needed for constraints

        chosen = [tool for tool in self.tools if self.choice in ("auto", "any", tool["function"]["name"])]
        if not chosen:
            raise ConstraintError(f"there is no tool {self.choice!r}; tools: {', '.join(self.names)}")
        schema = {"anyOf": [_call_schema(tool["function"]) for tool in chosen]}
        body = "%json " + json.dumps(closed(schema) | {"x-guidance": {"whitespace_pattern": SPACE}})
        call = f"{json.dumps(_OPEN)} body {json.dumps(_CLOSE)}" if self.native else "body"
        # text never begins as a call does, so that what the model has begun shows what it is writing
        text = "" if self.choice != "auto" else "| TEXT\nTEXT: /[^<{](?s:.*)/"
        return lark(f"start: call {text}\ncall: {call}\nbody: {body}\n")

    def read(self, text: str) -> tuple[str, list[ToolCall]]:
        """The answer without its tool call, and the call."""
        body = text.removeprefix(_OPEN).removesuffix(_CLOSE) if self.native else text
        if not body.startswith("{") or (self.native and not text.startswith(_OPEN)):
            return text, []
        try:
            call = json.loads(body)
        except ValueError:  # max_tokens came in between; the finish reason says so
            return text, []
        return "", [ToolCall(name=call["name"], args=call["arguments"], id=f"call_{uuid.uuid4().hex[:24]}")]

    def instructions(self) -> str:
        """What a model is told whose template knows no tools."""
        described = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in self.tools)
        return (
            f"You can call these tools:\n{described}\n"
            'To call one, answer with nothing but JSON: {"name": its name, "arguments": its arguments}'
        )


class Shown:
    """What of a streamed answer is text, and what is a call that is shown when it is whole."""

    def __init__(self, toolbox: Toolbox | None) -> None:
        self._toolbox = toolbox
        self._call = ""
        self._is_text: bool | None = True if toolbox is None or toolbox.choice == "none" else None

    def feed(self, text: str) -> str:
        """The part of the text that is no call."""
        if self._is_text is None and text:
            self._is_text = text[0] not in "<{"
        if self._is_text:
            return text
        self._call += text
        return ""

    def end(self) -> tuple[str, list[ToolCallChunk]]:
        """What was held back, and the call that it was."""
        if not self._call or self._toolbox is None:
            return self._call, []
        text, calls = self._toolbox.read(self._call)
        chunks = [
            tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=number)
            for number, call in enumerate(calls)
        ]
        return text, chunks


def without_tools(
    messages: Sequence[BaseMessage], toolbox: Toolbox | None, template: ChatTemplate
) -> Sequence[BaseMessage]:
    """The messages as the template can take them: one that knows no tools gets them in plain words."""
    if template.mentions("tool_calls") or (toolbox is not None and toolbox.native):
        return messages
    plain = [_in_words(message) for message in messages]
    if toolbox is None or toolbox.choice == "none":
        return plain
    if plain and isinstance(plain[0], SystemMessage):
        return [SystemMessage(f"{plain_text(plain[0])}\n\n{toolbox.instructions()}"), *plain[1:]]
    return [SystemMessage(toolbox.instructions()), *plain]


def chosen(tool_choice: str | bool | dict[str, Any] | None) -> str:
    """The words of different services for the same choices, in ours."""
    if isinstance(tool_choice, dict):
        return str(tool_choice.get("function", tool_choice).get("name", "any"))
    if tool_choice in (None, False):
        return "auto"
    return "any" if tool_choice in (True, "any", "required") else str(tool_choice)


def _call_schema(function: dict[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if not parameters.get("properties") and "$ref" not in parameters:
        parameters = {"type": "object", "properties": {}, "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": dereference_refs(parameters)},
        "required": ["name", "arguments"],
    }


def _in_words(message: BaseMessage) -> BaseMessage:
    if isinstance(message, ToolMessage):
        return HumanMessage(f"Result of the tool {message.name or message.tool_call_id}: {plain_text(message)}")
    if isinstance(message, AIMessage) and message.tool_calls:
        calls = [json.dumps({"name": call["name"], "arguments": call["args"]}) for call in message.tool_calls]
        return AIMessage("\n".join(filter(None, [plain_text(message), *calls])))
    return message
