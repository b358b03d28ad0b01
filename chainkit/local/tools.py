"""Tools and structured answers: what a model may write, how it is told, and how its text is read back."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolCallChunk,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.utils.json_schema import dereference_refs

from chainkit.base.errors import ConstraintError
from chainkit.base.session import Piece
from chainkit.decoding.schemas import closed
from chainkit.decoding.unfinished import mark_of_cut
from chainkit.local.conversation import plain_text
from chainkit.local.template import ChatTemplate

if TYPE_CHECKING:
    from chainkit.decoding.constraints import Constraint

_OPEN, _CLOSE = "<tool_call>\n", "\n</tool_call>"
_NAME = re.compile(r'\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")')
_ARGUMENTS = re.compile(r'\s*,\s*"arguments"\s*:\s*')


@dataclass(frozen=True)
class ToolAnswer:
    """An answer of a model that has tools: text, a call, or a call that was cut.

    Attributes:
        text: The text around the calls.
        calls: The call, if there is one and it is whole.
        cut: The call, if it is not: its name where that is whole, its arguments as far as they were written, and why
            there is no more of them.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    cut: tuple[InvalidToolCall, ...] = ()


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

    def read(self, text: str, end: Piece) -> ToolAnswer:
        """What an answer is.

        Args:
            text: All of it.
            end: The last piece of it, which says why it ended.
        """
        # by the constraint, nothing but a call begins like this
        if self.choice == "none" or not text.startswith("<" if self.native else "{"):
            return ToolAnswer(text)
        body, number = text.removeprefix(_OPEN), f"call_{uuid.uuid4().hex[:24]}"
        try:
            call, _ = json.JSONDecoder().raw_decode(body)  # the closing tag, or what there is of it, may follow
        except ValueError:
            return ToolAnswer("", cut=(_cut(body, number, end),))
        return ToolAnswer("", (ToolCall(name=call["name"], args=call["arguments"], id=number),))

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

    def end(self, piece: Piece) -> tuple[str, list[ToolCallChunk]]:
        """What was held back, and the call that it was; one that was cut cannot be read as a whole one.

        Args:
            piece: The last one of the answer.
        """
        if not self._call or self._toolbox is None:
            return self._call, []
        answer = self._toolbox.read(self._call, piece)
        told = [(call["name"], json.dumps(call["args"]), call["id"]) for call in answer.calls]
        told += [(call["name"], _marked(call), call["id"]) for call in answer.cut]
        return answer.text, [tool_call_chunk(name=name, args=args, id=id_, index=0) for name, args, id_ in told]


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


def _cut(body: str, number: str, end: Piece) -> InvalidToolCall:
    name = _NAME.match(body)
    arguments = _ARGUMENTS.match(body, name.end()) if name else None
    return InvalidToolCall(
        type="invalid_tool_call",
        name=json.loads(name[1]) if name else None,
        args=body[arguments.end() :] if arguments else "",
        id=number,
        error=f"cut: {end.detail or 'the model wrote no more of it'}",
    )


def _marked(call: InvalidToolCall) -> str:
    """Its arguments as a piece of a stream, which says only there why they end."""
    arguments, why = call["args"] or "", call["error"] or ""
    return arguments + mark_of_cut(arguments, why) if arguments.strip() else f"{{] {why}"


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
