"""`chainkit serve` in a process of its own: keys, and an orderly end."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from chainkit.cli.main import cli

pytestmark = pytest.mark.slow
CHAIN = """
import time
from langchain_core.runnables import RunnableLambda

def words(text):
    for word in text.split():
        time.sleep(0.15)
        yield word + " "

chain = RunnableLambda(words)
"""
WORDS = " ".join(f"word{number}" for number in range(12))


class Serving:
    """A process, its address, and what it wrote."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address


@contextmanager
def serving(*arguments: str, folder: Path) -> Iterator[Serving]:
    command = [sys.executable, "-m", "chainkit", "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stderr is not None
        try:
            told = next((match for line in process.stderr if (match := re.search(r"on (\S+)/v1", line))), None)
            assert told is not None
            yield Serving(process, told[1])
        finally:
            process.kill()


@pytest.fixture
def serve_apart(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    (tmp_path / "slow_chain.py").write_text(CHAIN)
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(serving(*arguments, folder=tmp_path))


def asked(address: str, *, stream: bool, found: list[Any]) -> threading.Thread:
    """Ask in a thread; the reply is put into `found`, or what went wrong."""
    body = {"model": "chain", "messages": [{"role": "user", "content": WORDS}], "stream": stream}

    def ask() -> None:
        try:
            found.append(httpx2.post(f"{address}/v1/chat/completions", json=body, timeout=60))
        except httpx2.HTTPError as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def until(address: str, running: int, waiting: int) -> None:
    with httpx2.Client(base_url=address, timeout=30) as client:
        deadline = time.monotonic() + 30
        while (told := client.get("/health").json()) and (told["running"], told["waiting"]) != (running, waiting):
            assert time.monotonic() < deadline, told


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_finishes_what_runs_and_waits_and_takes_nothing_new(serve_apart, how: signal.Signals) -> None:
    served = serve_apart("fake=fake:", "--chain", "slow_chain:chain", "--running", "1")
    kept = httpx2.Client(base_url=served.address, timeout=30)
    replies: list[Any] = []
    with kept:
        assert kept.get("/health").status_code == 200
        threads = [asked(served.address, stream=True, found=replies)]
        until(served.address, 1, 0)
        threads.append(asked(served.address, stream=False, found=replies))
        until(served.address, 1, 1)
        served.process.send_signal(how)
        later: list[Any] = []
        while not any(isinstance(one, httpx2.ConnectError) for one in later):
            body = {"model": "fake", "messages": [{"role": "user", "content": "x"}]}
            for post in (kept.post, httpx2.post):
                address = "" if post == kept.post else served.address
                try:
                    later.append(post(f"{address}/v1/chat/completions", json=body, timeout=30))
                except httpx2.HTTPError as error:
                    later.append(error)
        for thread in threads:
            thread.join(60)
    taken = [one for one in later if isinstance(one, httpx2.Response)]
    assert {one.status_code for one in taken} <= {503}
    assert all(one.json()["error"]["code"] == "stopping" and one.headers["retry-after"] for one in taken)
    assert [getattr(one, "status_code", one) for one in replies] == [200, 200]
    streamed, whole = replies
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert streamed.text.count("word") == 12
    assert whole.json()["choices"][0]["message"]["content"].split() == WORDS.split()
    assert served.process.wait(10) in (0, -how, 128 + how)


def test_a_second_ctrl_c_ends_at_once(serve_apart) -> None:
    served = serve_apart("--chain", "slow_chain:chain")
    replies: list[Any] = []
    thread = asked(served.address, stream=True, found=replies)
    until(served.address, 1, 0)
    served.process.send_signal(signal.SIGINT)
    thread.join(0.3)
    served.process.send_signal(signal.SIGINT)
    served.process.wait(5)
    thread.join(60)


def test_keys_of_a_file_let_in_and_nothing_else_does(serve_apart, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# of the team\nalpha-key\n\n  beta-key  \n")
    served = serve_apart("fake=fake:", "--key-file", "keys", "--key", "gamma-key")

    def status(authorization: str | None) -> int:
        headers = {} if authorization is None else {"authorization": authorization}
        return httpx2.get(f"{served.address}/v1/models", headers=headers).status_code

    assert [status(f"Bearer {name}-key") for name in ("alpha", "beta", "gamma")] == [200, 200, 200]
    refused = [None, "Bearer", "Bearer # of the team", "Bearer alpha-keyy", "Bearer alpha", "alpha-key"]
    assert [status(one) for one in refused] == [401] * len(refused)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("# nothing\n\n", "holds no key; write one in each line"), (None, "no such file"), (b"\xff\xfe", "is not text")],
)
def test_a_file_of_keys_that_holds_none_is_refused(tmp_path: Path, text: str | bytes | None, reason: str) -> None:
    if text is not None:
        (tmp_path / "keys").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = CliRunner().invoke(cli, ["serve", "fake=fake:", "--key-file", str(tmp_path / "keys")])
    assert done.exit_code != 0
    assert reason in done.stderr.lower()
