from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

# ruff: noqa: E402
import chainkit
from chainkit.base.errors import BadLayers, ChainkitError, DiskFull, ModelFileError
from chainkit.upscaling import Slice, upscale_view
from chainkit.upscaling.safetensors import folder_tensors
from tests.upscaling import models

FAST = {"llama", "gpt2"}
KINDS = [kind if kind in FAST else pytest.param(kind, marks=pytest.mark.slow) for kind in models.KINDS]


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save("llama", tmp_path_factory.mktemp("upscale") / "llama")


@pytest.mark.parametrize("kind", KINDS)
def test_a_deeper_model_is_its_layers_in_that_order_bit_for_bit(kind: str, tmp_path: Path) -> None:
    folder = models.save(kind, tmp_path / "old")
    plan = chainkit.upscale(folder, tmp_path / "new", drop=2)
    assert plan.sources == [0, 1, 2, 3, 2, 3, 4, 5]
    old, new = models.load(folder), models.load(tmp_path / "new")
    reference = models.by_hand(kind, old, plan.sources)
    assert torch.equal(models.logits(new), models.logits(reference))
    assert not torch.equal(models.logits(new), models.logits(old))
    assert models.written(new) == models.written(reference)
    assert sum(weights.numel() for weights in new.state_dict().values()) >= plan.new_parameters > plan.parameters


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_computes_what_the_file_does_and_shares_the_weights(kind: str) -> None:
    old = models.model(kind)
    before = models.logits(old)
    view = upscale_view(old, drop=1)
    reference = models.by_hand(kind, old, [0, 1, 2, 3, 4, 1, 2, 3, 4, 5])
    assert torch.equal(models.logits(view), models.logits(reference))
    assert models.written(view) == models.written(reference)
    assert {id(weights) for weights in view.parameters()} == {id(weights) for weights in old.parameters()}
    assert torch.equal(models.logits(old), before)
    assert old.config.num_hidden_layers == models.DEPTH


def test_shards_are_read_and_written_anew(tmp_path: Path) -> None:
    folder = models.save("llama", tmp_path / "old", max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    chainkit.upscale(folder, tmp_path / "one", slices="0:6,0:6")
    chainkit.upscale(folder, tmp_path / "many", slices=[(0, 6), (0, 6)], shard_bytes=50_000)
    assert [file.name for file in (tmp_path / "one").glob("*.safetensors*")] == ["model.safetensors"]
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text("utf-8"))
    assert set(index["weight_map"].values()) == {file.name for file in (tmp_path / "many").glob("*.safetensors")}
    one, many = models.load(tmp_path / "one"), models.load(tmp_path / "many")
    assert torch.equal(models.logits(one), models.logits(many))


def test_the_files_beside_the_weights_come_along(llama: Path, tmp_path: Path) -> None:
    (chat := tmp_path / "llama").mkdir()
    shutil.copytree(llama, chat, dirs_exist_ok=True)
    (chat / "chat_template.jinja").write_text("{{ messages }}")
    (chat / "pytorch_model.bin").write_text("would be loaded by mistake")
    chainkit.upscale(chat, tmp_path / "new", drop=1)
    assert (tmp_path / "new" / "chat_template.jinja").read_text("utf-8") == "{{ messages }}"
    assert (tmp_path / "new" / "tokenizer_config.json").is_file()
    assert not (tmp_path / "new" / "pytorch_model.bin").exists()


