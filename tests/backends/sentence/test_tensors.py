"""The safetensors reader."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from chainkit.backends.sentence.tensors import read_tensors
from chainkit.base.errors import ModelFileError
from tests.seams import seam


def written(path: Path, header: object, data: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_tensors_come_back_as_they_were_saved(tmp_path):
    tensors = {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
        "whole": np.array([[1, 2]], np.int64),
        "none": np.zeros((0, 4), np.float32),
    }
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    found = read_tensors(tmp_path / "m.safetensors")
    assert found.keys() == tensors.keys()
    for name, values in tensors.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype


def test_half_precision_becomes_float32(tmp_path):
    import ml_dtypes

    values = np.array([1.5, -2.0, 0.15625], np.float32)
    save_file({"half": values.astype(np.float16)}, tmp_path / "half.safetensors")
    brain = values.astype(ml_dtypes.bfloat16).tobytes()
    path = written(tmp_path / "b", {"brain": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}, brain)
    for found in (read_tensors(tmp_path / "half.safetensors")["half"], read_tensors(path)["brain"]):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values)


def test_the_file_is_mapped_and_never_written(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"a": np.ones(4, np.float32)}, path)
    before = path.read_bytes()
    read_tensors(path)["a"][:] = 7
    assert path.read_bytes() == before


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"a": ENTRY}, b"1234567", "cut short"),
        ({"a": ENTRY | {"data_offsets": [4, 0]}}, b"12345678", "cut short"),
        ({"a": ENTRY | {"shape": [3]}}, b"12345678", "tensor 'a'"),
        ({"a": ENTRY | {"shape": [-2]}}, b"12345678", "tensor 'a'"),
        ({"a": ENTRY | {"dtype": "F8"}}, b"12345678", "tensor 'a' has an entry"),
        ({"a": {"dtype": "F32"}}, b"", "tensor 'a' has an entry"),
        ({"a": 5}, b"", "tensor 'a' has an entry"),
        ([1], b"", "not an object"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, header, data, message):
    with pytest.raises(ModelFileError, match=message):
        read_tensors(written(tmp_path / "m", header, data))


@pytest.mark.parametrize(
    "content", [b"", b"123", b"\xff" * 30, struct.pack("<Q", 5) + b"nojson", b"<html>not found</html>"]
)
def test_what_is_no_safetensors_file_is_named(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        read_tensors(tmp_path / "m")


@seam
@given(st.binary(max_size=200))
def test_no_content_crashes_the_reader(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        read_tensors(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@seam
@given(
    st.dictionaries(
        st.text(max_size=3),
        st.fixed_dictionaries({"dtype": st.sampled_from(["F32", "BF16", "Q"]), "shape": JSON, "data_offsets": JSON})
        | JSON,
        min_size=1,
    )
)
def test_no_header_crashes_the_reader(tmp_path_factory, header):
    path = written(tmp_path_factory.getbasetemp() / "any", header, b"\0" * 64)
    with contextlib.suppress(ModelFileError):
        read_tensors(path)
