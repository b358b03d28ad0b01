"""What a caller gets when the service fails: against a real server, by invoke, ainvoke, stream and astream."""

from __future__ import annotations

import asyncio
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from chainkit.backends.openai import OpenAIChat, OpenAIEmbeddings, OpenAIModel
from chainkit.base.errors import (
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    ContextOverflow,
    MalformedReply,
    ModelNotFound,
    PermissionDenied,
    ProviderError,
    RateLimited,
    RequestTooLong,
    ServerFailed,
    StreamBroken,
    StreamStalled,
    TimedOut,
)
from chainkit.testing.server import faults
from chainkit.testing.server.faults import Fault
from chainkit.testing.server.openai import OpenAIServer

SECRET = "sk-right"
Way = Callable[[OpenAIChat, str], Any]


def _stream(model: OpenAIChat, text: str) -> str:
    return "".join(chunk.text for chunk in model.stream(text))


def _ainvoke(model: OpenAIChat, text: str) -> str:
    return asyncio.run(model.ainvoke(text)).text


def _astream(model: OpenAIChat, text: str) -> str:
    async def collect() -> str:
        return "".join([chunk.text async for chunk in model.astream(text)])

    return asyncio.run(collect())


def _invoke(model: OpenAIChat, text: str) -> str:
    return model.invoke(text).text


WAYS = [_invoke, _ainvoke, _stream, _astream]
STREAMS = [_stream, _astream]


def chat(server: OpenAIServer, **options: Any) -> OpenAIChat:
    options = {"max_retries": 0, "model": "gpt-4o-mini", "api_key": server.key, **options}
    return OpenAIChat(base_url=options.pop("base_url", server.base_url), **options)


def fails(way: Way, model: OpenAIChat, kind: type[ProviderError], text: str = "Hello") -> Any:
    """The error; nothing that a traceback would print holds the key."""
    with pytest.raises(kind) as caught:
        way(model, text)
    assert type(caught.value) is kind
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in repr(vars(caught.value))
    return caught.value


STATUS: list[tuple[Fault, type[ProviderError], int]] = [
    (faults.error(401, f"Incorrect API key provided: {SECRET}.", code="invalid_api_key"), AuthenticationFailed, 401),
    (faults.error(403, f"Project of {SECRET} may not use this model."), PermissionDenied, 403),
    (faults.error(404, "The model `x` does not exist", code="model_not_found"), ModelNotFound, 404),
    (faults.error(400, f"Invalid value: {SECRET}"), BadRequest, 400),
    (faults.error(422, "Unprocessable"), BadRequest, 422),
    (faults.error(413, "Too large"), BadRequest, 413),
    (faults.rate_limited(), RateLimited, 429),
    (faults.server_error(500), ServerFailed, 500),
    (faults.server_error(503), ServerFailed, 503),
    (faults.html(502), ServerFailed, 502),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("fault", "kind", "status"), STATUS)
