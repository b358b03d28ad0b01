"""Requests as literal dicts: what langchain-core's messages and options become."""

from __future__ import annotations

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
    convert_to_messages,
)

from chainkit.backends.openai.content import part
from chainkit.backends.openai.request import chat_body, chat_messages, completion_body
from chainkit.backends.openai.services import OPENAI
from chainkit.base.errors import Unsupported


def written(*messages: BaseMessage) -> list[dict]:
    return list(chat_messages(messages))


def body(settings: dict | None = None, **options: object) -> dict:
    built = chat_body([HumanMessage("hi")], settings or {}, options, OPENAI)
    del built["messages"]
    return built


def test_each_role_has_its_place() -> None:
    messages = convert_to_messages([("system", "s"), ("developer", "d"), ("human", "h"), ("ai", "a")])
    assert written(*messages, ChatMessage(role="critic", content="c"), FunctionMessage(name="f", content="r")) == [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "h"},
        {"role": "assistant", "content": "a"},
        {"role": "critic", "content": "c"},
        {"role": "function", "name": "f", "content": "r"},
    ]


def test_names_are_kept() -> None:
    assert written(HumanMessage("h", name="ada"))[0]["name"] == "ada"


def test_tool_calls_go_back_as_json_text_and_broken_ones_as_they_were() -> None:
    message = AIMessage(
        "",
        tool_calls=[{"name": "add", "args": {"city": "Zürich"}, "id": "1"}],
        invalid_tool_calls=[{"name": "add", "args": '{"a": ', "id": "2", "error": "x", "type": "invalid_tool_call"}],
    )
    assert written(message) == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"city": "Zürich"}'}},
                {"id": "2", "type": "function", "function": {"name": "add", "arguments": '{"a": '}},
            ],
        }
    ]


def test_an_empty_answer_stays_an_answer() -> None:
    assert written(AIMessage("")) == [{"role": "assistant", "content": ""}]


def test_thoughts_and_tool_blocks_are_left_out_of_the_text_of_an_answer() -> None:
    message = AIMessage(
        [
            {"type": "thinking", "thinking": "hm"},
            {"type": "reasoning", "reasoning": "hm"},
            {"type": "text", "text": "yes", "annotations": []},
            {"type": "tool_use", "id": "1", "name": "f", "input": {}},
        ]
    )
    assert written(message) == [{"role": "assistant", "content": [{"type": "text", "text": "yes"}]}]


def test_a_refusal_goes_back_as_one() -> None:
    message = AIMessage("", additional_kwargs={"refusal": "no"})
    assert written(message) == [{"role": "assistant", "refusal": "no", "content": None}]


