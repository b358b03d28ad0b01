"""Rows through a hosted batch API, against the service on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda

import chainkit
from chainkit.backends.openai.chat import OpenAIChat
from chainkit.base.errors import BadRequest, Unsupported
from chainkit.testing.server import faults
from chainkit.testing.server.openai import OpenAIServer, running


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running(key=None) as service:
        yield service


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr("chainkit.scale.batches.FIRST_POLL_SECONDS", 0.02)


@pytest.fixture
def small(monkeypatch) -> None:
    """Batches of ten rows."""
    monkeypatch.setattr("chainkit.scale.batches.ROWS", 10)


def model(server, **options) -> OpenAIChat:
    return OpenAIChat(model="gpt-4o-mini", base_url=server.base_url, **options)


def rows_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def posts(server, path: str) -> int:
    return sum(request.method == "POST" and request.path == f"/v1/{path}" for request in server.requests)


ROWS = [{"topic": f"topic {number}"} for number in range(25)]


def test_a_chain_gives_what_it_gives_row_by_row(server, small, tmp_path):
    chain = chainkit.prompt("Tell me about {topic}") | model(server) | StrOutputParser() | str.upper
    plain = chainkit.map_rows(chain, ROWS, tmp_path / "plain.jsonl")
    server.requests.clear()
    report = chainkit.map_rows(chain, ROWS, tmp_path / "out.jsonl", engine="batch")
    assert (report.done, report.failed, report.tokens) == (25, 0, plain.tokens)
    assert rows_of(tmp_path / "out.jsonl") == rows_of(tmp_path / "plain.jsonl")
    assert posts(server, "chat/completions") == 0
    assert (posts(server, "files"), posts(server, "batches")) == (3, 3)


def test_rows_that_fail_go_to_their_file_and_are_done_again(server, tmp_path):
    server.batches.answers = 20
    chain = chainkit.prompt("Tell me about {topic}") | model(server)
    report = chainkit.map_rows(chain, ROWS, tmp_path / "out.jsonl", engine="batch")
    assert (report.done, report.failed) == (20, 5)
    failed = rows_of(tmp_path / "out.jsonl.failed.jsonl")
    assert "batch_expired: This request could not be executed in time." in json.dumps(failed[0])
    server.batches.answers = None
    again = chainkit.map_rows(chain, ROWS, tmp_path / "out.jsonl", engine="batch", retry_failed=True)
    assert (again.done, again.failed) == (5, 0)
    assert sorted(row["_row"] for row in rows_of(tmp_path / "out.jsonl")) == list(range(1, 26))
    assert len(server.batches.files[list(server.batches.batches.values())[1]["input_file_id"]].splitlines()) == 5


def test_an_error_that_the_service_gives_a_row_is_the_error_of_that_row(server, tmp_path):
    chain = chainkit.prompt("{topic}") | OpenAIChat(model="small-context", base_url=server.base_url)
    rows = [{"topic": "good"}, {"topic": "word " * 5_000}]
    report = chainkit.map_rows(chain, rows, tmp_path / "out.jsonl", engine="batch")
    assert (report.done, report.failed) == (1, 1)
    assert "RequestTooLong" in (tmp_path / "out.jsonl.failed.jsonl").read_text("utf-8")


def test_a_batch_that_is_refused_ends_the_run_and_marks_no_row(server, tmp_path):
    server.batches.ends_as = "failed"
    with pytest.raises(BadRequest, match=r"refused the batch batch_\d+: line 1 is not a request"):
        chainkit.map_rows(model(server), ["Hi"], tmp_path / "out.jsonl", engine="batch")
    assert not (tmp_path / "out.jsonl.failed.jsonl").exists()
    server.batches.ends_as = "completed"
    assert chainkit.map_rows(model(server), ["Hi"], tmp_path / "out.jsonl", engine="batch").done == 1


def test_equal_rows_are_asked_each_for_itself(server, tmp_path):
    assert chainkit.map_rows(model(server), ["Hi"] * 4, tmp_path / "out.jsonl", engine="batch").done == 4
    (content,) = (content for content in server.batches.files.values() if b"custom_id" in content and b"url" in content)
    assert len({json.loads(line)["custom_id"] for line in content.splitlines()}) == 4


def test_a_row_without_a_call_and_one_that_fails_before_it_need_no_answer(server, tmp_path):
    def asked(row):
        if row == 2:
            raise ValueError("two")
        return model_ if row == 1 else "nothing to ask"

    model_ = model(server)
    chain = RunnableLambda(lambda row: row) | RunnableLambda(asked)
    chain = chain | RunnableLambda(lambda found: found if isinstance(found, str) else "asked")
    with pytest.raises(Unsupported, match="one hosted model"):
        chainkit.map_rows(chain, [1, 2, 3], tmp_path / "none.jsonl", engine="batch")
    branch = RunnableLambda(lambda row: 1 / 0 if row == "two" else row) | model_
    report = chainkit.map_rows(branch, ["one", "two"], tmp_path / "out.jsonl", engine="batch")
    assert (report.done, report.failed) == (1, 1)
    assert "ZeroDivisionError" in (tmp_path / "out.jsonl.failed.jsonl").read_text("utf-8")


def test_other_models_two_calls_and_streams_are_refused(server, tmp_path):
    with pytest.raises(Unsupported, match="1 models, 0 of them hosted"):
        chainkit.map_rows("fake:", ["Hi"], tmp_path / "a.jsonl", engine="batch")
    twice = model(server) | StrOutputParser()
    report = chainkit.map_rows(twice | twice, ["Hi"], tmp_path / "b.jsonl", engine="batch")
    assert report.failed == 1
    assert "once for each row" in (tmp_path / "b.jsonl.failed.jsonl").read_text("utf-8")
    report = chainkit.map_rows(model(server, streaming=True), ["Hi"], tmp_path / "c.jsonl", engine="batch")
    assert "leave streaming=True out" in (tmp_path / "c.jsonl.failed.jsonl").read_text("utf-8")
    with pytest.raises(ValueError, match="engine must be one of local, batch"):
        chainkit.map_rows("fake:", ["Hi"], tmp_path / "d.jsonl", engine="dask")  # pyright: ignore[reportArgumentType]


def test_a_batch_is_found_by_its_token_if_the_answer_was_lost(server, tmp_path):
    server.fail(lambda answer: answer)  # the file arrives
    server.fail(faults.cut(0))  # the batch is made, and its id is lost
    chainkit.map_rows(model(server), ["Hi"], tmp_path / "out.jsonl", engine="batch")
    assert len(server.batches.batches) == 1


def test_polls_go_on_over_errors_that_pass(server, tmp_path, monkeypatch):
    monkeypatch.setattr("chainkit.backends.openai.calls.FIRST_PAUSE_SECONDS", 0.01)
    server.batches.looks = 6

    def trouble() -> None:
        while not server.batches.batches:
            time.sleep(0.005)
        server.fail(faults.server_error(503), times=2)

    thread = threading.Thread(target=trouble)
    thread.start()
    assert chainkit.map_rows(model(server), ["Hi"], tmp_path / "out.jsonl", engine="batch").done == 1
    thread.join()


MAPPED = """
import json, sys
import chainkit, chainkit.scale.batches as batches
batches.FIRST_POLL_SECONDS, batches.ROWS = 0.05, 10
chain = chainkit.prompt("Tell me about {topic}") | chainkit.OpenAIChat(model="gpt-4o-mini", base_url=sys.argv[1])
rows = [{"topic": f"topic {n}"} for n in range(25)]
report = chainkit.map_rows(chain, rows, sys.argv[2], engine="batch")
print(report.done)
"""


def test_a_run_that_was_killed_waits_for_the_batches_that_it_had_sent(server, tmp_path):
    """Each kill at another moment; no request is ever sent in two batches."""
    server.batches.looks = 8
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-c", MAPPED, server.base_url, str(out)]
    for wanted in (1, 3):
        process = subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE)
        end = time.monotonic() + 60
        while len(server.batches.batches) < wanted and time.monotonic() < end:
            time.sleep(0.002)
        process.kill()
        process.communicate()
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) <= 25
    assert [row["_row"] for row in rows_of(out)] == list(range(1, 26))
    inputs = [server.batches.files[batch["input_file_id"]] for batch in server.batches.batches.values()]
    assert sum(len(content.splitlines()) for content in inputs) == 25


def test_an_interrupt_does_not_wait_for_a_batch(server, tmp_path, small):
    server.batches.looks = 10_000

    from chainkit.scale.batches import BatchedCalls
    from chainkit.scale.work import work_of

    work = work_of(model(server), None, None, None)
    calls = BatchedCalls(work, tmp_path / "record.jsonl")
    made = calls.work(work.models, 2)
    failed: list[Exception] = []

    def wait() -> None:
        try:
            made.call(["Hi"])
        except chainkit.errors.ChainkitError as error:
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not server.batches.batches:
        time.sleep(0.005)
    assert made.stop is not None
    made.stop()
    thread.join(10)
    assert "start the run again to go on" in str(failed[0])


def test_the_command(server, tmp_path):
    from click.testing import CliRunner

    from chainkit.cli.main import cli

    (tmp_path / "in.jsonl").write_text('{"topic": "bees"}\n')
    spec = f"openai:gpt-4o-mini?base_url={server.base_url}"
    arguments = ["map", spec, str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")]
    done = CliRunner().invoke(cli, [*arguments, "--prompt", "About {topic}", "--engine", "batch", "--json"])
    assert done.exit_code == 0, done.output
    assert len(server.batches.batches) == 1
    assert rows_of(tmp_path / "out.jsonl")[0]["output"]
