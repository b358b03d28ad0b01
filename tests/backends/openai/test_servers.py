"""Several servers behind one model: the least busy is asked, and those that fail are left out until they are well."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import chainkit
from chainkit.backends.openai.access import addresses, find_accesses
from chainkit.backends.openai.chat import OpenAIChat
from chainkit.backends.openai.embeddings import OpenAIEmbeddings
from chainkit.backends.openai.servers import Servers
from chainkit.backends.openai.services import SERVICES
from chainkit.base.errors import ConnectionFailed, KeyWithheld, ModelNotFound, ProviderError, RateLimited, StreamBroken
from chainkit.testing.server import faults
from chainkit.testing.server.openai import OpenAIServer


class Three(list[OpenAIServer]):
    """Servers of which any can die and come back at the same place."""

    def __init__(self) -> None:
        super().__init__(begun(0) for _ in range(3))
        self.dead: set[int] = set()

    def kill(self, place: int) -> None:
        self.dead.add(place)
        self[place].stop()

    def restart(self, place: int) -> None:
        self.dead.remove(place)
        self[place] = begun(self[place].port)


def begun(port: int) -> OpenAIServer:
    server = OpenAIServer(key=None)
    server.port = port
    server.start()
    return server


@pytest.fixture
def three() -> Iterator[Three]:
    servers = Three()
    yield servers
    for place, server in enumerate(servers):
        if place not in servers.dead:
            server.stop()


@pytest.fixture
def quick(monkeypatch) -> None:
    """A server that failed is asked again after a moment."""
    monkeypatch.setattr("chainkit.backends.openai.servers.FIRST_PAUSE_SECONDS", 0.05)


def model(servers, **options) -> OpenAIChat:
    return OpenAIChat(model="gpt-4o-mini", base_url=",".join(one.base_url for one in servers), **options)


def asked(server) -> int:
    return sum(request.method == "POST" for request in server.requests)


def eventually(happened) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_calls_are_spread_evenly(three):
    chat = model(three)
    for number in range(12):
        chat.invoke(f"Hi {number}")
    assert [asked(one) for one in three] == [4, 4, 4]


async def test_calls_of_an_event_loop_too(three):
    chat = model(three)
    await asyncio.gather(*(chat.ainvoke(f"Hi {number}") for number in range(12)))
    assert [asked(one) for one in three] == [4, 4, 4]


def test_a_busy_server_gets_fewer(three):
    three[0].fail(faults.slow(3.0))
    chat = model(three)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(chat.invoke, "Hi")
        eventually(lambda: asked(three[0]))
        for number in range(10):
            chat.invoke(f"Hi {number}")
        slow.result()
    assert [asked(one) for one in three] == [1, 5, 5]


def test_a_stream_keeps_its_server_busy(three):
    chat = model(three)
    stream = chat.stream("Tell me a long story")
    next(stream)
    first = [asked(one) for one in three].index(1)
    for number in range(6):
        chat.invoke(f"Hi {number}")
    assert asked(three[first]) == 1
    assert "".join(piece.text for piece in stream)
    chat.invoke("Hi")
    assert asked(three[first]) == 2


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
def test_a_call_goes_to_another_server_at_once(three, how):
    three.kill(0)
    chat = model(three)
    start = time.monotonic()
    for number in range(6):
        if how == "ainvoke":
            said = asyncio.run(chat.ainvoke(f"Hi {number}")).text
        elif how == "stream":
            said = "".join(piece.text for piece in chat.stream(f"Hi {number}"))
        else:
            said = chat.invoke(f"Hi {number}").text
        assert said
    assert time.monotonic() - start < 5
    assert asked(three[1]) + asked(three[2]) == 6


def test_a_call_that_failed_goes_to_a_busier_server_before_it_goes_to_the_same_one(three):
    chat = model(three)
    streams = [chat.stream("Tell me a long story") for _ in range(2)]
    for stream in streams:
        next(stream)
    (idle,) = (one for one in three if not asked(one))
    idle.fail(faults.server_error(500))
    assert chat.invoke("Hi").response_metadata["retries"] == 1
    assert asked(idle) == 1
    assert all("".join(piece.text for piece in stream) for stream in streams)


def test_one_that_failed_is_left_out_and_comes_back(three, quick):
    three.kill(0)
    chat = model(three)
    reply = chat.invoke("Hi")
    assert reply.response_metadata.get("retries", 0) == 1
    for number in range(6):
        assert not chat.invoke(f"Hi {number}").response_metadata.get("retries", 0)
    three.restart(0)
    back = three[0]

    def called() -> int:
        chat.invoke("Hi")
        time.sleep(0.02)
        return asked(back)

    eventually(called)
    assert back.requests[0].path == "/v1/models"  # it was asked whether it is well before it got a call


def test_one_that_says_it_is_not_well_stays_out(three, quick):
    three[0].fail(faults.server_error(503), times=10_000)
    chat = model(three)
    for number in range(20):
        chat.invoke(f"Hi {number}")
        time.sleep(0.01)
    assert asked(three[0]) == 1
    assert sum(request.path == "/v1/models" for request in three[0].requests) >= 1


def test_one_that_has_too_many_calls_gets_none_for_as_long_as_it_says(three):
    three[0].fail(faults.rate_limited("0.5"))
    chat = model(three)
    for number in range(9):
        chat.invoke(f"Hi {number}")
    assert asked(three[0]) == 1
    time.sleep(0.6)
    for number in range(3):
        chat.invoke(f"Hi {number}")
    assert asked(three[0]) >= 2
    assert all(request.path != "/v1/models" for request in three[0].requests)


def test_a_request_that_is_wrong_is_not_sent_elsewhere(three):
    with pytest.raises(ModelNotFound):
        OpenAIChat(model="no-such-model", base_url=model(three).base_url).invoke("Hi")
    assert sum(map(asked, three)) == 1


def test_all_servers_down_is_an_error_that_names_one(three):
    chat = model(three, max_retries=1, max_retry_seconds=1)
    for place in range(3):
        three.kill(place)
    with pytest.raises(ConnectionFailed, match=r"openai at 127\.0\.0\.1:\d+.*after 3 repeated tries"):
        chat.invoke("Hi")


def test_without_repeats_nothing_is_repeated_elsewhere(three):
    three[0].fail(faults.server_error(500))
    with pytest.raises(ProviderError):
        model(three, max_retries=0).invoke("Hi")
    assert sum(map(asked, three)) == 1


def test_a_stream_goes_on_while_its_server_is_left_out(three):
    chat = model(three)
    stream = chat.stream("Tell me a long story")
    text = next(stream).text
    first = three[[asked(one) for one in three].index(1)]
    first.fail(faults.server_error(503), times=10_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(chat.invoke, [f"Hi {number}" for number in range(24)]))
    assert asked(first) >= 2  # and has failed
    text += "".join(piece.text for piece in stream)
    assert text == OpenAIChat(model="gpt-4o-mini", base_url=three[1].base_url).invoke("Tell me a long story").text


def test_a_stream_that_breaks_is_told_and_its_server_is_left_out(three):
    chat = model(three)
    three[0].fail(faults.cut(3))
    with pytest.raises(StreamBroken):
        list(chat.stream("Tell me a long story"))
    for number in range(6):
        chat.invoke(f"Hi {number}")
    assert asked(three[0]) == 1


def test_embeddings_and_copies_of_a_model_share_the_servers(three):
    vectors = OpenAIEmbeddings(model="text-embedding-3-small", base_url=model(three).base_url, batch_size=1)
    assert len(vectors.embed_documents(["a", "b", "c", "d", "e", "f"])) == 6
    assert [asked(one) for one in three] == [2, 2, 2]
    three.kill(0)
    chat = model(three)
    chat.invoke("Hi")
    assert not chat.bind(stop=["x"]).invoke("Hi").response_metadata.get("retries", 0)


def test_a_spec_takes_addresses_with_commas(three):
    chat = chainkit.chat_model(f"vllm:gpt-4o-mini?base_url={','.join(one.base_url for one in three)}")
    for number in range(3):
        chat.invoke(f"Hi {number}")
    assert [asked(one) for one in three] == [1, 1, 1]
    assert addresses(" http://a/v1 ,,http://b/v1,http://a/v1") == ["http://a/v1", "http://b/v1"]
    with pytest.raises(ValueError, match="base_url must begin with http"):
        OpenAIChat(model="m", base_url="http://localhost:1/v1,nonsense")


def test_each_host_gets_the_key_that_it_would_get_alone(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-own")
    service = SERVICES["openai"]
    own, near = find_accesses(service, "https://api.openai.com/v1,http://localhost:8000/v1", None)
    assert (own.key, near.key) == ("sk-own", "none")
    with pytest.raises(KeyWithheld):
        find_accesses(service, "http://localhost:8000/v1,https://llm.example.com/v1", None)
    given = find_accesses(service, "http://localhost:8000/v1,https://llm.example.com/v1", "sk-given")
    assert [access.key for access in given] == ["sk-given", "sk-given"]
    monkeypatch.setenv("OPENAI_BASE_URL", "https://a.example.com/v1,https://b.example.com/v1")
    assert [access.key for access in find_accesses(service, None, None)] == ["sk-own", "sk-own"]
    monkeypatch.setenv("OPENAI_BASE_URL", "https://a.example.com/v1")
    with pytest.raises(KeyWithheld):
        find_accesses(service, "https://a.example.com/v1,https://c.example.com/v1", None)


def test_the_habits_are_those_of_any_service_unless_all_servers_are_the_providers_own(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-own")
    mixed = OpenAIChat(model="m", base_url="https://api.openai.com/v1,http://localhost:8000/v1")
    assert mixed._habits.max_tokens_field == "max_tokens"
    assert (
        OpenAIChat(model="m", base_url="https://api.openai.com/v1")._habits.max_tokens_field == "max_completion_tokens"
    )


def test_a_server_is_checked_once_at_a_time_and_waits_longer_each_time(monkeypatch):
    monkeypatch.setattr("chainkit.backends.openai.servers.FIRST_PAUSE_SECONDS", 0.05)
    checks, answers = [], iter([False, False, True])
    go_on = threading.Event()

    def well(name: int) -> bool:
        checks.append(time.monotonic())
        go_on.wait(10)
        return next(answers)

    servers = Servers([0, 1], well)
    servers.failed(0)
    time.sleep(0.06)
    assert {servers.take() for _ in range(5)} == {1}
    time.sleep(0.05)
    assert {servers.take() for _ in range(5)} == {1}
    assert len(checks) == 1
    go_on.set()

    def back() -> bool:
        return servers.take() == 0

    eventually(back)
    assert len(checks) == 3
    assert checks[2] - checks[1] > 0.15  # the third failure in a row: 0.05 s, 0.1 s, 0.2 s


def test_no_row_of_a_mapping_fails_when_one_of_three_is_killed_and_restarted(three, quick, tmp_path):
    """As a user meets it: the server dies in the middle of answers, and comes back at the same address."""
    chat = model(three)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(f"row {number}") + "\n" for number in range(600)))
    done: list[int] = []

    def kill_and_restart() -> None:
        eventually(lambda: asked(three[0]) > 30)
        three.kill(0)
        done.append(asked(three[0]))
        time.sleep(0.3)
        three.restart(0)

    killer = threading.Thread(target=kill_and_restart)
    killer.start()
    slow = chainkit.chain(chat, lambda message: (time.sleep(0.005), message.text)[1])
    report = chainkit.map_rows(slow, rows, tmp_path / "out.jsonl", concurrency=8)
    killer.join()
    assert (report.done, report.failed) == (600, 0)
    assert done[0] > 30
    assert asked(three[0]) > 10  # it came back


def test_rate_limits_of_all_servers_are_told(three):
    for one in three:
        one.fail(faults.rate_limited("30"), times=100)
    with pytest.raises(RateLimited):
        model(three, max_retry_seconds=1).invoke("Hi")
    assert [asked(one) for one in three] == [1, 1, 1]