def test_an_error_status_is_the_error_of_that_name(
    server: OpenAIServer, way: Way, fault: Fault, kind: type[ProviderError], status: int
) -> None:
    server.fail(fault)
    error = fails(way, chat(server), kind)
    assert error.status == status
    assert error.provider == "openai"
    assert error.retries == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_key_names_where_it_came_from_and_not_itself(
    server: OpenAIServer, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-wrong")
    error = fails(way, chat(server, api_key=None, base_url=None), AuthenticationFailed)
    assert "OPENAI_API_KEY" in str(error)
    assert "sk-wrong" not in "".join(traceback.format_exception(error))


def test_the_id_of_the_request_is_kept_for_the_service_to_look_up(server: OpenAIServer) -> None:
    server.fail(faults.server_error())
    assert fails(_invoke, chat(server), ServerFailed).request_id == "req_fault"


def test_an_unknown_model_and_what_the_service_says_about_it(server: OpenAIServer) -> None:
    error = fails(_invoke, chat(server, model="no-such-model"), ModelNotFound)
    assert "no-such-model" in str(error)


@pytest.mark.parametrize("way", WAYS)
def test_a_text_that_is_too_long_tells_the_numbers(server: OpenAIServer, way: Way) -> None:
    error = fails(way, chat(server, model="small-context"), RequestTooLong, "word " * 200)
    assert isinstance(error, ContextOverflow)
    assert (error.limit, error.tokens) == (100, 204)


@pytest.mark.parametrize(
    ("said", "limit", "tokens"),
    [
        ("request (1333 tokens) exceeds the available context size (512 tokens), try increasing it", 512, 1333),
        ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", 4096, 5000),
        ("the prompt does not fit into the context window", None, None),
    ],
)
def test_other_servers_words_for_a_text_that_is_too_long_are_known(
    server: OpenAIServer, said: str, limit: int | None, tokens: int | None
) -> None:
    server.fail(faults.error(400, said))
    error = fails(_invoke, chat(server), RequestTooLong)
    assert (error.limit, error.tokens) == (limit, tokens)


@pytest.mark.parametrize("way", WAYS)
def test_a_rate_limit_tells_how_long_to_wait(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.rate_limited("7.5"))
    assert fails(way, chat(server), RateLimited).retry_after_seconds == 7.5


@pytest.mark.parametrize("way", WAYS)
def test_a_repeat_waits_as_long_as_the_service_asks_and_is_counted(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.rate_limited("0.2"), times=2)
    begin = time.monotonic()
    assert way(chat(server, max_retries=2), "say:done") == "done"
    assert time.monotonic() - begin >= 0.4
    assert len(server.requests) == 3


def test_repeats_are_told_in_the_answer_and_in_the_last_chunk(server: OpenAIServer) -> None:
    server.fail(faults.rate_limited("0.01"))
    assert chat(server, max_retries=2).invoke("Hello").response_metadata["retries"] == 1
    assert "retries" not in chat(server).invoke("Hello").response_metadata
    server.fail(faults.rate_limited("0.01"))
    *_, last = chat(server, max_retries=2).stream("Hello")
    assert last.response_metadata["retries"] == 1


def test_an_error_tells_how_often_the_call_was_repeated(server: OpenAIServer) -> None:
    server.fail(faults.rate_limited("0.01"), times=3)
    error = fails(_invoke, chat(server, max_retries=2), RateLimited)
    assert error.retries == 2
    assert "after 2 repeated tries" in str(error)


@pytest.mark.parametrize("way", WAYS)
def test_a_service_that_asks_for_too_long_a_wait_gets_no_second_try(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.rate_limited("30"))
    begin = time.monotonic()
    assert fails(way, chat(server, max_retries=2, max_retry_seconds=1), RateLimited).retry_after_seconds == 30
    assert time.monotonic() - begin < 25
    assert len(server.requests) == 1


def test_the_waits_before_all_tries_together_stay_below_their_limit(server: OpenAIServer) -> None:
    server.fail(faults.rate_limited("0.2"), times=9)
    error = fails(_invoke, chat(server, max_retries=9, max_retry_seconds=0.5), RateLimited)
    assert error.retries == 2


@pytest.mark.parametrize(
    "fault",
    [
        faults.error(429, "You exceeded your current quota", code="insufficient_quota"),
        faults.error(500, "broken for good", x_should_retry="false"),
        faults.error(400, "wrong"),
    ],
)
def test_what_will_not_pass_is_not_repeated(server: OpenAIServer, fault: Fault) -> None:
    server.fail(fault, times=3)
    with pytest.raises(ProviderError):
        chat(server, max_retries=2).invoke("Hello")
    assert len(server.requests) == 1


def test_a_server_error_is_repeated_after_a_pause_of_its_own(server: OpenAIServer) -> None:
    server.fail(faults.server_error())
    assert chat(server, max_retries=1).invoke("say:done").text == "done"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [faults.html(), faults.plain("[1]", "application/json"), faults.plain("", "x/y")])
