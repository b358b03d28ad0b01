"""Damaged headers and settings: a plan or a named error, whatever the bytes."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.base.errors import ModelFileError
from chainkit.sizing import PIS, folder_model, plan
from chainkit.sizing.gguf import model_of
from chainkit.sizing.header import Beyond, parse_start
from chainkit.sizing.shapes import config_model
from chainkit.sizing.verdict import judge
from tests.seams import seam
from tests.sizing.test_plan import DEMO, folder

CHANGES = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4)
START = DEMO.read_bytes()[:100_000]


def changed(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    result = bytearray(data)
    for place, value in changes:
        result[place % len(result)] = value
    return bytes(result)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@seam
@given(changes=CHANGES)
def test_a_damaged_folder_is_planned_or_named(sound: Path, name: str, changes: list[tuple[int, int]]) -> None:
    whole = (sound / name).read_bytes()
    try:
        (sound / name).write_bytes(changed(whole, changes))
        judge(folder_model(sound), PIS["pi4-2gb"])
    except ModelFileError:
        pass
    finally:
        (sound / name).write_bytes(whole)


@seam
@given(changes=CHANGES)
def test_a_damaged_gguf_header_is_planned_or_named(changes: list[tuple[int, int]]) -> None:
    with suppress(ModelFileError, Beyond):
        judge(model_of([parse_start(Path("x"), changed(START, changes), DEMO.stat().st_size)]), PIS["pi4-2gb"])


@pytest.mark.parametrize("value", [-1, 0, True, None, 2**31, 2**63, 1.5, float("inf"), "many", [], {}])
@pytest.mark.parametrize(
    "key", ["max_position_embeddings", "sliding_window", "head_dim", "vocab_size", "num_attention_heads", "n_inner"]
)
def test_any_value_in_a_config_is_planned_or_named(tmp_path: Path, key: str, value: object) -> None:
    config = json.loads((folder(tmp_path) / "config.json").read_text("utf-8"))
    with suppress(ModelFileError):
        assert plan(config_model("x", config | {"model_type": "llama", key: value})).needed > 0


def test_a_count_of_layers_that_cannot_be_true_is_named(tmp_path: Path) -> None:
    key, count = b"llama.block_count", (4).to_bytes(4, "little")  # the key, and the type of its value
    place = START.index(key) + len(key) + len(count)
    data = START[:place] + (2**31).to_bytes(4, "little") + START[place + 4 :]
    with pytest.raises(ModelFileError, match=r"claims 2,147,483,648 layers \(llama.block_count\)"):
        model_of([parse_start(Path("x"), data, DEMO.stat().st_size)])
    config = json.loads((folder(tmp_path) / "config.json").read_text("utf-8"))
    with pytest.raises(ModelFileError, match="claims 2,147,483,648 layers"):
        config_model("x", config | {"num_hidden_layers": 2**31})
