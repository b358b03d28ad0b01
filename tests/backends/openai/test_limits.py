"""However a server drips, floods or babbles, a call ends in its time, within its memory, with a named error."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainkit
from chainkit.backends.openai import OpenAIChat, OpenAIEmbeddings, OpenAIModel
from chainkit.backends.openai.calls import Events, Reply
from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.completion import TextReading, result
from chainkit.backends.openai.embeddings import read_vectors
from chainkit.backends.openai.given import AskedNotGiven
from chainkit.backends.openai.reply import ChatReading, chat_result
from chainkit.backends.openai.responses_reply import ResponsesReading, responses_result
from chainkit.base.errors import (
    BadRequest,
    ChainkitError,
    MalformedReply,
    MissingLibrary,
    ProviderError,
    ReplyTooLarge,
    RequestTooLong,
    SpecError,
    TimedOut,
)
from chainkit.testing.server.openai import OpenAIServer
from tests.seams import seam

from .raw import Play, dripping, endless, head, raw_server

LIMIT = 0.6
GOOD = {
    "id": "1",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def ask(model: OpenAIChat, way: str) -> Any:
    async def collect() -> list[str]:
        return [chunk.text async for chunk in model.astream("x")]

    match way:
        case "invoke":
            return model.invoke("x")
        case "ainvoke":
            return asyncio.run(model.ainvoke("x"))
        case "stream":
            return [chunk.text for chunk in model.stream("x")]
        case _:
            return asyncio.run(collect())


def chat(address: str, **options: Any) -> OpenAIChat:
    return OpenAIChat(**{"model": "m", "base_url": address, "max_retries": 0, "timeout": LIMIT, **options})


CHUNKED = head(transfer_encoding="chunked")
WAYS = ["invoke", "ainvoke", "stream", "astream"]
DRIPS: dict[str, Play] = {
    "status line": lambda: dripping(b"H"),
    "headers": lambda: chain([b"HTTP/1.1 200 OK\r\n"], dripping(b"x-a: b\r\n")),
    "100 Continue": lambda: chain.from_iterable(repeat([b"HTTP/1.1 100 Continue\r\n\r\n", 0.05])),
    "103 Early Hints": lambda: endless(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
    "chunk size": lambda: chain([CHUNKED], dripping(b"0")),
    "an error page": lambda: chain([head("text/html", "500 Oh")], dripping(b"<")),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("drip", DRIPS)
def test_a_server_that_drips_is_timed_out(drip: str, way: str) -> None:
    with raw_server(DRIPS[drip]) as address:
        begin = time.monotonic()
        with pytest.raises(ProviderError):
            ask(chat(address), way)
        assert time.monotonic() - begin < LIMIT * 2 + 3  # a busy machine adds to it; without a limit it is 20 s


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_whole_answer_that_drips_is_timed_out(way: str) -> None:
    with raw_server(lambda: chain([head()], dripping(b" "))) as address, pytest.raises(TimedOut):
        ask(chat(address), way)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_stream_that_gives_signs_of_life_ends_with_the_total_time(way: str) -> None:
    play = lambda: chain([head("text/event-stream")], dripping(b": ping\n\n", 0.01))  # noqa: E731
    with raw_server(play) as address, pytest.raises(TimedOut, match="total_timeout of 0.6 s is over"):
        ask(chat(address, timeout=30, total_timeout=LIMIT), way)


FLOODS: dict[str, Play] = {
    "body": lambda: chain([head()], endless(b" " * 65536)),
    "one event": lambda: chain([head("text/event-stream"), b"data: "], endless(b"a" * 65536)),
    "events": lambda: chain([head("text/event-stream")], endless(b"data: {}\n\n" * 5000)),
    "gzip": lambda: [head(content_encoding="gzip"), gzip.compress(bytes(60_000_000))],
    "deflate": lambda: [head(content_encoding="deflate"), zlib.compress(bytes(60_000_000))],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("flood", FLOODS)
def test_an_answer_without_end_is_refused_by_its_size(flood: str, way: str) -> None:
    with (
        raw_server(FLOODS[flood]) as address,
        pytest.raises(ProviderError, match=r"more than [\d.]+ MB|no valid JSON|instead of a stream"),
    ):
        ask(chat(address, timeout=30, max_reply_bytes=3_000_000), way)


def test_the_size_that_is_too_large_is_named_with_what_raises_it() -> None:
    with (
        raw_server(FLOODS["gzip"]) as address,
        pytest.raises(ReplyTooLarge, match="more than 3 MB in one answer; if that is right, raise max_reply_bytes"),
    ):
        chat(address, timeout=30, max_reply_bytes=3_000_000).invoke("x")


def test_an_error_page_without_end_is_read_a_little() -> None:
    play = lambda: chain([head("text/plain", "400 Bad")], endless(b"no way " * 9000))  # noqa: E731
    with raw_server(play) as address, pytest.raises(ProviderError, match="answered 400: no way"):
        chat(address, timeout=30).invoke("x")


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "nonsense"])
def test_an_encoding_that_was_not_asked_for_is_named(encoding: str) -> None:
    play = lambda: [head(content_encoding=encoding), b"x"]  # noqa: E731
    with raw_server(play) as address, pytest.raises(MalformedReply, match=f"in the encoding '{encoding}'"):
        chat(address).invoke("x")


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_a_compressed_answer_is_read(compress: Callable[[bytes], bytes]) -> None:
    name = "gzip" if compress is gzip.compress else "deflate"
    with raw_server(lambda: [head(content_encoding=name), compress(json.dumps(GOOD).encode())]) as address:
        assert chat(address).invoke("x").text == "yes"


def answered(change: dict[str, Any]) -> Any:
    with raw_server(lambda: [head(), json.dumps({**GOOD, **change}).encode()]) as address:
        return chat(address).invoke("x")


def message(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"content": "yes", **fields}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "usage", ["many", 7, [1], {"prompt_tokens": "a"}, {"prompt_tokens": {}}, {"prompt_tokens": -1}]
)
def test_a_good_answer_is_not_lost_for_a_bad_count(usage: Any) -> None:
    assert answered({"usage": usage}).text == "yes"


def test_an_id_that_is_a_number_is_taken_as_text() -> None:
    call = {"id": 7, "function": {"name": "f", "arguments": "{}"}}
    assert answered(message(tool_calls=[call])).tool_calls[0]["id"] == "7"


@pytest.mark.parametrize("calls", [[None], [5], "x", {"a": 1}, [{"function": None}], [{"function": "f"}]])
def test_odd_tool_calls_are_invalid_calls_or_a_named_error(calls: Any) -> None:
    try:
        found = answered(message(tool_calls=calls))
    except MalformedReply:
        return
    assert found.tool_calls == []
    assert found.invalid_tool_calls


def test_deep_json_is_malformed() -> None:
    deep = b'{"choices": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    with raw_server(lambda: [head(), deep]) as address, pytest.raises(MalformedReply):
        chat(address).invoke("x")


def test_deep_arguments_are_an_invalid_call() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "[" * 100_000}}
    assert answered(message(tool_calls=[call])).invalid_tool_calls


def test_dimensions_that_the_service_ignores_are_said() -> None:
    body = {"data": [{"index": 0, "embedding": [0.5] * 9}]}
    with raw_server(lambda: [head(), json.dumps(body).encode()]) as address:
        model = OpenAIEmbeddings(model="m", base_url=address, dimensions=4)
        with pytest.raises(MalformedReply, match="9 numbers where dimensions=4 was asked for"):
            model.embed_query("x")


def test_the_errors_of_fastapi_are_unwrapped() -> None:
    play = lambda: [head(status="400 Bad"), json.dumps({"detail": "Server is pinned"}).encode()]  # noqa: E731
    with raw_server(play) as address, pytest.raises(ProviderError, match="answered 400: Server is pinned"):
        chat(address).invoke("x")


@pytest.mark.parametrize("body", [{"detail": "Not Found"}, {"error": {"message": "File Not Found", "code": 404}}])
def test_an_address_where_nothing_is_served_is_no_missing_model(body: Any) -> None:
    play = lambda: [head(status="404 Not Found"), json.dumps(body).encode()]  # noqa: E731
    with raw_server(play) as address, pytest.raises(BadRequest, match="not every server offers every call"):
        chat(address).invoke("x")
    with raw_server(play) as address, pytest.raises(BadRequest, match="most services want an address that ends in /v1"):
        chat(address.removesuffix("/v1")).invoke("x")


def test_the_address_of_an_endpoint_is_understood(server: OpenAIServer) -> None:
    model = chat(f"{server.base_url}/chat/completions", model="gpt-4o-mini", api_key=server.key, timeout=30)
    assert model.invoke("say:yes").text == "yes"


def test_a_server_that_does_not_speak_tls_is_told_so_without_repeats() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        model = chat(f"https://127.0.0.1:{silent.getsockname()[1]}/v1", max_retries=2, connect_timeout=0.3, timeout=9)
        with pytest.raises(TimedOut, match="does the service speak TLS.* its address is http://127.0.0.1") as caught:
            model.invoke("x")
    assert caught.value.retries == 0


def test_a_text_too_long_for_llama_cpps_embeddings_is_named() -> None:
    body = {"error": {"code": 500, "message": "input (6001 tokens) is too large to process. increase the batch size"}}
    with raw_server(lambda: [head(status="500 Oh"), json.dumps(body).encode()]) as address:
        model = OpenAIEmbeddings(model="m", base_url=address, max_retries=0)
        with pytest.raises(RequestTooLong, match="6001 tokens") as caught:
            model.embed_query("x")
    assert caught.value.tokens == 6001


def test_what_is_asked_for_and_not_given_is_said_once() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    with raw_server(lambda: [head(), json.dumps(GOOD).encode()]) as address:
        for options, missing in (({"n": 2}, "n"), ({"logprobs": True}, "logprobs")):
            model = chat(address, **options)
            with pytest.warns(AskedNotGiven, match=f"ignores {missing}: "):
                model.invoke("x")
            model.invoke("x")
        with pytest.warns(AskedNotGiven, match="a call was demanded, and the model made none"):
            asyncio.run(chat(address).bind_tools([tool], tool_choice="any").ainvoke("x"))


def test_a_socks_proxy_names_the_library_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "socksio", None)
    for way in ("invoke", "ainvoke"):
        with pytest.raises(MissingLibrary, match=r"the environment names a SOCKS proxy\).*chainkit\[socks\]"):
            ask(chat("http://127.0.0.1:1/v1"), way)


def test_a_server_with_one_model_needs_no_name_for_it() -> None:
    assert chainkit.chat_model("llamacpp:").model == "default"  # type: ignore[attr-defined]
    with pytest.raises(SpecError, match="needs the name of a model"):
        chainkit.chat_model("vllm:")


@pytest.mark.parametrize("name", ["m? api_key=canary-1234", "m&api_key=canary-1234"])
def test_a_key_never_becomes_a_part_of_the_name(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        chainkit.chat_model(f"openai:{name}")
    assert "canary-1234" not in str(caught.value)


@pytest.mark.parametrize("key", ["Zq7canary1234\n", " Zq7canary1234 "])
def test_white_space_around_a_key_is_no_part_of_it(key: str, server: OpenAIServer) -> None:
    server.key = key.strip()
    assert chat(server.base_url, model="gpt-4o-mini", api_key=key, timeout=30).invoke("say:yes").text == "yes"


@pytest.mark.parametrize("key", ["Zq7can\nary1234", "Zq7canary1234\u00e9\u2603", "Zq7canary 1234", " \n"])
@pytest.mark.parametrize("kind", [OpenAIChat, OpenAIModel, OpenAIEmbeddings])
def test_a_key_that_cannot_be_sent_is_refused_when_the_model_is_made(kind: Any, key: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be sent: character \d+ of \d+ is U\+|is empty") as caught:
        kind(model="m", api_key=key, base_url="http://127.0.0.1:1/v1")
    shown = "".join(traceback.format_exception(caught.value))
    assert "Zq7can" not in shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "choices",
    "message",
    "content",
    "tool_calls",
    "function",
    "arguments",
    "name",
    "id",
    "index",
    "usage",
    "prompt_tokens",
    "completion_tokens",
    "delta",
    "finish_reason",
    "logprobs",
    "data",
    "embedding",
    "output",
    "type",
    "text",
    "status",
    "error",
    "code",
    "model",
    "details",
    "annotations",
    "item",
    "response",
    "prompt_tokens_details",
    "cached_tokens",
    "incomplete_details",
    "reason",
    "output_index",
    "call_id",
    "input_tokens",
]
TYPES = ["message", "function_call", "reasoning", "response.output_text.delta", "response.output_item.added"]
TYPES += ["response.output_item.done", "response.completed", "response.function_call_arguments.delta", "error"]
SHAPED = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "{}", '{"a": 1}', *TYPES]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=16,
)
REPLIES = st.dictionaries(st.sampled_from(NAMES), SHAPED | JSON, max_size=6)


def connection() -> Connection:
    return OpenAIModel(model="m", base_url="http://127.0.0.1:1/v1")._connection()


@seam
@given(REPLIES)
def test_any_reply_is_read_or_named(reply: dict[str, Any]) -> None:
    place = connection()
    readers: list[Callable[[Reply], Any]] = [
        lambda reply: chat_result(reply.data, place, translator="openai"),
        lambda reply: responses_result(reply.data, place, stop=["b"]),
        lambda reply: result(reply, 1, place),
        lambda reply: read_vectors(reply.data, 1, place),
    ]
    for reader in readers:
        with suppress(ChainkitError):
            Reply(reply, 0, place).read(reader)


@seam
@given(st.lists(REPLIES, max_size=4))
def test_any_stream_of_events_is_read_or_named(events: list[dict[str, Any]]) -> None:
    place = connection()
    for reading in (ChatReading(place, translator="openai"), ResponsesReading(place, stop=["b"]), TextReading(place)):
        stream = Events(place, reading)
        with suppress(ChainkitError):
            for event in events:
                stream.chunk(json.dumps(event).encode())
            stream.end(announced=True)
