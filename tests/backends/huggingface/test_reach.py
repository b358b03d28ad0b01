"""A model that is neither here nor to be had is told at once."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from pathlib import Path

import pytest

from chainkit.backends.huggingface.reach import require_reachable
from chainkit.base.errors import ModelFileError


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that refuses every connection, and an empty cache."""
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        port = once.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("unheard")
@pytest.mark.parametrize("name", ["nobody/nothing", "nothing"])
def test_a_hub_that_does_not_answer_is_asked_once(name: str) -> None:
    began = time.monotonic()
    with pytest.raises(
        ModelFileError, match=rf"{name}: is not a folder here, .* does not answer \(.*refused.*\); check the"
    ):
        require_reachable(name)
    assert time.monotonic() - began < 3


@pytest.mark.usefixtures("unheard")
@pytest.mark.parametrize("name", ["./missing", "/nowhere/missing", "~/missing-model", "missing/"])
def test_a_path_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(ModelFileError, match="there is no such folder"):
        require_reachable(name)


@pytest.mark.usefixtures("unheard")
def test_what_is_here_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require_reachable(str(tmp_path))
    kept = tmp_path / "models--sentence-transformers--kept"
    (kept / "snapshots" / "abc").mkdir(parents=True)
    (kept / "snapshots" / "abc" / "modules.json").write_text("[]")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    require_reachable("kept")
    require_reachable("sentence-transformers/kept")
    with pytest.raises(ModelFileError):
        require_reachable("kept", "another-branch")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    require_reachable("nobody/nothing")  # the library knows, and asks nobody


@pytest.mark.usefixtures("unheard")
def test_any_answer_of_the_hub_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:  # answers 501
        monkeypatch.setattr(server.RequestHandlerClass, "log_message", lambda *_: None)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        require_reachable("nobody/nothing")
        server.shutdown()
