"""A key that came in by any way goes out by none: one table of ways in, of failures, and of what is shown of them."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import BaseTracer
from pydantic import ValidationError

import chainkit
from chainkit.backends.openai import OpenAIChat, OpenAIEmbeddings, OpenAIModel
from chainkit.base.errors import ChainkitError
from chainkit.base.keys import store_key
from chainkit.chains.map_reduce import summarise
from chainkit.cli.main import cli
from tests.canaries import CANARY, FAULTS, Echoing, Everything, Shown


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> Shown:
    caplog.set_level(logging.DEBUG)
    return Shown(caplog)


def environment(monkeypatch: pytest.MonkeyPatch, address: str) -> dict[str, Any]:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    return {}


def dotenv(monkeypatch: pytest.MonkeyPatch, address: str) -> dict[str, Any]:
    from chainkit.base import keys

    Path(keys.ENV_FILE).write_text(f"OPENAI_API_KEY={CANARY}\n")
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    return {}


def file(monkeypatch: pytest.MonkeyPatch, address: str) -> dict[str, Any]:
    store_key("openai", CANARY)
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    return {}


def option(monkeypatch: pytest.MonkeyPatch, address: str) -> dict[str, Any]:
    return {"api_key": CANARY, "base_url": address}


def spec(monkeypatch: pytest.MonkeyPatch, address: str) -> dict[str, Any]:
    return {"spec": f"openai:gpt-3.5-turbo-instruct?api_key={CANARY.replace('+', '%2B')}&base_url={address}"}


WAYS_IN = [environment, dotenv, file, option, spec]
KINDS = {"chat": chainkit.chat_model, "text": chainkit.llm, "embeddings": chainkit.embeddings}


def made(kind: str, given: dict[str, Any]) -> Any:
    return KINDS[kind](given.get("spec", "openai:gpt-3.5-turbo-instruct"), max_retries=0, **without_spec(given))


def without_spec(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "spec"}


def uses(model: Any, tracer: BaseTracer) -> list[Callable[[], object]]:
    """Every way to ask a model."""
    if isinstance(model, Embeddings):
        return [
            lambda: model.embed_query("Hello"),
            lambda: model.embed_documents(["Hello", "you"]),
            lambda: asyncio.run(model.aembed_query("Hello")),
        ]
    config: Any = {"callbacks": [tracer]}
    chain = RunnableLambda(str) | model

    async def astream() -> list[Any]:
        return [chunk async for chunk in chain.astream("Hello", config)]

    return [
        lambda: chain.invoke("Hello", config),
        lambda: asyncio.run(chain.ainvoke("Hello", config)),
        lambda: list(chain.stream("Hello", config)),
        lambda: asyncio.run(astream()),
    ]


FAST = [(option, "chat"), (spec, "embeddings")]
EACH = [
    pytest.param(way, kind, marks=() if (way, kind) in FAST else pytest.mark.slow) for way in WAYS_IN for kind in KINDS
]


@pytest.mark.parametrize(("way", "kind"), EACH)
def test_no_failure_of_a_service_shows_a_key(
    way: Callable[..., dict[str, Any]], kind: str, shown: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tracer = Everything()
    with Echoing() as server, chainkit.trace(tmp_path / "trace.sqlite") as trace:
        model = made(kind, way(monkeypatch, server.address))
        shown.model(model)
        for server.answer in FAULTS.values():
            for work in uses(model, tracer):
                shown.runs(work)
        shown.model(model)
    shown.add("trace", f"{trace} {trace.steps!r}")
    if trace.steps:
        shown.add("file of traces", (tmp_path / "trace.sqlite").read_bytes().decode("latin-1"))
    shown.add("memory of the tracer", "\n".join(tracer.told))
    assert shown.errors > 30
    assert shown.found() == []


def refused_header(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.chat_model("openai:m", api_key="sk-other", headers={"Authorization": f"Bearer {CANARY}"})


def header_in_spec(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.chat_model(f'openai:m?headers={{"X-Api-Key":"{CANARY}"}}')


def address(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.chat_model("openai:m", base_url=f"https://ada:{CANARY}@example.org/v1")


def query_of_address(monkeypatch: pytest.MonkeyPatch) -> Any:
    return OpenAIChat(model="m", api_key="sk-other", base_url=f"https://example.org/v1?key={CANARY}")


def address_in_environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://ada:{CANARY}@example.org/v1")
    return chainkit.embeddings("openai:m")


def unsendable(monkeypatch: pytest.MonkeyPatch) -> Any:
    if sys.getfilesystemencoding() != "utf-8":
        pytest.skip("no environment variable can hold it here")
    monkeypatch.setenv("OPENAI_API_KEY", f"{CANARY}\u00e4")
    return chainkit.chat_model("openai:m")


def two_lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    return OpenAIEmbeddings(model="m", api_key=f"{CANARY}\n{CANARY}")


def wrong_option(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.llm(f"openai:gpt-3.5-turbo-instruct?api_key={CANARY}&temprature=0")


def wrong_value(monkeypatch: pytest.MonkeyPatch) -> Any:
    return OpenAIModel(model="m", api_key=CANARY, temperature="hot")


def key_in_name(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.chat_model(f"openai:api_key={CANARY}")


def no_provider(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.chat_model(f"opnai:m?api_key={CANARY}")


def text_of_a_chain(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.chain(RunnableLambda(str), f"openai:m?api_key={CANARY}&temprature=0")


def text_of_a_fallback(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.fallback("fake:a", f"openai:m?api_key={CANARY}&temprature=0")


def text_of_a_map(monkeypatch: pytest.MonkeyPatch) -> Any:
    return summarise(f"openai:m?api_key={CANARY}&temprature=0")


def text_of_a_program(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.program("{{gen 'a'}}", f"openai:m?api_key={CANARY}&temprature=0")


def text_of_vectors(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.search("a", ["b", "c"], embeddings=f"openai:m?api_key={CANARY}&temprature=0")


def text_of_groups(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.clusters(["a", "b", "c"], embeddings=f"openai:m?api_key={CANARY}&temprature=0")


def text_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.ask("what?", ["docs"], model=f"openai:m?api_key={CANARY}&temprature=0")


def proxy(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("http_proxy", f"http://ada:{CANARY.replace('/', '%2F')}@127.0.0.1:9")
    return OpenAIChat(model="m", api_key="sk-x", base_url="http://example.org/v1", max_retries=0).invoke("x")


def proxy_of_no_scheme(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("http_proxy", f"bad://ada:{CANARY.replace('/', '%2F')}@127.0.0.1:9")
    return OpenAIChat(model="m", api_key="sk-x", base_url="http://example.org/v1", max_retries=0).invoke("x")


def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.ask("what?", [f"http://ada:{CANARY.replace('/', '%2F')}@127.0.0.1:9/?token={CANARY}"])


def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    return chainkit.Index(f"postgresql://ada:{CANARY.replace('/', '%2F')}@127.0.0.1:9/d?collection=x&bad=1")


def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    from chainkit.hub.names import HubName
    from chainkit.hub.repository import look_up

    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with Echoing() as server:
        server.answer = FAULTS["401"]
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        return look_up(HubName("a/b"))


def header_of_a_file(monkeypatch: pytest.MonkeyPatch) -> Any:
    from chainkit.sizing.remote import remote_gguf

    with Echoing() as server:
        server.answer = FAULTS["401"]
        return remote_gguf([f"{server.address}/x.gguf"], token=CANARY)


OTHER_WAYS = [
    value for name, value in list(globals().items()) if getattr(value, "__annotations__", {}) == hub.__annotations__
]


@pytest.mark.parametrize("way", OTHER_WAYS, ids=lambda way: way.__name__)
def test_what_is_refused_shows_no_key(way: Callable[..., Any], shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    shown.runs(lambda: way(monkeypatch))
    assert isinstance(shown.error, ChainkitError | ValidationError), shown.error
    assert shown.found() == []


CRASH = """
import faulthandler, sys, threading
import chainkit
from chainkit.testing.server.wire import HTTPAnswer, Server