def test_an_answer_that_is_no_json_object_is_malformed(server: OpenAIServer, way: Way, fault: Fault) -> None:
    server.fail(fault)
    if fault(None).parts == (b"",) and way in STREAMS:  # type: ignore[arg-type]
        fails(way, chat(server), StreamBroken)
    else:
        fails(way, chat(server), MalformedReply)


@pytest.mark.parametrize("way", [_invoke, _ainvoke])
@pytest.mark.parametrize("fault", [faults.bad_json(), faults.empty_choices()])
def test_json_that_breaks_off_and_an_answer_without_answers_are_malformed(
    server: OpenAIServer, way: Way, fault: Fault
) -> None:
    server.fail(fault)
    fails(way, chat(server), MalformedReply)


@pytest.mark.parametrize("way", STREAMS)
def test_an_event_that_is_no_json_is_malformed(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.bad_event(2))
    fails(way, chat(server), MalformedReply)


BREAKS = [faults.cut(4), faults.ends_early(4), faults.error_event(4)]


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("fault", BREAKS)
def test_a_stream_that_breaks_is_an_error_with_the_text_so_far(server: OpenAIServer, way: Way, fault: Fault) -> None:
    server.fail(fault)
    assert fails(way, chat(server), StreamBroken, "say:one two three four five").partial == "one two three"


@pytest.mark.parametrize("way", STREAMS)
def test_a_stream_that_is_cut_inside_a_character_keeps_the_characters_before(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.cut_inside_character())
    assert fails(way, chat(server), StreamBroken, "say:one two 你好").partial == "one two"


@pytest.mark.parametrize("way", STREAMS)
def test_a_stream_that_is_cut_inside_a_tool_call_is_broken(server: OpenAIServer, way: Way) -> None:
    def add(first: int, second: int) -> int:
        """Add two numbers."""
        return first + second

    server.fail(faults.cut(4))
    model = chat(server)
    fails(lambda _, text: way(model.bind_tools([add], tool_choice="any"), text), model, StreamBroken)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", STREAMS)
def test_a_broken_stream_is_not_repeated_behind_the_callers_back(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.cut(3))
    fails(way, chat(server, max_retries=2), StreamBroken)
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", STREAMS)
def test_a_stream_that_falls_silent_is_broken_and_timed_out(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.stall(after=3))
    begin = time.monotonic()
    error = fails(way, chat(server, timeout=1), StreamStalled, "say:one two three")
    assert time.monotonic() - begin < 50
    assert isinstance(error, TimedOut)
    assert error.partial == "one two"


@pytest.mark.parametrize("way", STREAMS)
def test_a_slow_first_token_is_timed_out(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.slow_first_token(60))
    assert fails(way, chat(server, timeout=1), StreamStalled).partial == ""


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_first_token_has_a_limit_of_its_own_that_signs_of_life_do_not_lengthen(
    server: OpenAIServer, way: Way, api: str
) -> None:
    def alive(answer: Any) -> Any:
        signs = tuple(part for _ in range(500) for part in (b": still here\n\n", faults.Pause(0.1)))
        return type(answer)(answer.status, answer.headers, (*signs, *answer.parts), answer.streamed)

    server.fail(alive)
    begin = time.monotonic()
    error = fails(way, chat(server, first_token_timeout=1, api=api), StreamStalled)
    assert 0.9 < time.monotonic() - begin < 40
    assert "first_token_timeout" in str(error)
    server.fail(faults.slow(60))
    assert "did not answer in time" in str(fails(way, chat(server, first_token_timeout=0.3, api=api), TimedOut))


@pytest.mark.parametrize("way", STREAMS)
def test_the_limit_of_the_first_token_is_none_for_the_others(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.stall(after=4, seconds=1.2))
    assert way(chat(server, first_token_timeout=1), "say:one two three four") == "one two three four"


