"""Plans and verdicts, from settings and from headers."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from chainkit.base.errors import ModelFileError, NotEnoughMemory
from chainkit.sizing import Machine, Use, folder_model, gguf_model, plan, quantized
from chainkit.sizing.machines import PIS, of_size
from chainkit.sizing.model import Layer
from chainkit.sizing.room import require_room
from chainkit.sizing.shapes import config_model
from chainkit.sizing.verdict import judge
from tests.sizing.published import LLAMA, PUBLISHED

DEMO = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"
LLAMA_7B = config_model("Llama-2-7B", LLAMA)


def test_the_cache_of_llama_2_is_half_a_megabyte_a_token_and_grouped_heads_share_it() -> None:
    assert plan(quantized(LLAMA_7B, "F16"), Use(context=4096)).cache == 4096 * 32 * 2 * 4096 * 2
    solar = quantized(config_model("s", PUBLISHED["SOLAR-10.7B"]), "F16")
    assert plan(solar, Use(context=4096)).cache == 4096 * 48 * 2 * 1024 * 2


@pytest.mark.parametrize(("kv_type", "share"), [("f32", 2.0), ("q8_0", 34 / 64), ("q4_0", 18 / 64)])
def test_the_cache_follows_its_type(kv_type: str, share: float) -> None:
    model = quantized(LLAMA_7B, "Q8_0")
    assert plan(model, Use(kv_type=kv_type)).cache == plan(model, Use()).cache * share


def test_llama_cpp_takes_whole_runs_of_256_tokens() -> None:
    model = quantized(LLAMA_7B, "Q8_0")
    assert plan(model, Use(context=300)).cache == plan(model, Use(context=512)).cache


def test_layers_with_a_window_remember_no_more_than_it_where_that_is_asked() -> None:
    model = replace(quantized(LLAMA_7B, "Q8_0"), layers=(Layer(1024, 1024), Layer(1024, 1024, window=512)))
    whole, short = plan(model, Use(context=8192)), plan(model, Use(context=8192, sequences=1, full_windows=False))
    assert whole.cache == 2 * 8192 * 2048 * 2
    assert short.cache == (8192 + 1024) * 2048 * 2


def test_repacked_weights_count_twice_with_mmap_only() -> None:
    model = quantized(LLAMA_7B, "Q4_0")
    found = plan(model, Use(), repacked=frozenset({"Q4_0"}))
    matrices = sum(w.nbytes for w in model.weights if w.type == "Q4_0" and "embed_tokens" not in w.name)
    assert found.copies == matrices
    assert found.with_mmap - found.without_mmap == matrices
    assert found.resident == found.with_mmap
    assert plan(model, Use(repack=False), repacked=frozenset({"Q4_0"})).copies == 0


def test_ik_llama_cpp_copies_all_weights_and_a_shared_table_of_tokens_twice() -> None:
    model, types = quantized(LLAMA_7B, "Q4_0"), frozenset({"Q4_0"})
    found = plan(model, Use(engine="ik_llama_cpp"), repacked=types)
    assert (found.weights, found.copies) == (model.weight_bytes, 0)
    assert plan(model, Use(engine="ik_llama_cpp", repack=False)).needed == plan(model, Use(repack=False)).needed
    (table,) = (weight.nbytes for weight in model.weights if "embed_tokens" in weight.name)
    tied = replace(model, weights=tuple(weight for weight in model.weights if weight.name != "lm_head.weight"))
    assert plan(tied, Use(engine="ik_llama_cpp")).weights == tied.weight_bytes + table
    assert plan(tied, Use()).weights == tied.weight_bytes


def test_a_batch_that_is_not_computed_in_tiles_holds_all_scores() -> None:
    model = quantized(LLAMA_7B, "Q8_0")
    assert plan(model, Use(flash=False)).compute > 512 * 32 * 4096 * 4 > plan(model, Use()).compute


@pytest.mark.parametrize(
    ("name", "kind", "machine", "answer"),
    [
        ("Llama-2-7B", "Q8_0", "pi5-16gb", "fits"),
        ("Llama-2-7B", "Q8_0", "pi5-8gb", "fits with Q6_K and kv_type=q8_0"),
        ("Llama-2-7B", "Q4_K_M", "pi4-8gb", "fits"),
        ("Llama-2-7B", "Q4_K_M", "pi4-2gb", "does not fit"),
        ("SOLAR-10.7B", "Q8_0", "pi5-16gb", "fits"),
        ("BLOOM-176B", "BF16", "pi5-16gb", "does not fit"),
    ],
)
def test_published_models_on_raspberry_pis(name: str, kind: str, machine: str, answer: str) -> None:
    model = quantized(config_model(name, PUBLISHED[name]), kind)
    assert str(judge(model, PIS[machine], Use(context=4096))) == answer


def test_what_is_proposed_does_fit_and_is_the_least_change() -> None:
    model = quantized(LLAMA_7B, "Q4_K_M")
    needed = plan(model, Use(context=4096)).needed
    room = Machine(name="m", ram=None, usable=needed - 1)
    verdict = judge(model, room, Use(context=4096))
    assert verdict.changes == ("kv_type=q8_0",)
    assert verdict.changed is not None
    assert verdict.changed.needed <= needed - 1
    assert judge(model, replace(room, usable=needed), Use(context=4096)).fits


def test_a_model_that_fits_only_without_a_second_copy_is_told_so() -> None:
    model = quantized(LLAMA_7B, "Q4_K_M")
    verdict = judge(model, PIS["pi5-8gb"], Use(context=4096))
    assert verdict.fits
    assert "use_mmap=false" in verdict.advice


def test_a_machine_that_is_not_known_is_no_reason_to_refuse() -> None:
    assert judge(LLAMA_7B, Machine(name="?", ram=None, usable=None)).answer == "unknown"


def test_transformers_weights_are_proposed_as_gguf() -> None:
    assert str(judge(LLAMA_7B, of_size(8 * 10**9), Use(context=2048))).startswith("fits with Q6_K as GGUF")


def test_room_is_refused_with_the_plan_and_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = plan(quantized(LLAMA_7B, "Q8_0"), Use(context=4096))
    monkeypatch.setattr("chainkit.sizing.room.available_memory", lambda: 8 * 10**9)
    with pytest.raises(NotEnoughMemory, match=r"needs 9\.\d\d GB \(weights 7\.16, 2\.15 to remember 4096") as told:
        require_room(needed)
    assert "it fits with" in str(told.value)
    assert "force=true" in str(told.value)
    assert isinstance(told.value, MemoryError)
    assert told.value.available == 8 * 10**9
    require_room(needed, loaded=True)  # a second context on the same weights
    monkeypatch.setattr("chainkit.sizing.room.available_memory", lambda: None)
    require_room(needed)


def test_the_demo_model_is_planned_from_its_header() -> None:
    model = gguf_model(DEMO)
    assert (model.architecture, model.trained_context, len(model.layers)) == ("llama", 2048, 5)
    assert model.parameters == 3_476_224
    assert model.weight_bytes < DEMO.stat().st_size


@pytest.mark.parametrize("change", [{"context": 0}, {"batch": 0}, {"sequences": -1}, {"kv_type": "f8"}])
def test_a_use_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        Use(**change)  # type: ignore[arg-type]


def safetensors(path: Path, tensors: dict[str, tuple[str, list[int]]], header: bytes | None = None) -> None:
    table, start = {}, 0
    for name, (kind, shape) in tensors.items():
        nbytes = (2 if kind == "BF16" else 4) * shape[0] * (shape[1] if len(shape) > 1 else 1)
        table[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + nbytes]}
        start += nbytes
    raw = header if header is not None else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)  # no weights behind it: nobody may read them


def folder(path: Path, **settings: object) -> Path:
    path.joinpath("config.json").write_text(json.dumps(LLAMA | {"torch_dtype": None} | settings))
    safetensors(path / "model.safetensors", {"a.weight": ("BF16", [100, 10]), "b.weight": ("F32", [10])})
    return path


def test_a_folder_is_planned_from_headers_alone(tmp_path: Path) -> None:
    model = folder_model(folder(tmp_path))
    assert (model.parameters, model.weight_bytes) == (1010, 2040)
    assert folder_model(tmp_path, "float32").weight_bytes == 4040
    assert plan(model, Use(context=100)).cache == 100 * 32 * 2 * 4096 * 4  # as wide as the widest weights


def test_an_index_says_which_files_count(tmp_path: Path) -> None:
    folder(tmp_path)
    for part in (1, 2):
        safetensors(tmp_path / f"model-{part}.safetensors", {f"{part}.weight": ("BF16", [part, 10])})
    index = {"weight_map": {f"{part}.weight": f"model-{part}.safetensors" for part in (1, 2)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert folder_model(tmp_path).parameters == 30
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"lacks model-2\.safetensors"):
        folder_model(tmp_path)


def test_layers_with_a_window_forget_in_transformers(tmp_path: Path) -> None:
    kinds = ["sliding_attention"] * 31 + ["full_attention"]
    model = folder_model(folder(tmp_path, sliding_window=128, layer_types=kinds))
    assert [layer.window for layer in model.layers] == [128] * 31 + [None]
    assert plan(model, Use(context=1024)).cache == (31 * 128 + 1024) * 2 * 4096 * 4


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", "cut short"),
        (b"[]", "its header is not an object"),
        (b"{nope", "is not JSON"),
        (b'{"a": {"dtype": "F32"}}', "describe 'a'"),
        (b'{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 9]}}', "has 9 bytes as F32"),
        (b'{"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}', "of shape"),
    ],
)
def test_damaged_safetensors_are_named(tmp_path: Path, header: bytes, reason: str) -> None:
    folder(tmp_path)
    safetensors(tmp_path / "model.safetensors", {}, header)
    with pytest.raises(ModelFileError, match=reason):
        folder_model(tmp_path)


def test_a_folder_without_what_is_needed_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no config\.json"):
        folder_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelFileError, match="no safetensors"):
        folder_model(tmp_path)
    with pytest.raises(ModelFileError, match="there is no such file"):
        folder_model(tmp_path / "nowhere")


def test_settings_of_an_unknown_family_ask_for_the_files() -> None:
    with pytest.raises(ModelFileError, match="family 'mamba'"):
        config_model("m", LLAMA | {"model_type": "mamba"})
    with pytest.raises(ModelFileError, match="how large"):
        config_model("m", {"model_type": "llama"})
