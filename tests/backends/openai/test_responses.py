"""The Responses API: the same chat model, other requests and replies."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from chainkit import registry
from chainkit.backends.openai import OpenAIChat
from chainkit.base.errors import (
    BadRequest,
    MalformedReply,
    RateLimited,
    Refused,
    ServerFailed,
    StreamBroken,
    Unsupported,
)
from chainkit.testing.server import faults
from chainkit.testing.server.openai import OpenAIServer

PIXEL = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
PAPER = {"type": "file", "base64": "JVBERi0=", "mime_type": "application/pdf", "filename": "a.pdf"}


def add_numbers(first: int, second: int) -> int:
    """Add."""
    return first + second


def find_city(name: str) -> str:
    """Find."""
    return name


QUESTION = "add numbers 3 and find city 'Zürich'"


def chat(server: OpenAIServer, **options: Any) -> OpenAIChat:
    options = {"model": "gpt-4o-mini", "max_retries": 0, "api": "responses", **options}
    return OpenAIChat(api_key=server.key, base_url=server.base_url, **options)


def summed(model: Any, given: Any) -> AIMessage:
    first, *rest = model.stream(given)
    return sum(rest, first)


def answers(model: Any, given: Any) -> list[AIMessage]:
    """What a model says at once and in pieces, sync and async."""

    async def collect() -> AIMessage:
        first, *rest = [chunk async for chunk in model.astream(given)]
        return sum(rest, first)

    return [model.invoke(given), asyncio.run(model.ainvoke(given)), summed(model, given), asyncio.run(collect())]


# --- the service on loopback has the shapes of the API -----------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"input": "Hello"},
        {"input": QUESTION, "tools": [{"type": "function", "name": "add_numbers", "parameters": {}, "strict": False}]},
        {"input": "please refuse"},
        {"input": "say:a b", "include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"input": "count to 50", "max_output_tokens": 16},
        {"input": "Hello", "model": "reasoner-1", "reasoning": {"summary": "auto"}},
    ],
)
def test_what_the_service_sends_is_what_the_openai_package_describes(server: OpenAIServer, more: Any) -> None:
    url, headers = f"{server.base_url}/responses", {"authorization": f"Bearer {server.key}"}
    with httpx2.Client(headers=headers) as http:
        body = {"model": "gpt-4o-mini", **more}
        Response.model_validate(http.post(url, json=body).json(), strict=True)
        lines = http.post(url, json={**body, "stream": True}).text.splitlines()
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    kinds: Any = TypeAdapter(ResponseStreamEvent)
    for event in told:
        assert kinds.validate_python(event).type == event["type"]
    assert told[-1]["type"] in {"response.completed", "response.incomplete"}


# --- requests -----------------------------------------------------------------------------------------------------


def test_a_spec_chooses_the_api_and_settings_go_where_it_has_them(server: OpenAIServer) -> None:
    spec = "openai:gpt-4o-mini?api=responses&max_tokens=20&temperature=0.5&reasoning_effort=low&reasoning_summary=auto"
    made = registry.chat_model(f"{spec}&verbosity=low&base_url={server.base_url}", api_key=server.key)
    made.invoke([SystemMessage("Be kind."), HumanMessage("Hello")])
    assert server.requests[-1].path == "/v1/responses"
    assert server.bodies[-1] == {
        "model": "gpt-4o-mini",
        "max_output_tokens": 20,
        "temperature": 0.5,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low"},
        "input": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}],
        "stream": False,
    }


@pytest.mark.parametrize("option", [{"seed": 1}, {"n": 2}, {"logit_bias": {"1": 2}}, {"frequency_penalty": 0.5}])
def test_what_this_api_lacks_is_refused_before_the_call(server: OpenAIServer, option: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match=f"Responses API has no {next(iter(option))}.*api='chat'"):
        chat(server, **option).invoke("Hello")
    with pytest.raises(Unsupported, match="Chat Completions has no reasoning_summary.*api='responses'"):
        chat(server, api="chat", reasoning_summary="auto").invoke("Hello")
    with pytest.raises(Unsupported, match="no option 'previous_response'.*previous_response_id"):
        chat(server).invoke("Hello", previous_response="x")
    assert server.requests == []


def test_a_service_that_is_not_known_to_have_this_api_says_so() -> None:
    with pytest.raises(Unsupported, match="mistral.*Responses API.*base_url"):
        OpenAIChat(model="m", service="mistral", api_key="x", api="responses")


def test_images_and_files_are_seen_in_questions_and_in_results_of_tools(server: OpenAIServer) -> None:
    address = {"type": "image", "url": "https://example.org/a.png"}
    made = chat(server)
    assert made.invoke([HumanMessage(["look", PIXEL, PAPER, address])]).text == "I see: image_url, file, image_url"
    sent = server.bodies[-1]["input"][0]["content"]
    assert [part["type"] for part in sent] == ["input_text", "input_image", "input_file", "input_image"]
    assert sent[1] == {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"}
    assert sent[2]["filename"] == "a.pdf"
    call = {"type": "tool_call", "id": "c1", "name": "see", "args": {}}
    asked: list[BaseMessage] = [HumanMessage("x"), AIMessage("", tool_calls=[call])]  # type: ignore[list-item]
    made.invoke([*asked, ToolMessage([{"type": "text", "text": "this:"}, PIXEL, PAPER], tool_call_id="c1")])
    output = server.bodies[-1]["input"][-1]
    assert [part["type"] for part in output["output"]] == ["input_text", "input_image", "input_file"]
    made.invoke([HumanMessage([{"type": "file", "url": "https://example.org/a.pdf"}])])
    assert server.bodies[-1]["input"][0]["content"] == [{"type": "input_file", "file_url": "https://example.org/a.pdf"}]
    with pytest.raises(Unsupported, match="video"):
        made.invoke([HumanMessage([{"type": "video", "url": "https://example.org/a.mp4"}])])


# --- replies ------------------------------------------------------------------------------------------------------


def test_an_answer_is_the_same_at_once_and_in_pieces(server: OpenAIServer) -> None:
    for told in answers(chat(server, model="cached-1", logprobs=True, top_logprobs=1), "say:one two"):
        assert told.text == "one two"
        assert told.response_metadata["finish_reason"] == "stop"
        assert told.response_metadata["model_name"] == "cached-1"
        assert told.response_metadata["id"].startswith("resp_")
        assert [one["token"] for one in told.response_metadata["logprobs"]["content"]] == ["one", " two"]
        assert told.usage_metadata is not None
        assert told.usage_metadata["input_token_details"]["cache_read"] == told.usage_metadata["input_tokens"] // 2  # type: ignore[typeddict-item]
        assert [block["type"] for block in told.content_blocks] == ["text"]


def test_an_answer_that_is_cut_at_its_limit_says_so(server: OpenAIServer) -> None:
    for told in answers(chat(server, max_tokens=16), "count to 40"):
        assert told.text.endswith("16")
        assert told.response_metadata["finish_reason"] == "length"


def test_stop_cuts_the_answer_though_the_api_has_no_stop(server: OpenAIServer) -> None:
    for told in answers(chat(server, stop=["wo th", "XX"]), "say:one two three four"):
        assert told.text == "one t"
        assert told.response_metadata["finish_reason"] == "stop"
    for told in answers(chat(server, stop=["three four five"]), "say:one two three four"):
        assert told.text == "one two three four"
        assert told.usage_metadata
    assert all("stop" not in body for body in server.bodies)


def test_parallel_calls_and_their_results(server: OpenAIServer) -> None:
    bound = chat(server).bind_tools([add_numbers, find_city])
    wanted = [("add_numbers", {"first": 3, "second": 3}), ("find_city", {"name": "Zürich"})]
    for told in answers(bound, QUESTION):
        assert [(call["name"], call["args"]) for call in told.tool_calls] == wanted
        assert told.response_metadata["finish_reason"] == "tool_calls"
        assert [block["type"] for block in told.content_blocks] == ["tool_call", "tool_call"]
        results = [ToolMessage("6", tool_call_id=call["id"]) for call in told.tool_calls]
        assert bound.invoke([HumanMessage(QUESTION), told, *results]).text.startswith("Hello")
    one = chat(server).bind_tools([add_numbers, find_city], tool_choice="find_city", parallel_tool_calls=False)
    assert [call["name"] for call in one.invoke("in 'Rome'").tool_calls] == ["find_city"]
    assert server.bodies[-1]["tool_choice"] == {"type": "function", "name": "find_city"}
    assert all(tool["strict"] is False for tool in server.bodies[-1]["tools"])


def test_calls_of_another_api_can_be_answered_here_and_the_other_way_round(server: OpenAIServer) -> None:
    for first, then in (("chat", "responses"), ("responses", "chat")):
        told = chat(server, api=first).bind_tools([add_numbers]).invoke("add numbers 3")
        history = [HumanMessage("add numbers 3"), told, ToolMessage("6", tool_call_id=told.tool_calls[0]["id"])]
        assert chat(server, api=then).bind_tools([add_numbers]).invoke(history).text


class Place(BaseModel):
    """A place."""

    city: str


def test_a_form_is_held_and_a_refusal_has_its_name(server: OpenAIServer) -> None:
    made = chat(server).with_structured_output(Place, method="json_schema")
    assert made.invoke("in 'Rome'") == Place(city="Rome")
    assert list(made.stream("in 'Rome'"))[-1] == Place(city="Rome")
    sent = server.bodies[-1]["text"]["format"]
    assert (sent["type"], sent["name"], sent["strict"]) == ("json_schema", "Place", True)
    with pytest.raises(Refused, match="cannot help"):
        made.invoke("please refuse")
    for told in answers(chat(server), "please refuse"):
        assert [block["type"] for block in told.content] == ["refusal"]  # type: ignore[index]
        history = [HumanMessage("x"), told, HumanMessage("say:well")]
        assert chat(server).invoke(history).text == "well"


# --- thoughts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, "v1"])
@pytest.mark.parametrize("streamed", [True, False])
def test_thoughts_are_sent_back_with_the_results_of_tools(
    server: OpenAIServer, streamed: bool, version: str | None
) -> None:
    more = {"output_version": version} if version else {}
    made = chat(server, model="reasoner-1", reasoning_summary="auto", **more).bind_tools([add_numbers])
    told = summed(made, "add numbers 3") if streamed else made.invoke("add numbers 3")
    thought, call = told.content_blocks
    assert (thought["type"], thought["reasoning"]) == ("reasoning", "Let me think.")  # type: ignore[typeddict-item]
    assert call["type"] == "tool_call"
    assert told.usage_metadata
    assert told.usage_metadata["output_token_details"]["reasoning"] == 3  # type: ignore[typeddict-item]
    made.invoke([HumanMessage("add numbers 3"), told, ToolMessage("6", tool_call_id=told.tool_calls[0]["id"])])
    kinds = [(item.get("type"), str(item.get("id"))[:3]) for item in server.bodies[-1]["input"]]
    assert kinds == [(None, "Non"), ("reasoning", "rs_"), ("function_call", "fc_"), ("function_call_output", "Non")]


@pytest.mark.parametrize("streamed", [True, False])
def test_thoughts_that_nobody_stores_are_carried_encrypted_and_without_ids(
    server: OpenAIServer, streamed: bool
) -> None:
    made = chat(server, model="reasoner-1", store=False, reasoning_summary="auto").bind_tools([add_numbers])
    told = summed(made, "add numbers 3") if streamed else made.invoke("add numbers 3")
    assert server.bodies[-1]["include"] == ["reasoning.encrypted_content"]
    made.invoke([HumanMessage("add numbers 3"), told, ToolMessage("6", tool_call_id=told.tool_calls[0]["id"])])
    _, thought, call, _ = server.bodies[-1]["input"]
    assert thought["encrypted_content"].startswith("gAAAA")
    assert thought["summary"] == [{"type": "summary_text", "text": "Let me think."}]
    assert "id" not in call


def test_thoughts_without_a_key_to_them_are_left_out_and_not_sent_to_be_refused(server: OpenAIServer) -> None:
    told = chat(server, model="reasoner-1").invoke("say:yes")
    chat(server, store=False).invoke([HumanMessage("x"), told, HumanMessage("y")])
    assert [item.get("role") for item in server.bodies[-1]["input"]] == ["user", "assistant", "user"]
    assert "include" not in server.bodies[-1]  # the service refuses it for a model that does not think


def test_an_answer_that_the_service_keeps_is_continued_by_its_id(server: OpenAIServer) -> None:
    made = chat(server)
    told = made.invoke("say:first")
    history = [HumanMessage("say:first"), told, HumanMessage("say:second")]
    again = made.invoke(history, previous_response_id=told.response_metadata["id"])
    assert again.text == "second"
    assert server.bodies[-1]["input"] == [{"role": "user", "content": "say:second"}]
    with pytest.raises(BadRequest, match="resp_gone"):
        made.invoke("x", previous_response_id="resp_gone")


# --- faults -------------------------------------------------------------------------------------------------------


def body_of(**fields: Any) -> Any:
    whole = {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "error": None, "output": []}
    return faults.plain(json.dumps({**whole, **fields}), "application/json")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"status": "failed", "error": {"code": "server_error", "message": "broke"}}, ServerFailed),
        ({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow down"}}, RateLimited),
        ({"status": "failed", "error": {"code": "invalid_prompt", "message": "bad"}}, BadRequest),
        ({"status": "cancelled"}, ServerFailed),
        ({"output": None}, MalformedReply),
        ({"status": "queued"}, MalformedReply),
        ({"status": "in_progress"}, MalformedReply),
    ],
)
def test_an_answer_that_the_service_gave_up_is_an_error_in_spite_of_its_status(
    server: OpenAIServer, fields: Any, kind: type[Exception]
) -> None:
    server.fail(body_of(**fields))
    with pytest.raises(kind):
        chat(server).invoke("Hello")


def events(*told: dict[str, Any]) -> Any:
    parts = tuple(f"data: {json.dumps(event)}\n\n".encode() for event in told)
    return lambda answer: type(answer)(200, {"content-type": "text/event-stream"}, parts, streamed=True)


DELTA = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "m", "delta": "so far"}
GIVEN_UP = {"type": "response.failed", "response": {"status": "failed", "error": {"code": "x", "message": "broke"}}}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (events(DELTA), "last event"),
        (events(DELTA, GIVEN_UP), "x: broke"),
        (events(DELTA, {"type": "error", "code": "y", "message": "overloaded", "param": None}), "y: overloaded"),
    ],
)
def test_a_stream_without_its_end_is_broken_and_keeps_its_text(server: OpenAIServer, fault: Any, told: str) -> None:
    async def collect() -> None:
        async for _ in chat(server).astream("x"):
            pass

    server.fail(fault, times=2)
    for way in (lambda: list(chat(server).stream("x")), lambda: asyncio.run(collect())):
        with pytest.raises(StreamBroken, match=told) as caught:
            way()
        assert caught.value.partial == "so far"


def test_a_stream_that_is_cut_inside_a_call_is_broken(server: OpenAIServer) -> None:
    server.fail(faults.cut(4))
    with pytest.raises(StreamBroken):
        list(chat(server).bind_tools([add_numbers], tool_choice="any").stream("add numbers 3"))


def test_arguments_that_come_only_at_the_end_are_not_lost(server: OpenAIServer) -> None:
    item = {"type": "function_call", "id": "f", "call_id": "c", "name": "add", "arguments": '{"first": 1}'}
    server.fail(
        events(
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {"status": "completed", "output": [item]}},
        )
    )
    told = summed(chat(server), "x")
    assert told.tool_calls == [{"type": "tool_call", "id": "c", "name": "add", "args": {"first": 1}}]
    assert told.response_metadata["finish_reason"] == "tool_calls"


def test_the_use_of_the_services_own_tools_goes_back_as_it_came(server: OpenAIServer) -> None:
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    }
    note = {"type": "url_citation", "start_index": 0, "end_index": 1, "url": "https://example.org", "title": "t"}
    text = {"type": "output_text", "text": "a", "annotations": [note]}
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text, text]}
    server.fail(body_of(output=[search, said]))
    told = chat(server).invoke("x")
    assert told.text == "aa"
    assert told.content_blocks[0]["type"] == "server_tool_call"
    sent, _ = OpenAIChat(model="m", api_key="x", api="responses")._items_body([told], None, {}, stream=False)
    assert sent["input"] == [search, {name: value for name, value in said.items() if name != "status"}]
