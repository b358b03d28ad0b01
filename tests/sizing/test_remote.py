"""Headers read from a server by ranges: the same plan as from the file, for a small part of its bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainkit.base.errors import ConnectionFailed, ModelFileError
from chainkit.sizing import folder_model, gguf_model, remote, remote_gguf, remote_transformers
from chainkit.sizing.header import Beyond, parse_start, read_header
from tests.hub.server import Hub, serve
from tests.sizing.test_plan import DEMO, folder

REPO = "org/model"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub(repos={REPO: {}})) as server:
        yield server


def address(hub: Hub, name: str) -> str:
    return f"{hub.address}/{REPO}/resolve/main/{name}"


def test_a_gguf_on_a_server_is_the_model_of_its_file(hub: Hub) -> None:
    hub.repos[REPO]["demo.gguf"] = DEMO.read_bytes()
    far, near = remote_gguf([address(hub, "demo.gguf")]), gguf_model(DEMO)
    assert (far.weights, far.layers, far.vocabulary, far.merges) == (
        near.weights,
        near.layers,
        near.vocabulary,
        near.merges,
    )
    assert [span for _, span in hub.downloads()] == ["bytes=0-1048575"]


def test_a_long_header_is_fetched_in_growing_pieces(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST", 1000)
    hub.repos[REPO]["demo.gguf"] = DEMO.read_bytes()
    assert remote_gguf([address(hub, "demo.gguf")]).parameters == gguf_model(DEMO).parameters
    spans = [span for _, span in hub.downloads()]
    assert spans[:3] == ["bytes=0-999", "bytes=1000-3999", "bytes=4000-15999"]
    assert len(spans) < 6


def test_any_beginning_of_a_header_is_known_to_be_one(tmp_path: Path) -> None:
    data, size = DEMO.read_bytes(), DEMO.stat().st_size
    whole = read_header(DEMO)
    for length in [*range(4, 200), *range(200, whole.data_offset - 64, 997)]:
        with pytest.raises(Beyond):
            parse_start(Path("x"), data[:length], size)
    found = parse_start(Path("x"), data[: whole.data_offset], size)
    assert dict(found.entries) == dict(whole.entries)
    assert found.array("tokenizer.ggml.tokens") == whole.array("tokenizer.ggml.tokens")


def test_a_folder_on_a_server_is_the_model_of_its_files(hub: Hub, tmp_path: Path) -> None:
    near = folder_model(folder(tmp_path))
    hub.repos[REPO] = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    far = remote_transformers(REPO, lambda name: address(hub, name), list(hub.repos[REPO]))
    assert (far.weights, far.layers) == (near.weights, near.layers)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>login</html>", "is a web page"),
        (b"GGUF", "cut short"),
        (b"", "is empty"),
        (DEMO.read_bytes()[:3000], "more than the file has"),
    ],
)
def test_what_is_no_model_is_named(hub: Hub, content: bytes, reason: str) -> None:
    hub.repos[REPO]["x.gguf"] = content
    with pytest.raises(ModelFileError, match=reason):
        remote_gguf([address(hub, "x.gguf")])


def test_refusals_say_what_to_do(hub: Hub) -> None:
    with pytest.raises(ModelFileError, match="is not there"):
        remote_gguf([address(hub, "nothing.gguf")])
    hub.gated.add(REPO)
    with pytest.raises(ModelFileError, match="HF_TOKEN"):
        remote_gguf([address(hub, "x.gguf")])
    with pytest.raises(ConnectionFailed, match=r"no answer from 127\.0\.0\.1:9"):
        remote_gguf(["http://127.0.0.1:9/x.gguf"])
    with pytest.raises(ModelFileError, match="not the address"):
        remote_gguf(["file:///etc/passwd"])


def test_the_token_is_not_sent_to_where_the_hub_sends_us(hub: Hub, other_host: str) -> None:
    hub.repos[REPO]["demo.gguf"] = DEMO.read_bytes()
    here, hub.address = address(hub, "demo.gguf"), hub.address.replace("127.0.0.1", other_host)
    remote_gguf([here], token=hub.token)
    assert [(path.startswith("/cdn/"), told) for _, path, _, told in hub.requests] == [
        (False, f"Bearer {hub.token}"),
        (True, ""),
    ]


def test_settings_that_are_no_json_are_named(hub: Hub) -> None:
    hub.repos[REPO]["config.json"] = b"{oops"
    with pytest.raises(ModelFileError, match="org/model/config.json: is not JSON"):
        remote_transformers(REPO, lambda name: address(hub, name), ["config.json"])
    hub.repos[REPO]["config.json"] = json.dumps({"hidden_size": 8}).encode()
    with pytest.raises(ModelFileError, match="no safetensors"):
        remote_transformers(REPO, lambda name: address(hub, name), ["config.json"])
