"""Partner packages behind chainkit's specs, keys and errors; stand-ins, and the packages where installed."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import logging
import pickle
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from pydantic import BaseModel, ConfigDict, Field, SecretStr

import chainkit
from chainkit.backends.partners import PARTNERS, Partner
from chainkit.base.errors import (
    AuthenticationFailed,
    BadRequest,
    KeyWithheld,
    MissingKey,
    MissingLibrary,
    RateLimited,
    ServerFailed,
    SpecError,
)
from chainkit.base.keys import KEY_VARIABLES, store_key
from chainkit.registry import CHAT_MODELS, EMBEDDINGS
from chainkit.testing.server.wire import HTTPAnswer, Server
from tests.canaries import CANARY, FAULTS, Echoing, Shown

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
each = pytest.mark.parametrize("partner", PARTNERS, ids=lambda partner: partner.name)
made: list[str] = []


class Chat(FakeListChatModel):
    """Has the options that matter of ChatAnthropic: the key and the address behind an alias."""

    model_config = ConfigDict(populate_by_name=True, extra="ignore")

    responses: list[str] = Field(default_factory=lambda: ["made"])
    model: str = Field(alias="model_name")
    anthropic_api_key: SecretStr = Field(default=SecretStr(""), alias="api_key")
    anthropic_api_url: str | None = Field(default=None, alias="base_url")
    temperature: float = 1.0

    def model_post_init(self, context: Any) -> None:
        made.append(self.model)


class Vectors(BaseModel, Embeddings):
    """Has the options that matter of CohereEmbeddings: a key with a name of its own."""

    model_config = ConfigDict(extra="forbid")

    model: str
    cohere_api_key: SecretStr | None = None
    base_url: str | None = None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0]


class Cloud(BaseModel, Embeddings):
    """Has the options that matter of BedrockEmbeddings: another word for the model, and no key."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_id: str
    endpoint_url: str | None = None
    region_name: str | None = None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0]


@pytest.fixture(autouse=True)
def stand_ins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    made.clear()
    if "slow" in request.keywords:
        return
    for package, name, stand_in in (
        ("langchain_anthropic", "ChatAnthropic", Chat),
        ("langchain_cohere", "CohereEmbeddings", Vectors),
        ("langchain_aws", "BedrockEmbeddings", Cloud),
    ):
        module = ModuleType(package)
        setattr(module, name, stand_in)
        monkeypatch.setitem(sys.modules, package, module)
    monkeypatch.setitem(sys.modules, "langchain_google_genai", None)  # as if it were not installed


def test_the_key_that_was_found_is_passed_as_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "found")
    model = chainkit.chat_model("anthropic:claude?temperature=0")
    assert isinstance(model, Chat)
    assert (model.model, model.temperature, model.anthropic_api_key.get_secret_value()) == ("claude", 0.0, "found")
    assert "found" not in repr(model)
    assert model.invoke("x").content == "made"


def test_a_stored_key_is_passed_under_the_name_that_the_class_has_for_it() -> None:
    store_key("cohere", "stored")
    model = chainkit.embeddings("cohere:embed-v4.0")
    assert isinstance(model, Vectors)
    assert model.cohere_api_key == SecretStr("stored")


@pytest.mark.parametrize("option", [{"api_key": "given"}, {"api_key": SecretStr("given")}, {"cohere_api_key": "given"}])
def test_a_key_that_was_given_wins(option: dict[str, Any]) -> None:
    store_key("cohere", "stored")
    model = chainkit.embeddings("cohere:embed-v4.0", **option)
    assert isinstance(model, Vectors)
    assert model.cohere_api_key == SecretStr("given")


def test_a_missing_key_names_its_variables_before_the_model_is_made() -> None:
    with pytest.raises(MissingKey, match="for anthropic: set ANTHROPIC_API_KEY"):
        chainkit.chat_model("anthropic:claude")
    assert not made
    with pytest.raises(MissingKey, match="CO_API_KEY or COHERE_API_KEY"):
        chainkit.embeddings("cohere:embed-v4.0")


def test_the_key_of_one_provider_is_none_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    monkeypatch.setenv("COHERE_API_KEY", "theirs")
    with pytest.raises(MissingKey):
        chainkit.chat_model("anthropic:claude")


