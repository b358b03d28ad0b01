"""Which key goes to which host."""

from __future__ import annotations

import pytest

from chainkit.backends.openai.access import NO_KEY, find_access
from chainkit.backends.openai.services import OPENAI
from chainkit.base.errors import KeyWithheld, MissingKey
from chainkit.base.keys import store_key

FOREIGN = [
    "https://api.openai.com.evil.example/v1",
    "https://evil.example/api.openai.com/v1",
    "https://notapi.openai.com/v1",
    "https://evilapi.openai.com/v1",
    "https://api.openai.com:8443/v1",
    "http://api.openai.com/v1",  # no TLS: anyone on the way could read the key
    "https://8.8.8.8/v1",
    "https://openrouter.ai/api/v1",
    "https://api.openai.com./v1",
]
OWN = [
    "https://api.openai.com/v1",
    "https://API.openai.com/v1/",
    "https://api.openai.com:443/v1",
    "https://eu.api.openai.com/v1",
]
NEAR = [
    "http://localhost:8000/v1",
    "http://127.0.0.1:1/v1",
    "http://[::1]:1/v1",
    "http://192.168.1.7/v1",
    "http://ollama:11434/v1",
]


@pytest.fixture
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-found")


@pytest.mark.usefixtures("_found")
@pytest.mark.parametrize("url", OWN)
def test_a_key_that_was_found_goes_to_openai(url: str) -> None:
    access = find_access(OPENAI, url, None)
    assert (access.key, access.source, access.own) == ("sk-found", "OPENAI_API_KEY", True)


@pytest.mark.usefixtures("_found")
@pytest.mark.parametrize("url", FOREIGN)
def test_a_key_that_was_found_goes_to_no_other_host(url: str) -> None:
    with pytest.raises(KeyWithheld, match="api_key="):
        find_access(OPENAI, url, None)


@pytest.mark.usefixtures("_found")
@pytest.mark.parametrize("url", NEAR)
def test_a_service_of_ones_own_is_asked_without_a_key(url: str) -> None:
    assert find_access(OPENAI, url, None).key == NO_KEY


@pytest.mark.parametrize("url", [*FOREIGN, *OWN, *NEAR])
def test_a_key_that_was_given_goes_where_it_was_given_for(url: str) -> None:
    access = find_access(OPENAI, url, "sk-given")
    assert (access.key, access.source) == ("sk-given", "api_key")


@pytest.mark.usefixtures("_found")
def test_the_environment_may_choose_another_host_for_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example/v1")
    access = find_access(OPENAI, None, None)
    assert (access.base_url, access.key, access.own) == ("https://gateway.example/v1", "sk-found", False)


def test_the_environment_may_choose_a_service_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    assert find_access(OPENAI, None, None).key == NO_KEY


def test_a_given_key_wins_over_the_environment_and_that_over_a_stored_one(monkeypatch: pytest.MonkeyPatch) -> None:
    path = store_key("openai", "sk-stored")
    assert find_access(OPENAI, None, None).key == "sk-stored"
    assert find_access(OPENAI, None, None).source == str(path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-found")
    assert find_access(OPENAI, None, None).key == "sk-found"
    assert find_access(OPENAI, None, "sk-given").key == "sk-given"


def test_without_a_key_the_error_names_the_variable() -> None:
    with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
        find_access(OPENAI, None, None)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "ftp://localhost/v1",
        "http://",
        "http:///v1",
        "file:///etc/passwd",
        "https://user:sk-secret@host/v1",
        "https://api.openai.com@evil.example/v1",
        "https://api.openai.com\\@evil.example/v1",
        "https://api.openai.com\n.evil.example/v1",
        "https://host/v1?key=sk-secret",
        "https://host/v1#sk-secret",
        "http://host:port/v1",
        " ",
    ],
)
def test_an_address_that_is_no_plain_url_is_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        find_access(OPENAI, url, "sk-given")
    assert "sk-" not in str(caught.value)


def test_the_key_is_not_shown() -> None:
    assert "sk-given" not in repr(find_access(OPENAI, None, "sk-given"))
