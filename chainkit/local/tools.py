"""Tool calling and structured output: the constraint, the instructions for the model, and parsing its text."""

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
_MOST_CALLS = 8  # in one answer
_NAME = re.compile(r'\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")')
_ARGUMENTS = re.compile(r'\s*,\s*"arguments"\s*:\s*')


@dataclass(frozen=True)
class ToolAnswer:
    """An answer of a model that has tools: text, or calls, of which the last may have been cut.

    Attributes:
        text: The text, if it is one.
        calls: The calls that are whole, in their order; one that repeats another is left out.
        cut: The last call, if it is incomplete and does not repeat one before it: its name if that is complete, its
            arguments as far as they were written, and the reason.
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
        several: Whether one answer may hold several calls; of a tool that must be called there is one.
        form: The form of an answer that calls no tool, as a rule of Lark; empty: any text. Beside it, calls stand in
            tags.
    """

    tools: tuple[dict[str, Any], ...]
    choice: str
    native: bool
    several: bool = True
    form: str = ""

    @property
    def tagged(self) -> bool:
        """Whether calls stand in <tool_call> tags."""
        return self.native or bool(self.form)

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return [tool["function"]["name"] for tool in self.tools]

    def constraint(self) -> Constraint | None:
        """The constraint on the model: tool calls with arguments that fit their schemas, or, if allowed, an answer.

        None: any text. The answer is plain text, or has the form.
        """
        if self.choice == "none" and not self.form:
            return None
        from chainkit.decoding.constraints import SPACE, lark  # llguidance is only needed for constraints

        if self.choice == "none":
            return lark(f"start: form\nform: {self.form}\n")
        chosen = [tool for tool in self.tools if self.choice in ("auto", "any", tool["function"]["name"])]
        if not chosen:
            raise ConstraintError(f"there is no tool {self.choice!r}; tools: {', '.join(self.names)}")
        schema = {"anyOf": [_call_schema(tool["function"]) for tool in chosen]}
        body = "%json " + json.dumps(closed(schema) | {"x-guidance": {"whitespace_pattern": SPACE}})
        call = f"{json.dumps(_OPEN)} body {json.dumps(_CLOSE)}" if self.tagged else "body"
        # text never begins as a call does, so that what the model has begun shows what it is writing
        answer = f"| form\nform: {self.form}" if self.form else "| TEXT\nTEXT: /[^<{](?s:.*)/"
        text = answer if self.choice == "auto" else ""
        more = f'("\\n" call){{0,{_MOST_CALLS - 1}}}' if self.several and self.choice in ("auto", "any") else ""
        return lark(f"start: call {more} {text}\ncall: {call}\nbody: {body}\n")

    def read(self, text: str, end: Piece) -> ToolAnswer:
        """Parse an answer into text or tool calls.

        Args:
            text: All of it.
            end: The last piece of it, which says why it ended.
        """
        # by the constraint, nothing but a call begins like this
        if self.choice == "none" or not self.begins(text):
            return ToolAnswer(text)
        decoder, found, said = json.JSONDecoder(), list[ToolCall](), list[str]()
        while text:
            body, number = text.removeprefix(_OPEN), f"call_{uuid.uuid4().hex[:24]}"
            try:
                call, length = decoder.raw_decode(body)
            except ValueError:
                repeats = any(one.startswith(body) for one in said)
                return ToolAnswer("", tuple(found), () if repeats else (_cut(body, number, end),))
            if not any((call["name"], call["arguments"]) == (one["name"], one["args"]) for one in found):
                found.append(ToolCall(name=call["name"], args=call["arguments"], id=number))
            said.append(body[:length])
            text = _behind(body[length:])
        return ToolAnswer("", tuple(found))

    def begins(self, text: str) -> bool:
        """Whether an answer that begins like this is a call."""
        return text.startswith("<" if self.tagged else "{")

    def instructions(self) -> str:
        """The tools as a system prompt, for chat templates without tool support."""
        described = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in self.tools)
        how = "To call tools" if self.several else "To call one"
        lines = ", one line for each call" if self.several and not self.tagged else ""
        call = '{"name": its name, "arguments": its arguments}'
        if self.tagged:
            call = f"{_OPEN}{call}{_CLOSE}"
        return f"You can call these tools:\n{described}\n{how}, answer with nothing but JSON{lines}: {call}"


class Shown:
    """Splits a streamed answer into text and tool calls; a call is emitted when it is complete."""

    def __init__(self, toolbox: Toolbox | None) -> None:
        self._toolbox = toolbox
        self._call = ""
        self._is_text: bool | None = True if toolbox is None or toolbox.choice == "none" else None

    def feed(self, text: str) -> str:
        """The part of the text that is not a tool call."""
        if self._is_text is None and text:
            self._is_text = self._toolbox is None or not self._toolbox.begins(text)
        if self._is_text:
            return text
        self._call += text
        return ""

    def end(self, piece: Piece) -> tuple[str, list[ToolCallChunk]]:
        """The text that was held back, or the calls in it; a cut call is marked so that it cannot parse as complete.

        Args:
            piece: The last one of the answer.
        """
        if not self._call or self._toolbox is None:
            return self._call, []
        answer = self._toolbox.read(self._call, piece)
        found = [(call["name"], json.dumps(call["args"]), call["id"]) for call in answer.calls]
        found += [(call["name"], _marked(call), call["id"]) for call in answer.cut]
        chunks = [
            tool_call_chunk(name=name, args=args, id=number, index=place)
            for place, (name, args, number) in enumerate(found)
        ]
        return answer.text, chunks


def without_tools(
    messages: Sequence[BaseMessage], toolbox: Toolbox | None, template: ChatTemplate
) -> Sequence[BaseMessage]:
    """The messages as the template can take them: one that knows no tools gets them in plain words."""
    if template.mentions("tool_calls") or (toolbox is not None and toolbox.native):
        return messages
    free = toolbox is None or toolbox.choice == "none"
    plain = [_in_words(message, free and message is messages[-1]) for message in messages]
    if toolbox is None or free:
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


def _behind(rest: str) -> str:
    """The text from the next call on, if one has begun after a complete call."""
    rest = rest.removeprefix(_CLOSE)
    return "" if _CLOSE.startswith(rest) else rest.removeprefix("\n")


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


def _in_words(message: BaseMessage, last: bool) -> BaseMessage:
    """Calls and results in prose: a small model that sees its call as JSON writes it again."""
    if isinstance(message, ToolMessage):
        result = f"The tool {message.name or 'that was called'} says: {plain_text(message)}"
        return HumanMessage(f"{result}\nNow answer the question." if last else result)
    if isinstance(message, AIMessage) and message.tool_calls:
        calls = [f"I call the tool {call['name']}{_arguments(call['args'])}." for call in message.tool_calls]
        return AIMessage("\n".join(filter(None, [plain_text(message), *calls])))
    return message


def _arguments(values: dict[str, Any]) -> str:
    written = ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
    return f" with {written}" if written else ""
