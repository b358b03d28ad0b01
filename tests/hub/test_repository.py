"""Whatever a hub answers is read or named, and none of it makes a path outside the models folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from huggingface_hub import close_session
from hypothesis import given
from hypothesis import strategies as st

from chainkit.base.errors import ChainkitError, ConnectionFailed, ProviderError, SpecError
from chainkit.hub.choice import chosen
from chainkit.hub.names import HubName
from chainkit.hub.repository import look_up
from chainkit.testing.server.wire import HTTPAnswer, Server
from tests.seams import seam

NAME = HubName("org/model")
GOOD = {"rfilename": "m.gguf", "size": 9, "blobId": "a" * 40, "lfs": {"sha256": "b" * 64, "size": 9, "pointerSize": 1}}


@contextmanager
def hub(body: bytes, kind: str = "application/json") -> Iterator[Server]:
    server = Server(lambda request: HTTPAnswer(200, {"content-type": kind}, (body,)))
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
        patch.setenv("HF_HUB_OFFLINE", "0")
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        try:
            yield server
        finally:
            server.stop()


def about(*files: Any, **fields: Any) -> bytes:
    return json.dumps({"id": "org/model", "sha": "c" * 40, "siblings": list(files), **fields}).encode()


def test_a_good_answer_is_read() -> None:
    with hub(about(GOOD)):
        (file,) = look_up(NAME).files
    assert (file.name, file.size, file.sha256, file.git_sha1) == ("m.gguf", 9, "b" * 64, "a" * 40)


@pytest.mark.parametrize(
    "change",
    [
        {"lfs": {"sha256": "../../../../x", "size": 9, "pointerSize": 1}},
        {"blobId": "../../../../x"},
        {"blobId": "A" * 40},
        {"size": "x"},
        {"size": -1},
        {"rfilename": 5},
    ],
)
def test_a_file_that_is_described_oddly_is_named(change: dict[str, Any]) -> None:
    with hub(about({**GOOD, **change})), pytest.raises(ProviderError, match="does not answer as a hub does"):
        look_up(NAME)


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"{", b"[]", b'"x"', b"7", b"[" * 100_000, b"\xff\xfe"])
def test_an_answer_that_is_no_hubs_is_named(body: bytes) -> None:
    with hub(body, "text/html"), pytest.raises(ProviderError, match="does not answer as a hub does"):
        look_up(NAME)


@pytest.mark.parametrize(
    "name", ["a" * 300 + ".gguf", "../m.gguf", "/m.gguf", "a\n.gguf", ".chainkit/m.gguf", "c:m.gguf"]
)
def test_a_name_that_cannot_be_a_file_here_is_left_out(name: str) -> None:
    with hub(about({**GOOD, "rfilename": name}, GOOD)):
        assert [file.name for file in look_up(NAME).files] == ["m.gguf"]


def test_a_proxy_for_everything_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(about(GOOD)) as server:
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        close_session()  # huggingface_hub looks at the environment once
        with pytest.raises(ConnectionFailed):
            look_up(NAME)
        assert server.requests == []
    close_session()


def test_a_hundred_thousand_files_are_listed_in_part() -> None:
    files = [{**GOOD, "rfilename": f"m{number}.gguf"} for number in range(30_000)]
    with hub(about(*files)):
        found = look_up(NAME).files
    with pytest.raises(SpecError) as caught:
        chosen(found, NAME)
    assert len(str(caught.value)) < 4_000
    assert "more" in str(caught.value)


FIELDS = ["rfilename", "size", "lfs", "sha256", "blobId", "id", "sha"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(["", "x", "main", "a" * 40]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def babbling() -> Iterator[list[bytes]]:
    said = [b"{}"]
    server = Server(lambda request: HTTPAnswer(200, {"content-type": "application/json"}, (said[0],)))
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
        patch.setenv("HF_HUB_OFFLINE", "0")
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield said
    server.stop()


@seam
@given(siblings=JSON, fields=st.dictionaries(st.sampled_from(["id", "sha", "tags", "gated", "cardData"]), JSON))
def test_any_json_is_read_or_named(babbling: list[bytes], siblings: Any, fields: dict[str, Any]) -> None:
    babbling[0] = json.dumps({**fields, "siblings": siblings}).encode()
    with suppress(ChainkitError):
        look_up(NAME)