def answer(request):
    faulthandler.dump_traceback(all_threads=True)  # as in a crash, in the midst of a call
    return HTTPAnswer(401, {"content-type": "text/plain"}, (request.headers["authorization"].encode(),))

server = Server(answer)
server.start()
model = chainkit.chat_model(f"openai:m?api_key={sys.argv[1]}&base_url=http://127.0.0.1:{server.port}/v1")
try:
    model.invoke("Hello")
finally:
    server.stop()
"""


@pytest.mark.slow
def test_a_program_that_crashes_writes_no_key() -> None:
    key = CANARY.replace("+", "-")  # percent-encoding is another test
    command = [sys.executable, "-X", "faulthandler", "-X", "dev", "-c", CRASH, key]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "Current thread" in done.stderr
    assert "AuthenticationFailed" in done.stderr
    assert key not in done.stderr + done.stdout


@pytest.mark.parametrize("debug", [pytest.param([], marks=pytest.mark.slow), ["--debug"]])
def test_the_command_line_writes_no_key(debug: list[str], monkeypatch: pytest.MonkeyPatch, shown: Shown) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with Echoing() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        for server.answer in FAULTS.values():
            given = f"openai:m?max_retries=0&api_key={CANARY.replace('+', '%2B')}&base_url={server.address}"
            for spec in ("openai:m?max_retries=0", given):
                result = CliRunner().invoke(cli, ["chat", "--model", spec, "-m", "Hello", *debug])
                shown.add("command line", result.output)
    assert shown.found() == []
