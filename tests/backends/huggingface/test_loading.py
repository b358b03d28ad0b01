"""Loading: what is refused and how it says so."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from chainkit.backends.huggingface.loading import Loading, load
from chainkit.backends.huggingface.models import HuggingFaceModel
from chainkit.base.errors import ChainkitError, MissingLibrary, ModelFileError, Unsupported

Folder = Callable[[str], str]


@pytest.fixture
def copied(folder: Folder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder("llama"), tmp_path / "model"))


def test_a_name_that_is_neither_a_folder_nor_on_the_hub_is_named() -> None:
    with pytest.raises(ModelFileError, match="nobody/nothing: is not a folder here, and could not be had from the hub"):
        load("nobody/nothing", Loading(local_files_only=True))
    with pytest.raises(ModelFileError, match="name a folder or a model on the hub"):
        load("", Loading())


def test_a_file_is_not_a_folder(copied: Path) -> None:
    with pytest.raises(ModelFileError, match="is a file; name the folder"):
        load(str(copied / "model.safetensors"), Loading())


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="has no config.json"):
        load(str(tmp_path), Loading())


def test_pickled_weights_are_refused_unless_asked_for(copied: Path) -> None:
    loaded = load(str(copied), Loading())
    state = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    (copied / "model.safetensors").unlink()
    torch.save(state, copied / "pytorch_model.bin")
    with pytest.raises(ModelFileError, match="use_safetensors=false"):
        load(str(copied), Loading())
    again = load(str(copied), Loading(use_safetensors=False))
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.model.state_dict().items())


def test_code_of_a_model_is_not_run_unless_asked_for(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text("utf-8"))
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "evil.py").write_text(f"open({str(copied / 'ran')!r}, 'w')\nclass C: ...\nclass M: ...\n")
    with pytest.raises(ModelFileError, match="trust_remote_code=true"):
        load(str(copied), Loading())
    assert not (copied / "ran").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_damaged_files_are_named_errors(copied: Path, name: str, damage: str) -> None:
    data = (copied / name).read_bytes()
    (copied / name).write_bytes({"empty": b"", "cut": data[: len(data) // 2], "noise": b"\x93" * 500}[damage])
    with pytest.raises(ModelFileError):
        load(str(copied), Loading())


def test_a_changed_folder_is_loaded_again(copied: Path) -> None:
    first = load(str(copied), Loading())
    config = json.loads((copied / "generation_config.json").read_text("utf-8"))
    (copied / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": 5}))
    second = load(str(copied), Loading())
    assert second is not first
    assert second.vocabulary.is_end(5)


@pytest.mark.parametrize(
    ("device", "reason"), [("cuda:7", "not on this machine"), ("toaster", "none that torch knows")]
)
def test_devices_that_are_not_there_are_named(copied: Path, device: str, reason: str) -> None:
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(Unsupported, match=reason):
        load(str(copied), Loading(device=device))


@pytest.mark.parametrize(
    ("option", "library"),
    [("device_map=auto", "accelerate"), ("load_in_4bit=yes", "accelerate|bitsandbytes"), ("load_in_8bit=yes", "a")],
)
def test_libraries_for_large_models_are_named(folder: Folder, option: str, library: str) -> None:
    needed = ("accelerate",) if option.startswith("device_map") else ("accelerate", "bitsandbytes")
    if all(importlib.util.find_spec(name) for name in needed):
        pytest.skip("what it needs is installed")
    key, _, value = option.partition("=")
    model = HuggingFaceModel(model=folder("llama"), **{key: value})  # type: ignore[arg-type]
    with pytest.raises(MissingLibrary, match=f"(?s)({library}).*chainkit.huggingface-quantized"):
        _ = model.loaded


@pytest.mark.slow
@pytest.mark.parametrize("option", ["load_in_8bit"])  # 4 bits want wider weights than a tiny model has
def test_quantised_weights_are_smaller_and_write(folder: Folder, option: str) -> None:
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    model = HuggingFaceModel(model=folder("llama"), max_tokens=4, **{option: True})  # type: ignore[arg-type]
    weight = model.loaded.model.model.layers[0].self_attn.q_proj.weight
    assert weight.dtype in (torch.uint8, torch.int8)
    assert model.invoke("the cat")


def test_without_torch_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import chainkit\n"
        "try:\n    chainkit.llm('hf:x')\n"
        "except chainkit.ChainkitError as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingLibrary torch")
    assert "chainkit[huggingface]" in done.stdout


def test_the_backend_is_imported_on_first_use_only() -> None:
    code = "import chainkit, chainkit.registry, sys; print('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_loading_from_disk_draws_nothing(copied: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(str(copied), Loading())
    assert capfd.readouterr() == ("", "")


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as loading a model needs: /owner/name/resolve/main/FILE."""

    root: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        self.asked.append(self.path)
        if "/tree/" in self.path:  # further templates, of which there are none
            self.answer(b"[]", body)
            return
        owner, _, rest = self.path.lstrip("/").partition("/resolve/")
        file = self.root / rest.partition("/")[2]
        if owner != "some/model" or not rest or not file.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if owner == "some/model" else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.answer(file.read_bytes(), body)

    def answer(self, data: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.slow
def test_a_model_is_loaded_from_the_hub_that_hf_endpoint_names(folder: Folder, tmp_path: Path) -> None:
    asked: list[str] = []
    handler = type("Here", (Hub,), {"root": Path(folder("llama")), "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = "import chainkit, sys; sys.stdout.write(repr(chainkit.llm('hf:some/model?max_tokens=5').invoke('the cat')))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
    }
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        offline = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment | {"HF_HUB_OFFLINE": "1"}
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.stdout == repr(HuggingFaceModel(model=folder("llama"), max_tokens=5).invoke("the cat")), done.stderr
    assert offline.stdout == done.stdout
    assert any(path.endswith("model.safetensors") for path in asked)


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 0},
        {"num_hidden_layers": 0},
        {"vocab_size": 0},
        {"hidden_size": -1},
        {"num_attention_heads": "four"},
        {"rope_parameters": []},
        {"pad_token_id": 10**9},
    ],
)
def test_a_strange_value_in_the_configuration_is_a_named_error_or_works(
    copied: Path, change: dict[str, object]
) -> None:
    file = copied / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | change))
    with contextlib.suppress(ChainkitError):
        HuggingFaceModel(model=str(copied), max_tokens=2).invoke("the")


@pytest.mark.parametrize("change", [{"vocab_size": 1 << 24}, {"hidden_size": 1 << 20}])
def test_a_size_that_the_weights_do_not_have_is_refused_before_memory_is_taken(
    copied: Path, change: dict[str, object]
) -> None:
    file = copied / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | change))
    with pytest.raises(ModelFileError, match="the weights are smaller than that table"):
        load(str(copied), Loading())