def test_a_plan_alone_writes_nothing(llama: Path, tmp_path: Path) -> None:
    plan = chainkit.upscale(llama, tmp_path / "new", drop=2, dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert plan.slices == (Slice(0, 4), Slice(2, 6))
    assert plan.changes == {"num_hidden_layers": 8}
    text = str(plan)
    assert "new layers 4 to 7 copy layers 2 to 5" in text
    assert "worse" in text


def test_the_plan_of_solar_needs_only_the_config(tmp_path: Path) -> None:
    config = {"model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336}
    config |= {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    plan = chainkit.upscale(tmp_path, drop=8, dry_run=True)
    assert plan.sources == [*range(24), *range(8, 32)]
    assert (plan.parameters, plan.new_parameters) == (7_241_732_096, 10_731_524_096)
    assert chainkit.upscale(tmp_path / "config.json", drop=8, dry_run=True).sources == plan.sources
    with pytest.raises(ModelFileError, match="has no weights"):
        chainkit.upscale(tmp_path, tmp_path / "new", drop=8)


@pytest.mark.parametrize(
    ("wish", "fault"),
    [
        ({"drop": 3}, "6 layers, no more than before; drop less than 3"),
        ({"drop": 6}, "cannot drop 6 of 6 layers"),
        ({"drop": -1}, "cannot drop -1"),
        ({}, "give drop"),
        ({"drop": 1, "slices": "0:6"}, "one of the two"),
        ({"slices": "0:7"}, "the model has layers 0 to 5"),
        ({"slices": "4:4"}, "holds no layer"),
        ({"slices": "0-4"}, "'0-4' is not a slice"),
        ({"slices": []}, "no slices are given"),
        ({"drop": 1, "prefix": "model.blocks"}, "do not count from 0 to 5; its names count model.layers.0 to 5"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_before_anything_is_written(
    wish: dict[str, object], fault: str, llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadLayers, match=fault):
        chainkit.upscale(llama, tmp_path / "new", **wish)
    assert list(tmp_path.iterdir()) == []


def broken(llama: Path, tmp_path: Path, how: str) -> Path:
    """A copy of the model with one thing wrong."""
    folder = tmp_path / "old"
    shutil.copytree(llama, folder)
    if how in SETTINGS:
        settings = json.loads((folder / "config.json").read_text("utf-8")) | SETTINGS[how]
        kept = {key: value for key, value in settings.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(kept))
    elif how in PLACES:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": PLACES[how]}}))
    elif how in HEADERS:
        data = (folder / "model.safetensors").read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        HEADERS[how](header)
        text = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    else:
        FILES[how](folder)
    return folder


SETTINGS: dict[str, dict[str, object]] = {
    "depth": {"num_hidden_layers": 9},
    "unknown": {"num_hidden_layers": None},
    "encoder": {"is_encoder_decoder": True},
    "named": {"quantization_config": {"modules_to_not_convert": ["model.layers.5.mlp"]}},
    "numbered": {"scale_attn_by_inverse_layer_idx": True},
    "period": {"full_attention_interval": 3},
    "shared memory": {"num_kv_shared_layers": 2},
    "dense start": {"first_k_dense_replace": 2},
}
PLACES = {"no shard": "model-1.safetensors", "elsewhere": "../model.safetensors", "not in shard": "model.safetensors"}
HEADERS = {
    "shape": lambda header: header["model.norm.weight"].update(shape=[31]),
    "overlap": lambda header: header["model.norm.weight"].update(data_offsets=[0, 128]),
    "tied layers": lambda header: header.pop("model.layers.3.mlp.up_proj.weight"),
}
FILES = {
    "cut short": lambda folder: os.truncate(weights(folder), weights(folder).stat().st_size - 5),
    "no header": lambda folder: weights(folder).write_bytes(b"<html>not found</html>"),
    "web page": lambda folder: weights(folder).write_bytes((9).to_bytes(8, "little") + b"not json!"),
    "pickle": lambda folder: weights(folder).rename(folder / "pytorch_model.bin"),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "no json": lambda folder: (folder / "config.json").write_text("{"),
}


def weights(folder: Path) -> Path:
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    ("how", "error", "fault"),
    [
        ("cut short", ModelFileError, "cut short: 5 bytes are missing"),
        ("no header", ModelFileError, "its header does not fit"),
        ("web page", ModelFileError, "not JSON"),
        ("shape", ModelFileError, "do not make up its shape"),
        ("overlap", ModelFileError, "begins within another"),
        ("tied layers", BadLayers, "layer 3 has no mlp.up_proj.weight and layer 0 has"),
        ("depth", BadLayers, "no layers were found: the model says that it has 9"),
        ("unknown", BadLayers, "a llama is not known to have layers"),
        ("encoder", BadLayers, "an encoder and a decoder"),
        ("named", BadLayers, "settings for single layers .model.layers.5.mlp"),
        ("numbered", BadLayers, "depend on its number"),
        ("period", BadLayers, "one layer in 3 is of another kind .full_attention_interval., and new layer 5 would"),
        ("shared memory", BadLayers, "none can follow them"),
        ("dense start", BadLayers, "the first 2 layers are of another kind"),
        ("pickle", ModelFileError, "pickle"),
        ("no config", ModelFileError, "has no config.json"),
        ("no json", ModelFileError, "is not JSON"),
        ("no shard", ModelFileError, "is missing, and"),
        ("elsewhere", ModelFileError, "not in its own folder"),
        ("not in shard", ModelFileError, "holds a, and it does not"),
    ],
)
def test_a_broken_model_is_named_before_anything_is_written(
    how: str, error: type[Exception], fault: str, llama: Path, tmp_path: Path
) -> None:
    folder = broken(llama, tmp_path, how)
    with pytest.raises(error, match=fault):
        chainkit.upscale(folder, tmp_path / "new", drop=1)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_no_disk_space_is_named_before_anything_is_written(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearly_full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly_full)
    with pytest.raises(DiskFull, match="0.00 GB free; make room"):
        chainkit.upscale(llama, tmp_path / "new", drop=1)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_nothing_that_looks_whole(llama: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            assert (tmp_path / "new.part").is_dir()
            assert not (tmp_path / "new").exists()
            assert not (tmp_path / "new.part" / "config.json").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chainkit.upscale(llama, tmp_path / "new", drop=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "new.part").mkdir()  # what a killed run leaves behind
    chainkit.upscale(llama, tmp_path / "new", drop=1)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_nothing_is_written_over(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for dry_run in (False, True):
        with pytest.raises(ChainkitError, match="is there already"):
            chainkit.upscale(llama, tmp_path / "new", drop=1, dry_run=dry_run)
    with pytest.raises(ChainkitError, match="there is no folder"):
        chainkit.upscale(llama, tmp_path / "absent" / "new", drop=1)
    with pytest.raises(ChainkitError, match="say where"):
        chainkit.upscale(llama, drop=1)


def test_progress_is_told_in_bytes(llama: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    plan = chainkit.upscale(llama, tmp_path / "new", drop=1, progress=lambda *step: told.append(step))
    assert told == sorted(told)
    assert told[-1] == (plan.new_bytes, plan.new_bytes)
    assert sum(tensor.nbytes for tensor in folder_tensors(tmp_path / "new").values()) == plan.new_bytes
