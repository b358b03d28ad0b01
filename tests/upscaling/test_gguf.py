from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

import chainkit
from chainkit.backends.llama_cpp.header import read_header
from chainkit.base.errors import BadLayers, ChainkitError, DiskFull, ModelFileError, Unsupported
from examples.demo_model.export import write_gguf
from tests.backends.llama_cpp import tiny

# ruff: noqa: E402
DEMO = Path(__file__).parents[2] / "examples" / "demo_model"


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("upscale") / "small.gguf")


@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_a_file_is_the_same_whether_it_is_made_before_or_after(kind: str, tmp_path: Path) -> None:
    write_gguf(DEMO / "hf", tmp_path / "old.gguf", kind)
    chainkit.upscale(tmp_path / "old.gguf", tmp_path / "new.gguf", drop=1)
    chainkit.upscale(DEMO / "hf", tmp_path / "hf", drop=1)
    write_gguf(tmp_path / "hf", tmp_path / "reference.gguf", kind)
    new, reference = read_header(tmp_path / "new.gguf"), read_header(tmp_path / "reference.gguf")
    assert {key: str(new[key]) for key in new} == {key: str(reference[key]) for key in reference}
    assert set(new.tensors) == set(reference.tensors)
    for name, tensor in new.tensors.items():
        other = reference.tensors[name]
        assert (tensor.shape, tensor.type) == (other.shape, other.type)
        assert content(tmp_path / "new.gguf", name) == content(tmp_path / "reference.gguf", name)


def content(path: Path, name: str) -> bytes:
    header = read_header(path)
    tensor = header.tensors[name]
    with path.open("rb") as file:
        file.seek(header.data_offset + tensor.offset)
        return file.read(tensor.nbytes)


def test_llama_cpp_runs_the_new_file(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    plan = chainkit.upscale(DEMO / "demo-q8_0.gguf", tmp_path / "new.gguf", drop=1)
    assert (plan.depth, len(plan.sources), plan.changes) == (5, 8, {"llama.block_count": 8})
    assert (tmp_path / "new.gguf").stat().st_size == plan.new_bytes
    assert chainkit.llm(f"gguf:{tmp_path / 'new.gguf'}?max_tokens=4").invoke("Context:")


def test_what_is_said_per_layer_follows_the_layers(tmp_path: Path) -> None:
    with_lists(tmp_path / "old.gguf")
    plan = chainkit.upscale(tmp_path / "old.gguf", tmp_path / "new.gguf", slices="0:2,1:3,2:3")
    header = read_header(tmp_path / "new.gguf")
    assert header["odd.attention.head_count_kv"].tolist() == [1, 2, 2, 4, 4]
    assert header["odd.attention.kinds"] == [b"a", b"bb", b"bb", b"", b""]
    assert header["odd.attention.windowed"].tolist() == [True, False, False, True, True]
    assert header["odd.rope.dimension_sections"].tolist() == [7, 8, 9]
    assert header["odd.leading_dense_block_count"] == 1
    assert header["general.name"] == "odd one"
    assert header["general.alignment"] == 64
    assert plan.changes["odd.attention.kinds"] == ["a", "bb", "bb", "", ""]
    for new, old in enumerate([0, 1, 1, 2, 2]):
        assert content(tmp_path / "new.gguf", f"blk.{new}.x.weight") == content(
            tmp_path / "old.gguf", f"blk.{old}.x.weight"
        )
    assert "blk.0.dense.weight" in header.tensors


def with_lists(path: Path, **numbers: int) -> Path:
    """Three layers of two kinds, with all that a header can say about them."""
    writer = gguf.GGUFWriter(path, "odd")
    writer.add_name("odd one")
    writer.add_custom_alignment(64)
    writer.add_block_count(3)
    writer.add_array("odd.attention.head_count_kv", [1, 2, 4])
    writer.add_array("odd.attention.kinds", ["a", "bb", ""])
    writer.add_array("odd.attention.windowed", [True, False, True])
    writer.add_array("odd.rope.dimension_sections", [7, 8, 9])
    writer.add_uint32("odd.leading_dense_block_count", 1)
    for key, value in numbers.items():
        writer.add_uint32(key.replace("__", "."), value)
    writer.add_tensor("token_embd.weight", np.arange(12, dtype=np.float16).reshape(3, 4))
    for layer in range(3):
        writer.add_tensor(f"blk.{layer}.x.weight", np.full(5, layer, np.float32))
        if not layer:
            writer.add_tensor("blk.0.dense.weight", np.ones(3, np.float32))
    tiny._close(writer)
    return path


@pytest.mark.parametrize(
    ("numbers", "slices", "error", "fault"),
    [
        ({}, "0:3,0:3", BadLayers, "the first 1 layers are of another kind"),
        ({"odd__full_attention_interval": 2}, "0:3,2:3", BadLayers, "one layer in 2 of a odd is of another kind"),
        ({"odd__nextn_predict_layers": 1}, "0:3", BadLayers, "the last 1 layers"),
        ({"split__count": 2}, "0:3", Unsupported, "join them"),
    ],
)
def test_layers_that_cannot_be_moved_are_refused(
    numbers: dict[str, int], slices: str, error: type[Exception], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=fault):
        chainkit.upscale(with_lists(tmp_path / "old.gguf", **numbers), tmp_path / "new.gguf", slices=slices)
    assert not (tmp_path / "new.gguf").exists()


def test_wrong_files_are_named(small: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(small.read_bytes()[:-100])
    (tmp_path / "no.gguf").write_bytes(b"<html>")
    (tmp_path / "there.gguf").touch()
    with pytest.raises(ModelFileError, match="cut short"):
        chainkit.upscale(tmp_path / "cut.gguf", tmp_path / "new.gguf", drop=0)
    with pytest.raises(ModelFileError, match="web page"):
        chainkit.upscale(tmp_path / "no.gguf", tmp_path / "new.gguf", drop=0)
    with pytest.raises(ModelFileError, match="no such"):
        chainkit.upscale(tmp_path / "absent.gguf", tmp_path / "new.gguf", drop=0)
    with pytest.raises(ChainkitError, match="is there already"):
        chainkit.upscale(small, tmp_path / "there.gguf", drop=0)
    with pytest.raises(BadLayers, match="drop less than 1"):
        chainkit.upscale(small, tmp_path / "new.gguf", drop=1)
    assert not (tmp_path / "new.gguf").exists()


def test_a_full_disk_and_an_interrupt_leave_no_file(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chainkit.upscale(small, tmp_path / "new.gguf", drop=0, progress=interrupt)
    nearly_full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly_full)
    with pytest.raises(DiskFull):
        chainkit.upscale(small, tmp_path / "new.gguf", drop=0)
    assert list(tmp_path.iterdir()) == []
