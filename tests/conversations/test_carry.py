"""What one model said, read by another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from chainkit.backends.openai.request import chat_messages
from chainkit.backends.openai.responses_request import responses_body
from chainkit.backends.openai.services import SERVICES
from chainkit.conversations.carry import carried, marked, unshown
from tests.conversations.shapes import READERS, WRITERS, Exchange, meant, talks, written

makers = st.lists(st.sampled_from(sorted(WRITERS)), min_size=1, max_size=3)


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=15)
@given(talk=talks, makers=makers)
def test_a_request_says_all_that_was_said_whoever_said_it(
    reader: str, talk: Sequence[Exchange], makers: list[str]
) -> None:
    messages = [*written(talk, makers), HumanMessage("And?")]
    sent = READERS[reader](carried(messages, reader, "text" if reader == "local" else "blocks"))
    expected = meant(talk)
    expected.asked.append("And?")
    if reader == "local":
        assert unshown(messages) == len(expected.media)
        expected.media = ["image/png"] * len(expected.media)
    assert sent == expected


@settings(max_examples=15)
@given(talk=talks, makers=makers)
def test_a_model_gets_its_own_answers_back_as_they_were(talk: Sequence[Exchange], makers: list[str]) -> None:
    messages = written(talk, makers)
    before = [message.model_dump() for message in messages]
    for maker in makers:
        for message, sent in zip(messages, carried(messages, maker), strict=True):
            if isinstance(message, AIMessage) and message.response_metadata["chainkit_maker"] == maker:
                assert sent is message
    assert [message.model_dump() for message in messages] == before


def test_thoughts_of_others_reach_services_that_want_them_and_no_other() -> None:
    thinking: Any = [{"type": "thinking", "thinking": "hm", "signature": "S"}, {"type": "text", "text": "yes"}]
    call: Any = {"type": "tool_call", "name": "f", "args": {}, "id": "toolu_1"}
    answer = marked(
        AIMessage(thinking, tool_calls=[call], response_metadata={"model_provider": "anthropic"}), "anthropic"
    )
    messages = carried([HumanMessage("?"), answer, ToolMessage("ok", tool_call_id="toolu_1")], "deepseek")
    assert list(chat_messages(messages, SERVICES["deepseek"]))[1]["reasoning_content"] == "hm"
    assert "hm" not in json.dumps(list(chat_messages(messages)))
    body, _ = responses_body(messages, {"model": "m"}, {}, SERVICES["openai"])
    assert "hm" not in json.dumps(body)


def test_ids_of_calls_have_the_form_that_every_service_takes() -> None:
    call: Any = {"type": "tool_call", "name": "f", "args": {}, "id": "call with spaces: " + "x" * 80}
    messages = [marked(AIMessage("", tool_calls=[call]), "a"), ToolMessage("ok", tool_call_id=call["id"])]
    told, result = carried(messages, "b")
    assert isinstance(told, AIMessage)
    assert isinstance(result, ToolMessage)
    assert told.tool_calls[0]["id"] == result.tool_call_id
    assert len(result.tool_call_id) == 9
    assert result.tool_call_id.isalnum()
    assert carried(messages, "a") == messages


def test_a_call_that_could_not_be_read_is_answered_as_a_call() -> None:
    broken: Any = {"type": "invalid_tool_call", "name": "f", "args": '{"a": ', "id": "c1", "error": "cut"}
    messages = [AIMessage("", invalid_tool_calls=[broken]), ToolMessage("again", tool_call_id="c1")]
    told, result = chat_messages(carried(messages, "b"))
    assert json.loads(told["tool_calls"][0]["function"]["arguments"]) == {"unreadable_arguments": '{"a": '}
    assert told["tool_calls"][0]["id"] == result["tool_call_id"]


def test_what_a_tool_of_the_service_found_is_told_as_text() -> None:
    content: Any = [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"title": "Bees", "url": "u"}]},
        {"type": "text", "text": "They fly."},
    ]
    answer = AIMessage(content, response_metadata={"model_provider": "anthropic"})
    (told,) = chat_messages(carried([answer], "openai"))
    assert told["content"].endswith("They fly.")
    assert "Bees" in told["content"]


def test_a_refusal_stays_words_of_the_answer() -> None:
    both: list[BaseMessage] = [
        AIMessage([{"type": "refusal", "refusal": "No."}], response_metadata={"model_provider": "openai"}),
        AIMessage("", additional_kwargs={"refusal": "No."}),
    ]
    assert [message.content for message in carried(both, "other")] == ["No.", "No."]


def test_the_detail_of_an_image_and_the_name_of_a_file_go_along() -> None:
    content: Any = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "file", "base64": "AAAA", "mime_type": "application/pdf", "extras": {"filename": "a.pdf"}},
    ]
    messages: list[BaseMessage] = [SystemMessage("s"), HumanMessage(content)]
    (_, told) = chat_messages(carried(messages, "x"))
    assert told["content"][0]["image_url"] == {"url": "data:image/png;base64,AAAA", "detail": "low"}
    assert told["content"][1]["file"]["filename"] == "a.pdf"
    assert carried(messages, "x", "text")[1].content == "[image: image/png][file: a.pdf]"
