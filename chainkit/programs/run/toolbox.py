"""`tools=` of a slot: functions that the model may call before it answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chainkit.base.errors import ProgramError
from chainkit.programs.language.syntax import Arguments
from chainkit.programs.model.protocol import Generate, Slot, SlotResult, ToolCall
from chainkit.programs.model.record import ToolCalled
from chainkit.programs.run.calling import misfit
from chainkit.programs.run.line import ExecutionLine
from chainkit.programs.run.steps import Ask, Invoke, Steps
from chainkit.programs.run.text_calls import as_tool

_CHOICES = ("auto", "any", "none")


@dataclass(frozen=True)
class Tools:
    """The tools of one slot.

    Attributes:
        functions: By name.
        described: In OpenAI's form.
        choice: "auto", "any", "none" or the name of the tool that must be called first.
        rounds: How often the model may call before it must answer.
    """

    functions: Mapping[str, Callable[..., Any]]
    described: tuple[Mapping[str, Any], ...]
    choice: str
    rounds: int


def planned(run: ExecutionLine, arguments: Arguments) -> Steps:
    """The tools of a slot, or None."""
    given = yield from run.named(arguments, "tools")
    name = "tool_choice" if "tool_choice" in arguments.values else "function_call"
    choice = yield from run.text(arguments, name)
    rounds = yield from run.count(arguments, "tool_rounds", run.shared.limits.tool_rounds, 1)
    if given is None or given == [] or given == ():
        if choice not in (None, "auto", "none"):
            raise ProgramError(f"{name}='{choice}' asks for a call, and this slot has no tools=")
        return None
    if not isinstance(given, list | tuple):
        given = [given]
    functions: dict[str, Callable[..., Any]] = {}
    described: list[Mapping[str, Any]] = []
    for tool in given:
        description, function = as_tool(tool)
        described.append(description)
        functions[description["function"]["name"]] = function
    if len(functions) < len(described):
        raise ProgramError("two tools have the same name")
    choice = choice or "auto"
    if choice not in (*_CHOICES, *functions):
        raise ProgramError(f"there is no tool '{choice}'; tools: {', '.join(functions)}")
    return Tools(functions, tuple(described), choice, rounds)


def answered(run: ExecutionLine, slot: Slot, tools: Tools) -> Steps:
    """Ask, call what the model wants called, tell it the results, until it answers; gives its last text."""
    name, calls = slot.name, list[Any]()
    for number in range(tools.rounds + 1):
        choice = "none" if number == tools.rounds else tools.choice if number == 0 else "auto"
        asked = replace(slot, tools=tools.described, tool_choice=choice)
        written: SlotResult = yield Ask(Generate(run.context, asked))
        if not written.calls:
            break
        run.shared.round()
        for call in written.calls:
            result = yield from _result(run, tools, call)
            run.context.add_tool_result(call, result)
            calls.append({"name": call.name, "arguments": dict(call.arguments), "result": result})
            yield ToolCalled(call.name, call.arguments, result)
    else:
        raise ProgramError(f"the model called tools instead of answering, {tools.rounds} times")
    if written.finish == "length":  # perhaps in the middle of a call
        run.shared.finishes[name] = written.detail or "a limit was reached"
    yield from run.add(written.text, "model", name)
    if name:
        run.scope.assign(f"{name}_calls", calls)
    return written


def _result(run: ExecutionLine, tools: Tools, call: ToolCall) -> Steps:
    """The result of a tool as text; a faulty call gives the model an error text."""
    function = tools.functions.get(call.name)
    if function is None:
        return f"Error: there is no tool {call.name!r}; tools: {', '.join(tools.functions)}"
    langchain = getattr(function, "__name__", "") == "invoke" and hasattr(function, "__self__")
    if langchain:
        value = yield Invoke(function, (dict(call.arguments),))
    else:
        if problem := misfit(function, (), call.arguments):
            return f"Error: {problem}"
        value = yield Invoke(function, (), dict(call.arguments))
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)
