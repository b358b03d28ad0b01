"""Tools of local models: told in words where the template knows none; a call that is cut is an invalid one."""

import json
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Literal

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from chainkit import chat_model
from chainkit.backends.llama_cpp.models import GGUFChat
from chainkit.base.session import Piece
from chainkit.local.template import ChatTemplate
from chainkit.local.tools import Shown, Toolbox, without_tools
from tests.backends.llama_cpp import tiny

DEMO = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"
NATIVE = "{% if tools %}{{ tools | tojson }}{% endif %}" + tiny.CHATML
LIMIT = Piece("", finish="length", detail="max_tokens=9 is reached")
ARGUMENTS = '{"city": "M\\u00fcnchen \\"Ost\\"", "days": [1, {"of": [2]}], "at": null}'
CALL = f'{{"name": "weather", "arguments": {ARGUMENTS}}}'


@tool
def book(room: Literal["north", "south"], beds: Literal[1, 2], sea: bool) -> str:
    """Book a room."""
    return f"{room} {beds} {sea}"


def test_a_template_without_tools_is_told_in_words():
    toolbox = Toolbox(({"type": "function", "function": {"name": "add", "parameters": {}}},), "auto", native=False)
    call = {"name": "add", "args": {"a": 1}, "id": "7", "type": "tool_call"}
    talk = [
        SystemMessage("Be kind."),
        HumanMessage("x"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("3", tool_call_id="7"),
    ]
    plain = without_tools(talk, toolbox, ChatTemplate(tiny.CHATML))
    assert [message.type for message in plain] == ["system", "human", "ai", "human"]
    assert plain[0].content.startswith("Be kind.\n\nYou can call these tools:")
    assert plain[2].content == "I call the tool add with a = 1."
    assert plain[3].content == "The tool that was called says: 3"
    free = without_tools(talk, replace(toolbox, choice="none"), ChatTemplate(tiny.CHATML))
    assert free[0].content == "Be kind."
    assert free[3].content == "The tool that was called says: 3\nNow answer the question."
    native = ChatTemplate("{{ tools }}{{ messages[0].tool_calls }}")
    assert without_tools(talk, toolbox, native) == talk


def shown(toolbox: Toolbox, text: str, end: Piece) -> AIMessageChunk:
    """The sum of what a stream shows that brings a text letter by letter."""
    stream = Shown(toolbox)
    pieces = [AIMessageChunk(stream.feed(letter)) for letter in text]
    content, calls = stream.end(end)
    return reduce(add, [*pieces, AIMessageChunk(content, tool_call_chunks=calls, chunk_position="last")])


@pytest.mark.parametrize("native", [False, True])
def test_a_call_is_whole_or_invalid_wherever_it_is_cut(native):
    toolbox = Toolbox(({"type": "function", "function": {"name": "weather"}},), "auto", native=native)
    whole = f"<tool_call>\n{CALL}\n</tool_call>" if native else CALL
    least = whole.index(CALL) + len(CALL)
    for length in range(1, least):
        text = whole[:length]
        answer, streamed = toolbox.read(text, LIMIT), shown(toolbox, text, LIMIT)
        assert (answer.text, answer.calls) == ("", ())
        assert (streamed.content, streamed.tool_calls) == ("", [])
        (cut,), (late,) = answer.cut, streamed.invalid_tool_calls
        assert cut["error"] == "cut: max_tokens=9 is reached"
        assert late["args"].endswith("cut: max_tokens=9 is reached")
        assert cut["name"] == late["name"] == ("weather" if 'weather"' in text else None)
        _, _, written = text.partition('"arguments": ')
        assert cut["args"] == written
    for length in range(least, len(whole) + 1):
        (call,) = toolbox.read(whole[:length], LIMIT).calls
        (late,) = shown(toolbox, whole[:length], LIMIT).tool_calls
        assert (call["name"], call["args"]) == (late["name"], late["args"]) == ("weather", json.loads(ARGUMENTS))


def test_json_is_text_where_no_call_is_wanted():
    toolbox = Toolbox(({"type": "function", "function": {"name": "weather"}},), "none", native=False)
    for text in (CALL, CALL[:30], '{"a": 1}'):
        answer, streamed = toolbox.read(text, LIMIT), shown(toolbox, text, LIMIT)
        assert (answer.text, answer.calls, answer.cut) == (text, (), ())
        assert (streamed.content, streamed.tool_calls, streamed.invalid_tool_calls) == (text, [], [])


@pytest.mark.parametrize("template", [None, NATIVE])
async def test_max_tokens_make_no_answer_of_half_a_call(template):
    with_template = {"chat_template": template} if template else {}
    bound = GGUFChat(model=str(DEMO), context_length=512, **with_template).bind_tools([book], tool_choice="any")
    ends = set()
    for limit in (1, 4, 12, 24, 150):
        said = bound.invoke("A room, please.", max_tokens=limit)
        total = reduce(add, bound.stream("A room, please.", max_tokens=limit))
        later = await bound.ainvoke("A room, please.", max_tokens=limit)
        parts = [chunk async for chunk in bound.astream("A room, please.", max_tokens=limit)]
        for answer in (said, total, later, reduce(add, parts)):
            assert answer.content == ""
            assert len(answer.tool_calls) + len(answer.invalid_tool_calls) == 1
            assert bool(answer.tool_calls) == bool(said.tool_calls)
            for call in answer.invalid_tool_calls:
                assert f"cut: max_tokens={limit} is reached" in (call["error"] or call["args"])
                assert answer.response_metadata["finish_reason"] == "length"
        ends.add(bool(said.tool_calls))
    assert ends == {True, False}


def test_the_context_is_named_where_it_cut_a_call_and_a_stop_text_cuts_none():
    bound = GGUFChat(model=str(DEMO), context_length=512).bind_tools([book], tool_choice="any")
    answer = bound.invoke("A room, please.", stop=['"beds"'], max_tokens=200)
    assert len(answer.tool_calls) == 1
    context = answer.usage_metadata["input_tokens"] + 30
    answer = (
        GGUFChat(model=str(DEMO), context_length=context)
        .bind_tools([book], tool_choice="any")
        .invoke("A room, please.")
    )
    assert (answer.content, answer.tool_calls) == ("", [])
    (cut,) = answer.invalid_tool_calls
    assert (cut["name"], cut["error"]) == ("book", f"cut: the context of {context} tokens is full")


SECOND = '{"name": "time", "arguments": {"city": "Oslo"}}'


@pytest.mark.parametrize("native", [False, True])
def test_several_calls_are_whole_or_the_last_one_is_invalid_wherever_they_are_cut(native):
    tools = tuple({"type": "function", "function": {"name": name}} for name in ("weather", "time"))
    toolbox = Toolbox(tools, "auto", native=native)
    bodies = [CALL, SECOND, '{"name": "weather", "arguments": {}}']
    whole = "\n".join(f"<tool_call>\n{body}\n</tool_call>" if native else body for body in bodies)
    ends = [whole.index(body) + len(body) for body in bodies]
    for length in range(1, len(whole) + 1):
        answer, streamed = toolbox.read(whole[:length], LIMIT), shown(toolbox, whole[:length], LIMIT)
        written = [call["name"] for call in answer.calls]
        assert written == ["weather", "time", "weather"][: sum(end <= length for end in ends)]
        assert len(answer.cut) <= 1
        assert [call["args"] for call in streamed.tool_calls] == [call["args"] for call in answer.calls]
        assert [call["name"] for call in streamed.invalid_tool_calls] == [call["name"] for call in answer.cut]
        assert len({call["id"] for call in (*answer.calls, *answer.cut)}) == len(answer.calls) + len(answer.cut)
    assert [len(answer.calls), len(answer.cut)] == [3, 0]


def test_a_call_that_is_made_twice_in_one_answer_counts_once():
    toolbox = Toolbox(({"type": "function", "function": {"name": "weather"}},), "any", native=False)
    assert len(toolbox.read(f"{CALL}\n{CALL}", LIMIT).calls) == 1
    other = CALL.replace("null", "1")
    assert len(toolbox.read(f"{CALL}\n{other}\n{CALL}", LIMIT).calls) == 2
    again = toolbox.read(f"{CALL}\n{CALL[:40]}", LIMIT)
    assert (len(again.calls), again.cut) == (1, ())
    assert len(toolbox.read(f"{CALL}\n{CALL[:40]}?", LIMIT).cut) == 1


@pytest.mark.parametrize("template", [None, NATIVE])
def test_all_calls_of_an_answer_fit_their_schemas_and_one_is_all_that_may_be_asked_for(tmp_path, template):
    @tool
    def leave(late: bool) -> str:
        """Leave."""
        return str(late)

    file = tiny.write_model(tmp_path / "model.gguf", template=template or tiny.CHATML, context=2048)
    chat = GGUFChat(model=str(file), temperature=1, top_k=0, n_threads=1)
    schemas = {one.name: one.args_schema for one in (book, leave)}
    counts = []
    for seed in range(12):
        bound = chat.bind_tools([book, leave], tool_choice="any", seed=seed, max_tokens=600)
        answer = bound.invoke("x")
        for call in answer.tool_calls:
            schemas[call["name"]].model_validate(call["args"])
        counts.append(len(answer.tool_calls) + len(answer.invalid_tool_calls))
        one = chat.bind_tools([book, leave], tool_choice="any", seed=seed, parallel_tool_calls=False).invoke("x")
        assert len(one.tool_calls) == 1
        named = chat.bind_tools([book, leave], tool_choice="leave", seed=seed).invoke("x")
        assert [call["name"] for call in named.tool_calls] == ["leave"]
    assert max(counts) > 1


def test_a_small_model_calls_two_tools_in_one_answer_and_one_where_it_must():
    @tool
    def get_weather(city: str) -> str:
        """The weather in a city now."""
        return city

    @tool
    def get_time(city: str) -> str:
        """The time of day in a city."""
        return city

    chat = chat_model("smollm2", temperature=0, max_tokens=80)
    both = "What is the weather in Paris, and what is the time in Paris? Call both tools now."
    calls = chat.bind_tools([get_weather, get_time], tool_choice="any").invoke(both).tool_calls
    assert [(call["name"], call["args"]) for call in calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_time", {"city": "Paris"}),
    ]
    single = chat.bind_tools([get_weather, get_time], tool_choice="any", parallel_tool_calls=False)
    assert len(single.invoke(both).tool_calls) == 1
    forced = chat.bind_tools([get_weather], tool_choice="any")
    (call,) = forced.invoke("What is the weather in Paris? Use the tool.").tool_calls
    assert call["args"] == {"city": "Paris"}