@pytest.mark.parametrize("option", ["base_url", "anthropic_api_url"])
def test_a_key_that_was_found_goes_to_no_other_address(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "found")
    with pytest.raises(KeyWithheld, match=option) as caught:
        chainkit.chat_model(f"anthropic:claude?{option}=https://example.org")
    assert "found" not in str(caught.value).replace("not found", "")
    assert not made
    model = chainkit.chat_model(f"anthropic:claude?{option}=https://example.org", api_key="its-own")
    assert isinstance(model, Chat)
    assert model.anthropic_api_key.get_secret_value() == "its-own"


def test_credentials_that_nobody_sees_follow_no_address() -> None:
    model = chainkit.embeddings("bedrock:titan?region_name=eu-west-1")
    assert isinstance(model, Cloud)
    assert (model.model_id, model.region_name) == ("titan", "eu-west-1")
    with pytest.raises(SpecError, match="bedrock has no option 'endpoint_url'"):
        chainkit.embeddings("bedrock:titan?endpoint_url=https://example.org")


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingLibrary, match=r"langchain_google_genai is not installed.*chainkit\[google\]"):
        chainkit.chat_model("gemini:gemini-flash-latest")


def test_options_are_checked_as_those_of_chainkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "found")
    with pytest.raises(SpecError, match="anthropic has no option 'temprature'; did you mean 'temperature'"):
        chainkit.chat_model("anthropic:claude?temprature=0")
    with pytest.raises(SpecError, match="anthropic: option 'temperature'"):
        chainkit.chat_model("anthropic:claude?temperature=hot")
    with pytest.raises(SpecError, match="anthropic needs the name of a model"):
        chainkit.chat_model("anthropic:")


@each
def test_every_partner_has_an_extra_with_its_package_and_a_row(partner: Partner) -> None:
    package = partner.package.replace("_", "-")
    assert [item for item in EXTRAS[partner.extra] if item.startswith(package)]
    rows = [row for table in (CHAT_MODELS, EMBEDDINGS) if (row := table.get(partner.provider))]
    module = importlib.import_module("chainkit.backends.partners")
    assert partner in [getattr(module, row.partition(":")[2]) for row in rows]
    assert bool(partner.key_option) == (partner.provider in KEY_VARIABLES)


@pytest.mark.slow
@each
def test_every_row_points_at_a_class_of_the_released_package(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec(partner.package) is None:
        pytest.skip(f"{partner.package} is not installed")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):  # else boto3 asks the network for credentials
        monkeypatch.setenv(variable, "not-a-real-one")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that these packages import
        found = partner.load()
        assert issubclass(found, BaseChatModel if partner.name.startswith("Chat") else Embeddings)
        names = {name for key, field in found.model_fields.items() for name in (key, field.alias)}
        assert {partner.key_option or partner.model_option, partner.model_option, *partner.address_options} <= names
        place = {"region_name": "us-east-1"} if partner.provider == "bedrock" else {"api_key": "sk-not-a-real-one"}
        model = partner(model="amazon.nova-lite-v1:0", **place)
    assert isinstance(model, found)
    assert "not-a-real-one" not in repr(model)


PATHS = {
    "ChatAnthropic": "/v1/messages",
    "ChatBedrockConverse": "/model/a-model/converse",
    "BedrockEmbeddings": "/model/a-model/invoke",
    "ChatCohere": "/v2/chat",
    "CohereEmbeddings": "/v1/embed",
    "ChatGoogleGenerativeAI": "/models/a-model:generateContent",
    "GoogleGenerativeAIEmbeddings": "/models/a-model:batchEmbedContents",
}


@contextmanager
def recording() -> Iterator[Server]:
    """A service that refuses everything; what the packages leave open is collected before it ends."""
    server = Server(lambda request: REFUSED)
    server.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages, and of libraries that they import
        try:
            yield server
        finally:
            gc.collect()
            server.stop()


REFUSED = HTTPAnswer(400, {"content-type": "application/json"}, (b'{"message": "no", "error": {"message": "no"}}',))


