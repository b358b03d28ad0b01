"""Pulls from a hub on loopback: resumed, compared with their hash, refused with a name."""

from __future__ import annotations

import hashlib
import json
import threading
import time

import pytest

from chainkit.base.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ModelFileError,
    ModelNotFound,
    PermissionDenied,
    StreamBroken,
    StreamStalled,
    Unsupported,
)
from chainkit.hub.choice import chosen
from chainkit.hub.download import download
from chainkit.hub.local import folder_of, local_models, pulled_gguf, record
from chainkit.hub.names import HubName
from chainkit.hub.repository import look_up
from tests.hub.server import COMMIT, Hub

NAME = HubName.parse("org/model:Q8_0")
DATA = b"GGUF" + bytes(range(256)) * 100


@pytest.fixture(autouse=True)
def stocked(hub: Hub) -> None:
    hub.repos["org/model"] = {"README.md": b"hello", "model.Q8_0.gguf": DATA, "model.Q4_0.gguf": DATA[:9000]}


def pull(name: HubName = NAME, progress=None) -> list[str]:
    repository = look_up(name)
    return [str(path) for path in download(repository, chosen(repository.files, name).files, progress)]


def leftovers() -> list[str]:
    return [path.name for path in folder_of("org/model").rglob("*") if path.is_file() and path.suffix != ".gguf"]


def test_a_pulled_file_is_whole_and_found_by_its_short_name(hub: Hub) -> None:
    (path,) = pull()
    assert folder_of("org/model").joinpath("model.Q8_0.gguf").read_bytes() == DATA
    assert pulled_gguf("org/model:Q8_0") == pulled_gguf("org/model") == folder_of("org/model") / "model.Q8_0.gguf"
    assert record("org/model")["model.Q8_0.gguf"] == {
        "size": len(DATA),
        "hash": hashlib.sha256(DATA).hexdigest(),
        "commit": COMMIT,
    }
    assert [(str(one.path), one.size) for one in local_models()] == [(path, len(DATA))]
    assert leftovers() == [".pulled.json"]


def test_what_is_here_is_not_fetched_again(hub: Hub) -> None:
    pull()
    before = len(hub.downloads())
    pull()
    assert len(hub.downloads()) == before == 1


def test_a_broken_download_goes_on_where_it_stopped(hub: Hub) -> None:
    hub.cut_after = 10_000
    with pytest.raises(StreamBroken, match=r"model\.Q8_0\.gguf; pull again"):
        pull()
    with pytest.raises(ModelFileError, match="chainkit pull org/model:Q8_0"):
        pulled_gguf("org/model:Q8_0")  # no half file is taken for a model
    hub.cut_after = None
    hub.requests.clear()
    told: list[int] = []
    pull(progress=lambda done, total, doing: told.append(done))
    assert hub.downloads() == [("/cdn/org/model/model.Q8_0.gguf", "bytes=10000-")]
    assert told[0] == 10_000
    assert told[-1] == len(DATA)
    assert told == sorted(told)
    assert pulled_gguf("org/model").read_bytes() == DATA
    assert leftovers() == [".pulled.json"]


