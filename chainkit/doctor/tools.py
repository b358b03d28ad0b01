"""Whether the model can call tools, and whether the request can choose one."""

from __future__ import annotations

from typing import Any

from chainkit.doctor.examination import Examination
from chainkit.doctor.finding import Finding
from chainkit.doctor.reading import calls, json_object, judged
from chainkit.doctor.wire import WireReply, dug


def _tool(name: str, about: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}


WEATHER = _tool("get_weather", "The weather in a city now.")
TIME = _tool("get_time", "The time of day in a city.")
ONE = "What is the weather in Paris? Use the tool."
_DEMANDED = "only when a call is demanded: "
BOTH = "What is the weather in Paris, and what is the time in Paris? Call both tools now."


def one(exam: Examination) -> Finding:
    """Whether a tool is called, with arguments as JSON text."""
    reply = exam.ask(ONE, tools=[WEATHER])
    found = calls(reply)
    if found and isinstance(found[0][1], dict):
        detail = "called, but its arguments are an object and not JSON text"
        return Finding(feature="tools", state="works", detail=detail, status=reply.status)
    if reply.good and not found:  # the model may not see the point, where the server could hold it to a call
        demanded = exam.ask(ONE, tools=[WEATHER], tool_choice="required")
        if calls(demanded):
            return _first("tools", demanded, _DEMANDED)
    return _first("tools", reply)


def _first(feature: str, reply: WireReply, lead: str = "") -> Finding:
    found = calls(reply)
    good = bool(found) and found[0][0] == "get_weather" and json_object(str(found[0][1])) is not None
    return judged(feature, reply, good, lead + _shown(found), _instead(found, "no tool was called"))


def parallel(exam: Examination) -> Finding:
    """Whether one answer can hold two calls."""
    reply = exam.ask(BOTH, tools=[WEATHER, TIME])
    found, lead = calls(reply), ""
    if reply.good and not found and exam.works("tools"):
        reply, lead = exam.ask(BOTH, tools=[WEATHER, TIME], tool_choice="required"), _DEMANDED
        found = calls(reply)
    return judged("parallel_tools", reply, len(found) == 2, lead + _shown(found), _instead(found, "no tool was called"))


def one_at_a_time(exam: Examination) -> Finding:
    """Whether the model can be held to one call."""
    reply = exam.ask(BOTH, tools=[WEATHER, TIME], parallel_tool_calls=False)
    if reply.good and not calls(reply):
        reply = exam.ask(BOTH, tools=[WEATHER, TIME], parallel_tool_calls=False, tool_choice="required")
    found = calls(reply)
    return judged("parallel_tool_calls=false", reply, len(found) <= 1, _shown(found), _shown(found))


def streamed(exam: Examination) -> Finding:
    """Whether the pieces of a call in a stream make up a whole."""
    reply = exam.ask(ONE, tools=[WEATHER], stream=True)
    name, arguments = _joined(reply)
    if reply.good and not name and exam.works("tools"):
        reply = exam.ask(ONE, tools=[WEATHER], tool_choice="required", stream=True)
        name, arguments = _joined(reply)
    good = name == "get_weather" and json_object(arguments) is not None
    return judged("tools_in_stream", reply, good, f"{name}{arguments}", f"got {name!r} with {arguments[:60]!r}")


def _joined(reply: WireReply) -> tuple[str, str]:
    """The name and the arguments of a call whose pieces stand in a stream."""
    parts = [dug(event, "choices", 0, "delta", "tool_calls", 0, "function") for event in reply.events]
    name, arguments = ("".join(str(dug(part, field) or "") for part in parts) for field in ("name", "arguments"))
    return name, arguments


def required(exam: Examination) -> Finding:
    """Whether a call of some tool can be demanded."""
    reply = exam.ask("Hello", tools=[WEATHER], tool_choice="required")
    return _chosen("tool_choice=required", reply, ["get_weather"])


def named(exam: Examination) -> Finding:
    """Whether a call of one tool can be demanded by its name."""
    choice = {"type": "function", "function": {"name": "get_time"}}
    return _chosen("tool_choice=NAME", exam.ask(ONE, tools=[WEATHER, TIME], tool_choice=choice), ["get_time"])


def none(exam: Examination) -> Finding:
    """Whether calls can be forbidden."""
    return _chosen("tool_choice=none", exam.ask(ONE, tools=[WEATHER], tool_choice="none"), [])


def _chosen(feature: str, reply: WireReply, wanted: list[str]) -> Finding:
    found = calls(reply)
    fits = [name for name, _ in found] == wanted
    return judged(feature, reply, fits, _shown(found), _instead(found, "no tool was called"))


def _shown(found: list[tuple[str, Any]]) -> str:
    return ", ".join(f"{name}{arguments}" for name, arguments in found) or "no call"


def _instead(found: list[tuple[str, Any]], nothing: str) -> str:
    return f"called {_shown(found)}" if found else nothing