@pytest.mark.slow
@each
def test_the_released_package_sends_the_key_and_the_text_where_its_service_is(
    partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(partner.package) is None:
        pytest.skip(f"{partner.package} is not installed")
    key = "Zq7-not-a-real-one"
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, key)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # some packages repeat what was refused, for long
    with recording() as server:
        address = f"http://127.0.0.1:{server.port}"
        if partner.key_option:
            model = partner(model="a-model", api_key=key, base_url=address)
        else:
            model = partner.load()(**{partner.model_option: "a-model"}, region_name="x", endpoint_url=address)
        with pytest.raises(Exception):  # noqa: B017, PT011 - each package has its own
            (model.invoke if isinstance(model, BaseChatModel) else model.embed_query)("Hello")
        del model
    request = server.requests[0]
    assert request.method == "POST"
    assert request.path.split("?")[0].endswith(PATHS[partner.name])
    assert b"Hello" in request.body
    told = request.headers.get("authorization") or request.headers["x-goog-api-key"]
    assert told in (f"Bearer {key}", key) or told.startswith(f"AWS4-HMAC-SHA256 Credential={key}/")


@pytest.mark.slow
def test_the_limit_on_new_tokens_has_the_same_name_for_cohere() -> None:
    pytest.importorskip("langchain_cohere")
    with recording() as server:
        address = f"http://127.0.0.1:{server.port}"
        model = chainkit.chat_model("cohere:command?max_tokens=7&timeout=5", api_key="k" * 9, base_url=address)
        for options in ({}, {"max_tokens": 9}):
            with pytest.raises(Exception):  # noqa: B017, PT011 - the package's own
                model.invoke("x", **options)
            with pytest.raises(Exception):  # noqa: B017, PT011 - likewise
                list(model.stream("x", **options))
        del model
    assert [request.json["max_tokens"] for request in server.requests] == [7, 7, 9, 9]


def asked(model: Any) -> list[Callable[[], object]]:
    """Every way to ask a model."""
    if not isinstance(model, BaseChatModel):
        return [
            lambda: model.embed_query("Hello"),
            lambda: model.embed_documents(["Hello"]),
            lambda: asyncio.run(model.aembed_query("Hello")),
        ]

    async def astream() -> list[Any]:
        return [chunk async for chunk in model.astream("Hello")]

    return [
        lambda: model.invoke("Hello"),
        lambda: asyncio.run(model.ainvoke("Hello")),
        lambda: list(model.stream("Hello")),
        lambda: asyncio.run(astream()),
    ]


def once(partner: Partner) -> dict[str, int]:
    """No repeats, where the class can leave them out."""
    return {"max_retries": 1 if partner.provider == "google" else 0} if "max_retries" in partner.model_fields else {}


@pytest.mark.slow
@each
def test_no_failure_of_a_package_shows_a_key(
    partner: Partner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if importlib.util.find_spec(partner.package) is None:
        pytest.skip(f"{partner.package} is not installed")
    caplog.set_level(logging.DEBUG)
    shown = Shown(caplog)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "its-name-is-no-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    at_once = asyncio.sleep
    monkeypatch.setattr("asyncio.sleep", lambda seconds, *rest: at_once(0, *rest))
    kinds: set[type[BaseException]] = set()
    with warnings.catch_warnings(), Echoing() as server:
        warnings.simplefilter("ignore")
        address = server.address.removesuffix("/v1")
        for server.answer in FAULTS.values():
            place = {"api_key": CANARY, "base_url": address}
            if not partner.key_option:
                place = {"region_name": "x", "endpoint_url": address}
            model = partner(model="a-model", **place, **once(partner))
            shown.model(model)
            for work in asked(model):
                shown.error = None
                shown.runs(work)
                kinds.add(type(shown.error))
        del model
        gc.collect()
    assert {AuthenticationFailed, BadRequest, RateLimited, ServerFailed} <= kinds, kinds
    assert shown.found() == []


@pytest.mark.slow
@each
def test_a_pickle_of_a_package_s_model_holds_no_key_and_looks_for_it_again(
    partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(partner.package) is None:
        pytest.skip(f"{partner.package} is not installed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv(KEY_VARIABLES.get(partner.provider, ("UNUSED",))[0], CANARY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = partner(model="a-model", **({} if partner.key_option else {"region_name": "x"}))
        data = pickle.dumps(model)
        assert CANARY.encode() not in data
        again = pickle.loads(data)
    assert type(again) is type(model)
    assert getattr(again, partner.model_option) == getattr(model, partner.model_option)