def test_a_line_that_breaks_now_and_then_is_mended_without_a_word(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.cut_after = 10_000
    monkeypatch.setattr(
        "huggingface_hub.file_download.time", type("T", (), {"sleep": lambda seconds: setattr(hub, "cut_after", None)})
    )
    pull()
    assert pulled_gguf("org/model").read_bytes() == DATA
    assert [span for _, span in hub.downloads()] == ["", "bytes=10000-"]


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_hub_that_drips_is_left_in_time_and_gone_on_with(
    hub: Hub, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainkit.hub.download._SILENT_SECONDS", 0.5)
    hub.drips = part
    begun = time.monotonic()
    with pytest.raises(StreamStalled, match=r"of model\.Q8_0\.gguf came in 0\.5 seconds; pull again"):
        pull()
    assert time.monotonic() - begun < 5
    hub.drips = ""
    for thread in threading.enumerate():
        if thread.name == "chainkit-pull":
            thread.join(10)
            assert not thread.is_alive()
    pull()
    assert pulled_gguf("org/model").read_bytes() == DATA


def test_a_file_with_a_wrong_hash_is_deleted_and_named(hub: Hub) -> None:
    hub.lies.add("model.Q8_0.gguf")
    with pytest.raises(ModelFileError, match=r"model\.Q8_0\.gguf: is not what the hub says.*pull again"):
        pull()
    assert not list(folder_of("org/model").rglob("*.part"))
    hub.lies.clear()
    pull()
    assert pulled_gguf("org/model").read_bytes() == DATA


def test_small_files_are_checked_by_the_hash_of_git(hub: Hub) -> None:
    hub.repos["org/tiny"] = {"config.json": b"{}", "model.safetensors": b"x" * 100}
    pull(HubName.parse("org/tiny"))
    hub.repos["org/tiny2"] = dict(hub.repos["org/tiny"])
    hub.lies.add("config.json")
    with pytest.raises(ModelFileError, match="config.json: is not what the hub says"):
        pull(HubName.parse("org/tiny2"))


def test_a_file_of_the_user_is_never_overwritten(hub: Hub) -> None:
    mine = folder_of("org/model") / "model.Q8_0.gguf"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"GGUF mine")
    with pytest.raises(ModelFileError, match="is in the way"):
        pull()
    assert mine.read_bytes() == b"GGUF mine"


def test_a_newer_version_on_the_hub_takes_the_place_of_the_pulled_one(hub: Hub) -> None:
    pull()
    newer = DATA[:-1] + b"!"
    hub.repos["org/model"]["model.Q8_0.gguf"] = newer
    pull()
    assert pulled_gguf("org/model").read_bytes() == newer


def test_the_token_goes_to_the_hub_and_not_to_where_it_sends_us(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, other_host: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    address = hub.address
    hub.address = hub.address.replace("127.0.0.1", other_host)  # the large files are on another host
    monkeypatch.setenv("HF_ENDPOINT", address)
    pull()
    told = {path.startswith("/cdn/"): authorization for _, path, _, authorization in hub.requests}
    assert told == {False: f"Bearer {hub.token}", True: ""}


def test_a_gated_repository_says_what_to_do(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated.add("org/model")
    with pytest.raises(AuthenticationFailed, match=r"gated: accept its terms at http.*/org/model and set HF_TOKEN"):
        pull()
    monkeypatch.setenv("HF_TOKEN", "hf_someoneelse")
    with pytest.raises(PermissionDenied, match="this account was not let in") as told:
        pull()
    assert "hf_someoneelse" not in str(told.value)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert pull()


def test_what_is_not_on_the_hub_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelNotFound, match=r"has no org/nothing, or it is private; set HF_TOKEN"):
        pull(HubName.parse("org/nothing"))
    with pytest.raises(ModelNotFound, match="no revision 'v9'"):
        pull(HubName.parse("org/model@v9:Q8_0"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConnectionFailed, match=r"no answer from http://127\.0\.0\.1:9"):
        pull()


def test_offline_nothing_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectionFailed, match="offline mode is on"):
        pull()
    assert hub.requests == []


def test_all_parts_of_a_model_come(hub: Hub) -> None:
    hub.repos["org/split"] = {f"m-Q4_0-0000{part}-of-00002.gguf": DATA[: 5000 * part] for part in (1, 2)}
    pull(HubName.parse("org/split"))
    assert pulled_gguf("org/split:Q4_0").name == "m-Q4_0-00001-of-00002.gguf"
    assert [one.size for one in local_models()] == [15_000]


def test_a_record_that_is_damaged_counts_as_none(hub: Hub) -> None:
    pull()
    (folder_of("org/model") / ".pulled.json").write_text(json.dumps([1, 2]))
    assert record("org/model") == {}
    pull()  # the file is compared with its hash instead
    assert len(hub.downloads()) == 1


def test_a_file_that_is_gone_when_it_is_fetched_is_no_broken_line(hub: Hub) -> None:
    repository = look_up(NAME)
    files = chosen(repository.files, NAME).files
    hub.repos["org/model"].pop("model.Q8_0.gguf")
    with pytest.raises(ModelNotFound, match="no such file any more"):
        download(repository, files)


def test_a_file_that_hubs_do_not_send_is_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE", 1000)
    with pytest.raises(Unsupported, match="hf download"):
        pull()


@pytest.mark.parametrize(
    "name", ["../../evil.gguf", "/evil.gguf", "a/../../evil.gguf", "C:\\evil.gguf", ".pulled.json"]
)
def test_a_hub_cannot_write_outside_its_folder_or_over_the_record(hub: Hub, name: str) -> None:
    hub.repos["org/evil"] = {name: DATA, "good.gguf": DATA, "config.json": b"{}", "model.safetensors": b"x"}
    files = look_up(HubName.parse("org/evil")).files
    assert sorted(file.name for file in files) == ["config.json", "good.gguf", "model.safetensors"]


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainkit.hub.download.shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000}))
    with pytest.raises(ModelFileError, match="room on its disk"):
        pull()
    assert hub.downloads() == []
