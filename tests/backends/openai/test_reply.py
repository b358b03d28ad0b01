"""Replies as literal dicts: what they become."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from chainkit.backends.openai.access import Access
from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.reply import ChatReading, chat_result, tool_calls, usage_metadata
from chainkit.base.errors import MalformedReply, ServerFailed, StreamBroken

CONNECTION = Connection("openai", Access("http://127.0.0.1:1/v1", "sk-secret-key", "api_key", own=False))


def message(data: dict[str, Any]) -> AIMessage:
    answer = chat_result(data, CONNECTION, translator="openai").generations[0].message
    assert isinstance(answer, AIMessage)
    return answer


def reply(**parts: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "yes", **parts}, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "model": "m", "system_fingerprint": "fp_1", "choices": [choice]}


def summed(*deltas: dict[str, Any], end: bool = True, **more: Any) -> AIMessageChunk:
    reading = ChatReading(CONNECTION, translator="openai")
    events = [{"model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    if end:
        events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    chunks = [reading.read(event) for event in [*events, more]] + [reading.end(announced=False)]
    first, *rest = [chunk.message for chunk in chunks if chunk is not None]
    whole = sum(rest, first)
    assert isinstance(whole, AIMessageChunk)
    return whole


def test_a_reply_tells_where_it_came_from() -> None:
    told = message(reply()).response_metadata
    assert told == {
        "model_name": "m",
        "model_provider": "openai",
        "id": "chatcmpl-1",
        "system_fingerprint": "fp_1",
        "finish_reason": "stop",
    }


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_are_kept_beside_the_answer(field: str) -> None:
    assert message(reply(**{field: "hm"})).additional_kwargs == {"reasoning_content": "hm"}


def test_a_refusal_is_kept_beside_the_answer() -> None:
    answer = message(reply(content=None, refusal="no"))
    assert answer.content == ""
    assert answer.additional_kwargs == {"refusal": "no"}


def test_each_of_several_answers_is_a_generation_and_the_usage_counts_once() -> None:
    data = reply()
    data["choices"] = data["choices"] * 2
    data["usage"] = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    first, second = (g.message for g in chat_result(data, CONNECTION, translator="openai").generations)
    assert isinstance(first, AIMessage)
    assert isinstance(second, AIMessage)
    assert first.usage_metadata == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    assert second.usage_metadata is None


def test_log_probabilities_are_kept() -> None:
    data = reply()
    data["choices"][0]["logprobs"] = {"content": [{"token": "yes", "logprob": -0.1}]}
    assert message(data).response_metadata["logprobs"] == {"content": [{"token": "yes", "logprob": -0.1}]}


@pytest.mark.parametrize("data", [{}, {"choices": []}, {"choices": None}, {"choices": "x"}])
def test_a_reply_without_choices_is_malformed(data: dict) -> None:
    with pytest.raises(MalformedReply, match="without choices"):
        message(data)


@pytest.mark.parametrize("choice", [{}, {"message": None}, {"message": "x"}])
def test_a_choice_without_a_message_is_malformed(choice: dict) -> None:
    with pytest.raises(MalformedReply, match="without a message"):
        message({"choices": [choice]})


def test_an_error_under_status_200_is_an_error() -> None:
    with pytest.raises(ServerFailed, match="overloaded"):
        message({"error": {"message": "overloaded sk-secret-key", "code": 502}})


def test_a_malformed_reply_is_quoted_without_the_key() -> None:
    with pytest.raises(MalformedReply) as caught:
        message({"choices": [{"echo": "sk-secret-key"}]})
    assert "echo" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "args"),
    [('{"a": 1}', {"a": 1}), ({"a": 1}, {"a": 1}), ("", {}), (None, {}), ('{"a": "x\ny"}', {"a": "x\ny"})],
)
def test_arguments_of_a_call_are_read(arguments: object, args: dict) -> None:
    valid, invalid = tool_calls([{"id": "1", "function": {"name": "f", "arguments": arguments}}])
    assert (valid[0]["args"], invalid) == (args, [])


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "3", '"x"', [1]])
def test_arguments_that_are_no_object_make_an_invalid_call(arguments: object) -> None:
    valid, invalid = tool_calls([{"id": "1", "function": {"name": "f", "arguments": arguments}}])
    assert valid == []
    assert invalid[0]["name"] == "f"
    assert invalid[0]["error"]


def test_a_call_without_a_name_is_invalid() -> None:
    valid, invalid = tool_calls([{"id": "1", "function": {"arguments": "{}"}}])
    assert valid == []
    assert invalid[0]["error"] == "the call has no name"


def test_all_details_of_usage_are_told() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
    }
    assert usage_metadata(usage) == {
        "input_tokens": 9,
        "output_tokens": 5,
        "total_tokens": 14,
        "input_token_details": {"audio": 1, "cache_read": 4, "cache_creation": 2},
        "output_token_details": {"audio": 0, "reasoning": 3},
    }


@pytest.mark.parametrize("usage", [None, {}])
def test_usage_that_is_not_told_is_not_made_up(usage: dict | None) -> None:
    assert usage_metadata(usage) is None


def test_pieces_of_parallel_calls_join_to_whole_calls() -> None:
    def piece(index: int, arguments: str, **more: Any) -> dict:
        name = {"name": more.pop("name")} if "name" in more else {}
        return {"tool_calls": [{"index": index, "function": {**name, "arguments": arguments}, **more}]}

    whole = summed(
        piece(0, "", id="a", name="add"),
        piece(0, '{"x"'),
        piece(1, "", id="b", name="sub"),
        piece(0, ": 1}"),
        piece(1, '{"y": 2}'),
    )
    calls = [(call["id"], call["name"], call["args"]) for call in whole.tool_calls]
    assert calls == [("a", "add", {"x": 1}), ("b", "sub", {"y": 2})]


def test_usage_and_metadata_stand_in_the_last_chunk_alone() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    whole = summed({"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, choices=[], usage=usage)
    assert whole.content == "ab"
    assert whole.usage_metadata == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    assert whole.response_metadata == {"model_name": "m", "model_provider": "openai", "finish_reason": "stop"}
    assert whole.chunk_position == "last"


def test_usage_repeated_in_every_event_counts_once() -> None:
    reading = ChatReading(CONNECTION, translator="openai")
    for count in (1, 2, 3):
        usage = {"prompt_tokens": 5, "completion_tokens": count}
        chunk = reading.read({"choices": [{"delta": {"content": "x"}}], "usage": usage})
        assert chunk is not None
        assert isinstance(chunk.message, AIMessageChunk)
        assert chunk.message.usage_metadata is None
    last = reading.end(announced=True).message
    assert isinstance(last, AIMessageChunk)
    assert last.usage_metadata == {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}


def test_text_in_the_event_that_ends_the_stream_is_not_lost() -> None:
    reading = ChatReading(CONNECTION, translator="openai")
    chunk = reading.read({"choices": [{"delta": {"content": "all"}, "finish_reason": "stop"}]})
    assert chunk is not None
    assert chunk.text == "all"


def test_a_stream_without_an_end_is_broken_and_keeps_what_came() -> None:
    with pytest.raises(StreamBroken, match="after 5 characters"):
        summed({"content": "he"}, {"content": "llo"}, end=False)


def test_a_stream_that_was_announced_as_complete_needs_no_finish_reason() -> None:
    reading = ChatReading(CONNECTION, translator="openai")
    reading.read({"choices": [{"delta": {"content": "x"}}]})
    assert reading.end(announced=True).message.response_metadata["finish_reason"] is None
