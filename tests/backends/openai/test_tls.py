"""A line that cannot be trusted or found: real certificates, a real name server, a real proxy."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trustme

from chainkit.backends.openai import OpenAIChat, client
from chainkit.base.errors import ConnectionFailed
from chainkit.testing import OpenAIServer
from chainkit.testing.server.openai import running
from chainkit.testing.server.wire import HTTPAnswer, Server

SECRET = "sk-not-to-be-shown-123"
PAST = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Nobody trusts it yet."""
    return trustme.CA()


@pytest.fixture(autouse=True)
def fresh_trust(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is trusted is read once per process."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", *(n for p in ("http", "https", "all") for n in (f"{p}_proxy",))):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    client._tls.cache_clear()
    yield
    client._tls.cache_clear()


@contextmanager
def over_tls(authority: trustme.CA, *names: str, **particular: Any) -> Iterator[OpenAIServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **particular).configure_cert(context)
    with running(key=SECRET, tls=context) as server:
        yield server


def chat(base_url: str) -> OpenAIChat:
    return OpenAIChat(model="gpt-4o-mini", base_url=base_url, api_key=SECRET, max_retries=0)


def _stream(model: OpenAIChat) -> str:
    return "".join(chunk.text for chunk in model.stream("say:yes"))


def _ainvoke(model: OpenAIChat) -> str:
    return asyncio.run(model.ainvoke("say:yes")).text


WAYS = [lambda model: model.invoke("say:yes").text, _ainvoke, _stream]
every_way = pytest.mark.parametrize("way", WAYS, ids=["invoke", "ainvoke", "stream"])


def failed(way: Callable[[OpenAIChat], str], base_url: str) -> str:
    """What the error says; nothing that a traceback would print holds the key."""
    with pytest.raises(ConnectionFailed) as caught:
        way(chat(base_url))
    assert type(caught.value) is ConnectionFailed
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@every_way
def test_a_certificate_of_an_unknown_authority_says_how_to_trust_it(authority: trustme.CA, way: Any) -> None:
    with over_tls(authority, "127.0.0.1") as server:
        told = failed(way, server.base_url)
        assert server.requests == []  # the key was not sent
    assert "TLS failed" in told
    assert "SSL_CERT_FILE" in told


@every_way
def test_an_authority_that_is_named_is_trusted(
    authority: trustme.CA, way: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with over_tls(authority, "127.0.0.1") as server:
        assert way(chat(server.base_url)) == "yes"


@every_way
def test_an_expired_certificate_says_so(
    authority: trustme.CA, way: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with over_tls(authority, "127.0.0.1", not_before=PAST, not_after=PAST + datetime.timedelta(days=1)) as server:
        told = failed(way, server.base_url)
    assert "expired" in told
    assert "clock" in told


@every_way
def test_a_certificate_for_another_host_says_so(
    authority: trustme.CA, way: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with over_tls(authority, "other.example") as server:
        told = failed(way, server.base_url)
    assert "other host" in told or "another host" in told


@every_way
def test_a_server_without_tls_behind_https_says_so(openai_server: OpenAIServer, way: Any) -> None:
    told = failed(way, openai_server.base_url.replace("http:", "https:"))
    assert "http://" in told


@every_way
def test_a_name_that_does_not_exist_is_told(way: Any) -> None:
    told = failed(way, "http://no-such-host.invalid/v1")
    assert "no-such-host.invalid" in told
    assert "is the address right" in told


@every_way
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_named_without_its_password(
    way: Any, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", "http://user:pass-of-proxy@127.0.0.1:9")
    told = failed(way, f"{scheme}://service.example/v1")
    assert "proxy 127.0.0.1:9" in told
    assert f"{scheme}_proxy" in told
    assert "pass-of-proxy" not in told


@every_way
def test_a_proxy_that_refuses_is_told(way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Server(lambda request: HTTPAnswer(407, {"proxy-authenticate": "Basic"}, ()))
    proxy.start()
    try:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        told = failed(way, "https://service.example/v1")
    finally:
        proxy.stop()
    assert "407" in told
    assert f"proxy 127.0.0.1:{proxy.port}" in told
    assert SECRET not in repr(proxy.requests)