def test_pictures_in_results_of_tools_follow_after_the_last_result() -> None:
    picture = {"type": "image", "base64": "AA==", "mime_type": "image/png"}
    first, second, third = written(
        ToolMessage([{"type": "text", "text": "a plot"}, picture], tool_call_id="1"),
        ToolMessage("2", tool_call_id="2"),
    )
    assert first["role"] == second["role"] == "tool"
    assert [block["type"] for block in first["content"]] == ["text", "text"]
    assert third["role"] == "user"
    assert third["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def test_a_message_that_no_request_has_a_place_for_is_refused() -> None:
    with pytest.raises(Unsupported, match="remove"):
        written(RemoveMessage(id="1"))


PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
URL = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
WAV = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
PDF = {"type": "file", "file": {"filename": "file.pdf", "file_data": "data:application/pdf;base64,AA=="}}


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ("x", {"type": "text", "text": "x"}),
        ({"type": "text", "text": "x", "cache_control": {}}, {"type": "text", "text": "x"}),
        ({"text": "x"}, {"type": "text", "text": "x"}),
        ({"type": "text-plain", "text": "x", "mime_type": "text/plain"}, {"type": "text", "text": "x"}),
        ({"type": "image", "base64": "AA==", "mime_type": "image/png"}, PNG),
        ({"type": "image", "source_type": "base64", "data": "AA==", "mime_type": "image/png"}, PNG),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}, PNG),
        ({"type": "image", "url": "https://a.example/b.png"}, URL),
        ({"type": "image", "source_type": "url", "url": "https://a.example/b.png"}, URL),
        ({"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}, URL),
        ({"type": "image_url", "image_url": "https://a.example/b.png"}, URL),
        (
            {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low", "path": "/x"}},
            {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}},
        ),
        ({"type": "audio", "base64": "AA==", "mime_type": "audio/wav"}, WAV),
        ({"type": "audio", "base64": "AA==", "mime_type": "audio/x-wav; rate=8000"}, WAV),
        (WAV, WAV),
        ({"type": "file", "base64": "AA==", "mime_type": "application/pdf"}, PDF),
        ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="}}, PDF),
        (PDF, PDF),
        (
            {"type": "file", "base64": "AA==", "mime_type": "application/pdf", "extras": {"filename": "a.pdf"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        ),
        ({"type": "file", "file_id": "file-1"}, {"type": "file", "file": {"file_id": "file-1"}}),
        ({"type": "file", "source_type": "id", "id": "file-1"}, {"type": "file", "file": {"file_id": "file-1"}}),
        ({"type": "non_standard", "value": {"type": "new", "x": 1}}, {"type": "new", "x": 1}),
    ],
)
def test_a_block_of_any_shape_becomes_the_part_of_the_api(block: object, wanted: dict) -> None:
    assert part(block) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"type": "video", "url": "https://a.example"}, "video"),
        ({"type": "image", "base64": "AA=="}, "mime_type"),
        ({"type": "image"}, "'url'"),
        ({"type": "image_url", "image_url": {"path": "/etc/passwd"}}, "'url'"),
        ({"type": "audio", "url": "https://a.example/x.wav"}, "not fetched"),
        ({"type": "audio", "base64": "AA==", "mime_type": "audio/ogg"}, "audio/ogg"),
        ({"type": "audio", "base64": "AA=="}, "None"),
        ({"type": "file", "url": "https://a.example/x.pdf"}, "not fetched"),
        ({"type": "text-plain", "url": "https://a.example/x.txt"}, "'text'"),
        ({"x": 1}, "None"),
    ],
)
def test_a_block_that_cannot_be_sent_is_refused_by_name(block: dict, told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        part(block)


def test_options_of_the_call_win_over_those_of_the_model() -> None:
    assert body({"temperature": 1.0, "seed": 1}, temperature=0) == {"temperature": 0, "seed": 1}


def test_the_limit_on_tokens_is_called_as_the_service_calls_it() -> None:
    assert body({"max_tokens": 5}) == {"max_completion_tokens": 5}


def test_what_is_not_set_is_not_sent() -> None:
    assert body({"temperature": None, "stop": []}) == {}


def test_what_langchain_passes_for_itself_is_not_sent() -> None:
    assert body(ls_structured_output_format={}, stream=True) == {}


def test_parameters_that_only_the_service_knows_are_sent_as_they_are() -> None:
    assert body({"extra_body": {"top_k": 3}}) == {"top_k": 3}


@pytest.mark.parametrize(("name", "told"), [("temprature", "did you mean 'temperature'"), ("top_k", "extra_body")])
def test_an_unknown_option_is_refused_with_advice(name: str, told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        body(**{name: 1})


def test_one_prompt_goes_as_text_and_several_as_a_list() -> None:
    assert completion_body(["a"], {}, {}, OPENAI) == {"prompt": "a"}
    assert completion_body(["a", "b"], {"max_tokens": 3}, {}, OPENAI) == {"prompt": ["a", "b"], "max_tokens": 3}


def test_an_option_of_chats_is_none_of_completions() -> None:
    with pytest.raises(Unsupported, match="tools"):
        completion_body(["a"], {}, {"tools": []}, OPENAI)