@pytest.mark.parametrize("way", WAYS)
def test_a_service_that_does_not_answer_is_timed_out(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.slow(60))
    begin = time.monotonic()
    error = fails(way, chat(server, timeout=0.3), TimedOut)
    assert time.monotonic() - begin < 50
    assert "0.3 s" in str(error)


@pytest.mark.parametrize("way", STREAMS)
def test_a_stream_that_never_falls_silent_ends_with_the_total_time(server: OpenAIServer, way: Way) -> None:
    def drip(answer: Any) -> Any:
        parts = [part for event in answer.parts for part in (event, faults.Pause(0.05))]
        return type(answer)(answer.status, answer.headers, tuple(parts), answer.streamed)

    server.fail(drip)
    begin = time.monotonic()
    error = fails(way, chat(server, total_timeout=1.5), StreamStalled, "count to 1000")
    assert time.monotonic() - begin < 40
    assert error.partial.startswith("1 2")


@pytest.mark.parametrize("way", WAYS)
def test_repeats_end_with_the_total_time(server: OpenAIServer, way: Way) -> None:
    server.fail(faults.rate_limited("0.3"), times=20)
    fails(way, chat(server, max_retries=20, total_timeout=0.8), RateLimited)
    assert len(server.requests) <= 3


@pytest.mark.parametrize("way", WAYS)
def test_a_closed_door_is_a_failed_connection(server: OpenAIServer, way: Way) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = fails(way, chat(server, base_url=f"http://127.0.0.1:{port}/v1"), ConnectionFailed)
    assert f"127.0.0.1:{port}" in str(error)
    assert "running" in str(error)


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_host_is_a_failed_connection(
    server: OpenAIServer, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = fails(way, chat(server, base_url="http://no-such-host.invalid/v1"), ConnectionFailed)
    assert "no-such-host.invalid" in str(error)


@pytest.mark.parametrize("way", WAYS)
def test_a_server_without_tls_behind_https_is_a_failed_connection(server: OpenAIServer, way: Way) -> None:
    error = fails(way, chat(server, base_url=server.base_url.replace("http:", "https:")), ConnectionFailed)
    assert "TLS" in str(error)


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_in_any_pieces_is_the_same_text(server: OpenAIServer, way: Way, size: int) -> None:
    server.fail(faults.in_fragments(size))
    assert way(chat(server), "say:Zürich, 你好 and 🙂 there") == "Zürich, 你好 and 🙂 there"


@pytest.mark.parametrize("kind", [RateLimited, ServerFailed, AuthenticationFailed])
def test_completions_and_embeddings_fail_by_the_same_names(server: OpenAIServer, kind: type[ProviderError]) -> None:
    options: dict[str, Any] = {"base_url": server.base_url, "api_key": server.key, "max_retries": 0}
    fault = {RateLimited: faults.rate_limited(), ServerFailed: faults.server_error()}.get(kind, faults.error(401, "no"))
    model = OpenAIModel(model="gpt-3.5-turbo-instruct", **options)
    vectors = OpenAIEmbeddings(model="text-embedding-3-small", **options)
    server.fail(fault, times=5)
    for call in (
        lambda: model.invoke("x"),
        lambda: list(model.stream("x")),
        lambda: vectors.embed_query("x"),
        lambda: asyncio.run(vectors.aembed_documents(["x"])),
        lambda: asyncio.run(model.ainvoke("x")),
    ):
        with pytest.raises(kind):
            call()


@pytest.mark.parametrize("fault", [faults.cut(2), faults.ends_early(2)])
def test_a_completion_stream_that_breaks_keeps_the_text_so_far(server: OpenAIServer, fault: Fault) -> None:
    model = OpenAIModel(model="gpt-4o-mini", base_url=server.base_url, api_key=server.key)
    server.fail(fault)
    with pytest.raises(StreamBroken) as caught:
        list(model.stream("say:one two three"))
    assert caught.value.partial == "one two"
