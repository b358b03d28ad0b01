"""The doctor reports what a server lacks, and exactly that, by asking a real one on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chainkit.backends.openai import OpenAIChat
from chainkit.base.errors import TimedOut
from chainkit.cli.main import cli
from chainkit.doctor import PROBES
from chainkit.doctor.basics import ORDER
from chainkit.registry import chat_model, embeddings
from chainkit.testing.server import faults
from chainkit.testing.server.features import FEATURES
from chainkit.testing.server.openai import OpenAIServer, running
from chainkit.testing.server.wire import HTTPAnswer

NEEDED = {probe.feature: probe.needs for probe in PROBES}
ROWS = {
    "tool_choice": {"tool_choice=required", "tool_choice=NAME", "tool_choice=none"},
    "parallel_tool_calls": {"parallel_tool_calls=false"},
}
UNSEEN = {"dimensions"}  # nothing of it is asked
WITHOUT_TRACE = {*UNSEEN, "temperature", "models", "chat", "completions", "embeddings"}


@pytest.fixture
def open_server() -> Iterator[OpenAIServer]:
    with running(key=None) as server:
        yield server


def doctor(server: OpenAIServer | str, *options: str) -> Result:
    address = server if isinstance(server, str) else server.base_url
    return CliRunner().invoke(cli, ["doctor", address, *options], prog_name="chainkit")


def found(server: OpenAIServer | str, *options: str) -> dict[str, Any]:
    result = doctor(server, "--json", *options)
    report = json.loads(result.stdout)
    return {**report, "states": {row["feature"]: row["state"] for row in report["features"]}}


def changed(server: OpenAIServer) -> dict[str, tuple[str, str]]:
    """What is not as it is with a server that has everything: state and words by feature."""
    rows = found(server, "--model", "gpt-4o-mini", "--embedding-model", "text-embedding-3-small")["features"]
    return {r["feature"]: (r["state"], r["detail"]) for r in rows if r["state"] != "works"} | {}


def dependents(names: set[str]) -> set[str]:
    gone = set(names)
    for feature, needs in NEEDED.items():
        if gone & set(needs):
            gone.add(feature)
    return gone - names


def check(server: OpenAIServer, feature: str, state: str) -> dict[str, tuple[str, str]]:
    rows = ROWS.get(feature, {feature})
    seen = changed(server)
    assert seen.pop("context_overflow")[0] == "skipped"
    assert {name: seen[name][0] for name in rows} == dict.fromkeys(rows, state)
    others = {name: value for name, value in seen.items() if name not in rows}
    assert set(others) == dependents(rows) - {"context_overflow"}
    assert {value[0] for value in others.values()} <= {"skipped"}
    return {name: seen[name] for name in rows}


def test_a_server_that_has_everything_is_told_so(open_server: OpenAIServer) -> None:
    assert set(changed(open_server)) == {"context_overflow"}


@pytest.mark.parametrize("feature", sorted(FEATURES - UNSEEN))
def test_a_feature_that_is_refused_is_reported_alone_and_in_the_servers_words(
    open_server: OpenAIServer, feature: str
) -> None:
    open_server.refuses = {feature}
    for state, told in check(open_server, feature, "refused").values():
        assert state == "refused"
        assert "Invalid URL" in told or f"{feature} is not supported by this server" in told


@pytest.mark.parametrize("feature", sorted(FEATURES - WITHOUT_TRACE))
def test_a_feature_that_is_taken_without_effect_is_reported_alone(open_server: OpenAIServer, feature: str) -> None:
    open_server.ignores = {feature}
    check(open_server, feature, "ignored")


def test_the_specs_work_as_they_are_printed(open_server: OpenAIServer) -> None:
    open_server.refuses = {"usage_in_stream", "base64"}
    report = found(open_server)
    assert report["chat"].endswith("&stream_usage=false")
    assert "".join(chunk.text for chunk in chat_model(report["chat"]).stream("say:yes")) == "yes"
    assert len(embeddings(report["embeddings"]).embed_query("x")) == 16
    assert report["states"]["chainkit"] == "works"


def test_a_model_that_calls_tools_only_when_told_to_is_told_so(open_server: OpenAIServer) -> None:
    def quiet(answer: HTTPAnswer) -> HTTPAnswer:
        asked = open_server.bodies[-1] if open_server.bodies else {}
        if asked.get("tools") and asked.get("tool_choice") is None:
            return faults.plain('{"choices": [{"message": {"content": "Sunny."}}]}', "application/json")(answer)
        return answer

    all_fail(open_server, quiet)
    rows = {row["feature"]: row for row in found(open_server)["features"]}
    assert rows["tools"]["state"] == "works"
    assert rows["tools"]["detail"].startswith("only when a call is demanded: get_weather")
    assert rows["tool_choice=required"]["state"] == "works"


def test_the_advice_names_what_works_instead(open_server: OpenAIServer) -> None:
    open_server.refuses = {"json_schema", "max_tokens"}
    notes = " ".join(found(open_server)["notes"])
    assert "function_calling" in notes
    assert 'extra_body={"max_completion_tokens":500}' in notes
    open_server.refuses = {"json_schema", "tools"}
    assert "json_mode" in " ".join(found(open_server)["notes"])


def test_what_it_took_is_counted(open_server: OpenAIServer) -> None:
    report = found(open_server)
    assert report["requests"] == len(open_server.requests) <= 40
    assert 0 < report["input_tokens"] < 1000
    assert 0 < report["output_tokens"] < 1000


def test_a_context_that_is_known_is_exceeded_once(open_server: OpenAIServer) -> None:
    report = found(open_server, "--model", "small-context", "--context", "100")
    row = next(row for row in report["features"] if row["feature"] == "context_overflow")
    assert row["state"] == "works"
    assert "RequestTooLong" in row["detail"]
    assert "maximum context length is 100" in row["detail"]
    assert found(open_server, "--context", "128000")["states"]["context_overflow"] == "skipped"
    assert found(open_server, "--context", "100")["states"]["context_overflow"] == "ignored"


def test_the_table_has_a_line_for_each_feature(open_server: OpenAIServer) -> None:
    open_server.refuses = {"n"}
    result = doctor(open_server)
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert set(NEEDED) <= set(lines)
    assert "n is not supported by this server" in lines["n"]
    assert lines["chat:"] == f'chat: "openai:gpt-4o-mini?base_url={open_server.base_url}"'
    assert "spent:" in lines


def test_required_features_decide_the_status(open_server: OpenAIServer) -> None:
    open_server.refuses = {"n"}
    assert doctor(open_server, "--require", "tools,stream").exit_code == 0
    result = doctor(open_server, "--require", "tools,n")
    assert result.exit_code == 1
    assert result.stderr == "chainkit: required, and does not work: n\n"
    assert doctor(open_server, "--require", "magic").exit_code == 2


def test_a_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "word-of-passage-1"
    monkeypatch.setenv("MY_KEY", secret)
    with running(key=secret) as server:
        assert doctor(server).exit_code == 1
        good = doctor(server, "--key-env", "MY_KEY")
        assert good.exit_code == 0
        assert "&api_key=$MY_KEY" in good.stdout
        server.key = "another-one"  # its refusal repeats the key that was sent
        bad = doctor(server, "--key-env", "MY_KEY")
        assert bad.exit_code == 1
        assert "mind: the key was not taken" in bad.stdout
        for result in (good, bad, doctor(server, "--key-env", "MY_KEY", "--json", "--debug")):
            assert secret not in result.output
    assert "not set" in doctor(server.base_url, "--key-env", "NO_SUCH_VARIABLE").stderr


def test_a_server_that_wants_a_key_says_so(openai_server: OpenAIServer) -> None:
    result = doctor(openai_server, "--model", "gpt-4o-mini")
    assert result.exit_code == 1
    assert "it wants a key: --key-env NAME" in result.stdout


def test_the_key_of_a_provider_is_not_sent_elsewhere(
    open_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-user-0123456789")
    doctor(open_server)
    assert {request.headers["authorization"] for request in open_server.requests} == {"Bearer none"}


@pytest.mark.parametrize("address", ["ftp://x", "localhost", "http://", "http://a:b@host/v1", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    result = doctor(address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("chainkit: BASE_URL")


def test_nobody_there_is_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = doctor(f"http://127.0.0.1:{port}/v1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"127.0.0.1:{port}" in result.stderr


def test_the_ending_v1_may_be_left_out(open_server: OpenAIServer) -> None:
    assert found(open_server.base_url.removesuffix("/v1"))["states"]["chat"] == "works"


def all_fail(server: OpenAIServer, fault: Callable[[HTTPAnswer], HTTPAnswer]) -> None:
    server.fail(fault, times=1000)


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (faults.html(), "failed"),
        (faults.plain("[]", "application/json"), "failed"),
        (faults.plain("", "application/json"), "failed"),
        (faults.plain('{"choices": 3, "data": {"a": 1}, "usage": []}', "application/json"), "ignored"),
        (faults.server_error(501), "failed"),
        (faults.plain("data: 3\n\ndata: [DONE]\n\n", "text/event-stream"), "ignored"),
    ],
)
def test_nonsense_is_reported_and_ends_with_status_1(open_server: OpenAIServer, fault: Any, state: str) -> None:
    all_fail(
        open_server,
        lambda answer: type(answer)(
            **{**vars(fault(answer)), "headers": {**fault(answer).headers, "x-should-retry": "false"}}
        ),
    )
    result = doctor(open_server, "--json", "--model", "m")
    assert result.exit_code == 1
    rows = {row["feature"]: row["state"] for row in json.loads(result.stdout)["features"]}
    assert rows["chat"] == state
    assert result.stderr.startswith("chainkit: chats do not work")


def test_a_rate_limit_is_waited_for(open_server: OpenAIServer) -> None:
    open_server.fail(faults.rate_limited("0.05"), times=2)
    assert found(open_server)["states"]["models"] == "works"


def test_time_is_bounded(open_server: OpenAIServer) -> None:
    all_fail(open_server, faults.slow(60))
    begin = time.monotonic()
    result = doctor(open_server, "--timeout", "0.5")
    assert result.exit_code == 1
    assert "did not answer in time" in result.stderr
    open_server._faults.clear()
    open_server.fail(lambda answer: answer)
    all_fail(open_server, faults.slow(60))
    rows = found(open_server, "--timeout", "1", "--total", "1.5", "--model", "m")["states"]
    assert rows["chat"] == "unknown"
    assert time.monotonic() - begin < 50


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_control_c_shows_what_was_found(open_server: OpenAIServer) -> None:
    open_server.fail(lambda answer: answer, times=3)
    all_fail(open_server, faults.slow(60))
    process = subprocess.Popen(
        [sys.executable, "-m", "chainkit", "doctor", open_server.base_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while len(open_server.requests) < 4 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 130
    assert b"chat" in stdout
    assert b"stopped after 3 of" in stderr


def test_a_default_system_message_of_the_template_is_no_sign_that_ones_own_is_left_out(
    open_server: OpenAIServer,
) -> None:
    """The template puts one of its own there if none is given, as long as the first that the doctor tries."""
    default = "x " * len(ORDER.split())

    def default_system(answer: HTTPAnswer) -> HTTPAnswer:
        asked = open_server.bodies[-1] if open_server.bodies else {}
        messages = asked.get("messages", [])
        if not messages or answer.status != 200 or asked.get("stream"):
            return answer
        system = next((one["content"] for one in messages if one["role"] in ("system", "developer")), default)
        rest = " ".join(str(one.get("content")) for one in messages if one["role"] not in ("system", "developer"))
        tokens = len(system.split()) + len(rest.split())
        body = json.loads(b"".join(part for part in answer.parts if isinstance(part, bytes)))
        body["usage"] = {"prompt_tokens": tokens, "completion_tokens": 2, "total_tokens": tokens + 2}
        for choice in body.get("choices", []):
            if isinstance(choice["message"].get("content"), str) and "BANANA" in choice["message"]["content"]:
                choice["message"]["content"] = "Fine."
        return replace(answer, parts=(json.dumps(body).encode(),))

    all_fail(open_server, default_system)
    states = found(open_server)["states"]
    assert states["system"] == "works"


@pytest.mark.parametrize(
    ("heeds", "answer", "state"),
    [
        (True, "Sure! Here are the numbers from one to nine.", "works"),
        (False, "Sure! Here are the numbers from one to nine.", "ignored"),
        (True, "No.", "unclear"),
    ],
)
def test_a_model_that_does_not_count_is_stopped_at_its_own_letters(
    open_server: OpenAIServer, heeds: bool, answer: str, state: str
) -> None:
    def talk(served: HTTPAnswer) -> HTTPAnswer:
        asked = open_server.bodies[-1] if open_server.bodies else {}
        if "count to 9" not in str(asked.get("messages")):
            return served
        stops = asked.get("stop") if heeds else None
        text = answer.split(stops[0])[0] if stops else answer
        return faults.plain(json.dumps({"choices": [{"message": {"content": text}}]}), "application/json")(served)

    all_fail(open_server, talk)
    assert found(open_server)["states"]["stop"] == state


def test_what_timed_out_is_not_called_missing(open_server: OpenAIServer) -> None:
    def slow_forms(answer: HTTPAnswer) -> HTTPAnswer:
        asked = open_server.bodies[-1] if open_server.bodies else {}
        return faults.slow(60)(answer) if {"response_format", "tools"} & asked.keys() else answer

    all_fail(open_server, slow_forms)
    report = found(open_server, "--timeout", "1")
    assert report["states"]["json_schema"] == "unknown"
    assert not any("will not work" in note for note in report["notes"])
    assert any("json_schema" in note and "no answer came in time" in note for note in report["notes"])


def test_the_status_says_whether_the_last_check_passed(
    open_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(self: OpenAIChat, *args: object, **kwargs: object) -> None:
        raise TimedOut("late")

    monkeypatch.setattr(OpenAIChat, "_generate", late)
    result = doctor(open_server)
    assert result.exit_code == 1
    assert "a chat model of chainkit did not: late" in result.stderr
