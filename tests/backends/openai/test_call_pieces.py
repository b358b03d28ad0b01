"""Streamed tool calls in all the shapes that services send: the right calls, or invalid ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk

from chainkit.backends.openai.access import Access
from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.reply import ChatReading


def piece(arguments: Any = None, **said: Any) -> dict[str, Any]:
    name = {"name": said.pop("name")} if "name" in said else {}
    return {**said, "function": {**name, **({} if arguments is None else {"arguments": arguments})}}


def merged(pieces: list[Any], finish: str = "tool_calls") -> AIMessageChunk:
    reading = ChatReading(
        Connection("service", Access("http://127.0.0.1:1/v1", "k", "", own=False)), translator="openai"
    )
    total: AIMessageChunk | None = None
    for one in pieces:
        chunk = reading.read({"choices": [{"delta": {"tool_calls": one if isinstance(one, list) else [one]}}]})
        if chunk is not None:
            total = chunk.message if total is None else total + chunk.message  # type: ignore[assignment, operator]
    reading.read({"choices": [{"delta": {}, "finish_reason": finish}]})
    end = reading.end(announced=True).message
    return end if total is None else total + end  # type: ignore[return-value, operator]


A, B = ("add", {"x": 1}), ("mul", {"y": 2})
SHAPES: dict[str, tuple[list[Any], list[tuple[str, dict[str, Any]]]]] = {
    "as OpenAI sends them": (
        [piece("", index=0, id="a", name="add"), piece('{"x":', index=0), piece(" 1}", index=0),
         piece("", index=1, id="b", name="mul"), piece('{"y": 2}', index=1)], [A, B]),
    "no index": ([piece('{"amount": 10', id="a", name="pay"), piece("00}")], [("pay", {"amount": 1000})]),
    "an index of null": (
        [piece('{"amount": 10', index=None, id="a", name="pay"), piece("00}", index=None)],
        [("pay", {"amount": 1000})]),
    "no index, the id in each piece": (
        [piece('{"amount": 10', id="a", name="pay"), piece("00}", id="a")], [("pay", {"amount": 1000})]),
    "no index, two calls by id": (
        [piece('{"x":', id="a", name="add"), piece("1}"), piece('{"y":', id="b", name="mul"), piece("2}")], [A, B]),
    "the name in each piece": (
        [piece('{"x":', index=0, id="a", name="add"), piece("1", index=0, name="add"), piece("}", index=0, name="add")],
        [A]),
    "the name and the id in each piece": (
        [piece('{"x":', index=0, id="a", name="add"), piece("1}", index=0, id="a", name="add")], [A]),
    "two calls at index 0 without ids": (
        [piece('{"x":1}', index=0, name="add"), piece('{"y":2}', index=0, name="mul")], [A, B]),
    "two calls at index 0 with empty ids": (
        [piece('{"x":1}', index=0, id="", name="add"), piece('{"y":2}', index=0, id="", name="mul")], [A, B]),
    "two calls at index 0 in pieces": (
        [piece('{"x":', index=0, name="add"), piece("1}", index=0), piece('{"y":', index=0, name="mul"),
         piece("2}", index=0)], [A, B]),
    "two calls at index 0 with ids": (
        [piece('{"x":1}', index=0, id="a", name="add"), piece('{"y":2}', index=0, id="b", name="mul")], [A, B]),
    "two calls of one tool at index 0 without ids": (
        [piece('{"x":1}', index=0, name="add"), piece('{"x":2}', index=0, name="add")], [A, ("add", {"x": 2})]),
    "all in one event": (
        [[piece('{"x":1}', index=0, id="a", name="add"), piece('{"y":2}', index=1, id="b", name="mul")]], [A, B]),
    "all in one event without index": ([[piece('{"x":1}', id="a", name="add"), piece('{"y":2}', id="b", name="mul")]],
                                       [A, B]),
    "interleaved": (
        [piece('{"x":', index=0, id="a", name="add"), piece('{"y":', index=1, id="b", name="mul"),
         piece("1}", index=0), piece("2}", index=1)], [A, B]),
    "an index that is text": ([piece('{"x":', index="0", id="a", name="add"), piece("1}", index="0")], [A]),
    "an index that begins at 1": ([piece('{"x":', index=1, id="a", name="add"), piece("1}", index=1)], [A]),
    "the id after the name": ([piece("", index=0, name="add"), piece('{"x":1}', index=0, id="a")], [A]),
    "the name after the id": ([piece("", index=0, id="a"), piece('{"x":1}', index=0, name="add")], [A]),
    "arguments as an object": ([piece({"x": 1}, index=0, id="a", name="add")], [A]),
    "all arguments once more at the end": (
        [piece('{"x":', index=0, id="a", name="add"), piece("1}", index=0), piece('{"x":1}', index=0)], [A]),
    "a name told from its beginning each time": (
        [piece("", index=0, name="a"), piece("", index=0, name="ad"), piece('{"x":1}', index=0, name="add")], [A]),
    "no arguments": ([piece(None, index=0, id="a", name="now")], [("now", {})]),
    "empty pieces in between": (
        [piece("", index=0, id="a", name="add"), piece("", index=0), piece('{"x":1}', index=0), piece(None, index=0)],
        [A]),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_become_the_calls_that_were_made(shape: str) -> None:
    pieces, wanted = SHAPES[shape]
    whole = merged(pieces)
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == wanted
    assert whole.invalid_tool_calls == []


CUT: dict[str, tuple[list[Any], str, int]] = {
    "inside a text": ([piece('{"city": "Mün', index=0, id="a", name="find")], "length", 0),
    "inside a list": ([piece('{"x": [1, 2', index=0, id="a", name="find")], "length", 0),
    "behind a backslash": ([piece('{"x": "a\\', index=0, id="a", name="find")], "length", 0),
    "before the arguments": ([piece("", index=0, id="a", name="find")], "length", 0),
    "in the second call": (
        [piece('{"x":1}', index=0, id="a", name="add"), piece('{"x":', index=1, id="b", name="add")],
        "length",
        1,
    ),
    "though the service says that all is well": ([piece('{"x":', index=0, id="a", name="find")], "tool_calls", 0),
    "no name at all": ([piece('{"x":1}', index=0, id="a")], "tool_calls", 0),
    "arguments that are not object": ([piece("[1]", index=0, id="a", name="find")], "tool_calls", 0),
}


@pytest.mark.parametrize("kind", CUT)
def test_a_call_that_is_not_whole_is_an_invalid_one(kind: str) -> None:
    pieces, finish, whole = CUT[kind]
    message = merged(pieces, finish)
    assert len(message.tool_calls) == whole
    assert len(message.invalid_tool_calls) == 1
    assert "cut" in str(message.invalid_tool_calls[0]["args"]) or kind == "no name at all"


@given(st.lists(st.tuples(st.sampled_from(["add", "mul"]), st.dictionaries(st.text(max_size=3), st.integers())),
                min_size=1, max_size=4), st.data())  # fmt: skip
def test_however_calls_are_cut_into_pieces_they_come_out_whole(calls: list[Any], data: st.DataObject) -> None:
    pieces: list[Any] = []
    for number, (name, arguments) in enumerate(calls):
        text, size = json.dumps(arguments), data.draw(st.integers(1, 9))
        parts = [text[start : start + size] for start in range(0, len(text), size)]
        index = data.draw(st.sampled_from([{}, {"index": number}, {"index": 0}]))
        pieces.append(piece(parts[0], id=f"c{number}", name=name, **index))
        pieces += [piece(part, **index) for part in parts[1:]]
    whole = merged(pieces)
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == calls
