"""A key goes to its host and shows up nowhere else."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any

import pytest
from langchain_core.load import dumps
from langchain_core.runnables import RunnableSequence
from langchain_core.tracers import BaseTracer
from pydantic import ValidationError

from chainkit.backends.openai import OpenAIChat, OpenAIEmbeddings, OpenAIModel
from chainkit.base.errors import KeyWithheld, MissingKey
from chainkit.testing.server import faults
from chainkit.testing.server.openai import OpenAIServer, running

SECRET = "Zq7-never-shown"  # not in the form of a key: only knowing it helps to leave it out
CLASSES = [OpenAIChat, OpenAIModel, OpenAIEmbeddings]


def shown(model: Any) -> str:
    texts = [repr(model), str(model), repr(vars(model)), repr(model.model_dump()), model.model_dump_json()]
    return "\n".join([*texts, dumps(model), repr(model.__pydantic_private__)])


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("given", [True, False])
def test_a_model_shows_no_key(kind: Any, given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not given:
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    model = kind(model="m", **({"api_key": SECRET} if given else {}))
    assert SECRET not in shown(model)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_used_model_shows_and_pickles_no_key(kind: Any) -> None:
    with running(key=SECRET) as server:
        model = kind(model="gpt-4o-mini", api_key=SECRET, base_url=server.base_url)
        ask = model.embed_query if kind is OpenAIEmbeddings else model.invoke
        ask("Hello")
        assert server.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
        assert SECRET not in shown(model)
        assert SECRET.encode() not in pickle.dumps(model)


def test_a_model_from_a_pickle_finds_the_key_where_it_is_then(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(key=SECRET) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        pickled = pickle.dumps(OpenAIChat(model="gpt-4o-mini", api_key=SECRET))
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        assert pickle.loads(pickled).invoke("say:yes").text == "yes"


def test_a_model_from_a_pickle_does_not_send_the_found_key_to_a_foreign_host(monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = pickle.dumps(OpenAIChat(model="m", api_key="sk-given", base_url="https://other.example/v1"))
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(KeyWithheld):
        pickle.loads(pickled).invoke("x")


def test_a_model_that_is_pointed_elsewhere_does_not_take_the_found_key_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    model = OpenAIChat(model="m")
    other = model.model_copy(update={"base_url": "https://other.example/v1"})
    with pytest.raises(KeyWithheld):
        other.invoke("x")
    model.base_url = "https://other.example/v1"
    with pytest.raises(KeyWithheld):
        model.invoke("x")


def test_a_service_of_ones_own_never_sees_the_found_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, SECRET)
    with running(key=None) as server:
        OpenAIChat(model="gpt-4o-mini", base_url=server.base_url).invoke("Hello")
        assert SECRET not in repr(server.requests[-1].headers)
        assert server.requests[-1].headers["authorization"] == "Bearer none"


def test_headers_may_not_hold_a_key() -> None:
    for name in ("Authorization", "api-key", "X-API-Key", "Cookie", "X-Auth-Token"):
        with pytest.raises(ValidationError, match="in the open") as caught:
            OpenAIChat(model="m", api_key="sk-test", headers={name: SECRET})
        assert SECRET not in str(caught.value)


def test_other_headers_are_sent(server: OpenAIServer) -> None:
    OpenAIChat(model="gpt-4o-mini", api_key=server.key, base_url=server.base_url, headers={"X-Title": "tests"}).invoke(
        "Hello"
    )
    assert server.requests[-1].headers["x-title"] == "tests"


def test_a_missing_key_is_told_when_the_model_is_made() -> None:
    for kind in CLASSES:
        with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
            kind(model="m")


class Everything(BaseTracer):
    """A tracer that keeps all it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[str] = []

    def _persist_run(self, run: Any) -> None:
        self.runs.append(repr(run) + repr(vars(run)))


def test_traces_and_logs_hold_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tracer = Everything()
    with running(key=SECRET) as server:
        model = OpenAIChat(model="gpt-4o-mini", api_key=SECRET, base_url=server.base_url, max_retries=0)
        chain = RunnableSequence(lambda text: text, model)
        chain.invoke("Hello", config={"callbacks": [tracer]})
        server.fail(faults.error(401, f"Incorrect API key provided: {SECRET}"))
        with pytest.raises(Exception, match="401"):
            chain.invoke("Hello", config={"callbacks": [tracer]})
        server.fail(faults.error(400, f"Your key {SECRET} is not allowed to"))
        with pytest.raises(Exception, match="400"):
            chain.invoke("Hello", config={"callbacks": [tracer]})
    assert len(tracer.runs) == 3
    assert SECRET not in "".join(tracer.runs)
    assert SECRET not in caplog.text


def test_copies_keep_the_key(server: OpenAIServer) -> None:
    model = OpenAIChat(model="gpt-4o-mini", api_key=server.key, base_url=server.base_url)
    assert copy.deepcopy(model).invoke("say:yes").text == "yes"
