"""Graphs that are written without the onnx library are those that it reads."""

from __future__ import annotations

import onnx
import pytest
from onnx import numpy_helper

from chainkit.backends.sentence.graph import SentenceEncoder, weight_names, write_graph
from chainkit.backends.sentence.onnx_file import FLOAT, INT64, constant, external, node, value


def test_a_node_has_its_attributes():
    attributes = {"axis": -1, "epsilon": 1e-12, "approximate": "tanh", "perm": [0, 2, 1, 3]}
    read = onnx.NodeProto.FromString(node("Some", ["a", "b"], "c", attributes, "com.example"))
    assert (read.op_type, list(read.input), list(read.output), read.domain) == (
        "Some",
        ["a", "b"],
        ["c"],
        "com.example",
    )
    found = {each.name: onnx.helper.get_attribute_value(each) for each in read.attribute}
    assert found == {
        "axis": -1,
        "epsilon": pytest.approx(1e-12),
        "approximate": b"tanh",
        "perm": [0, 2, 1, 3],
    }


def test_constants_have_their_values():
    read = onnx.TensorProto.FromString(constant("n", [-1, 2**40], INT64))
    assert numpy_helper.to_array(read).tolist() == [-1, 2**40]
    read = onnx.TensorProto.FromString(constant("x", [0.125], FLOAT, scalar=True))
    assert numpy_helper.to_array(read).shape == ()
    assert float(numpy_helper.to_array(read)) == 0.125


def test_inputs_and_outside_tensors_have_their_shapes():
    read = onnx.ValueInfoProto.FromString(value("states", FLOAT, ["B", 300]))
    assert [(dim.dim_param, dim.dim_value) for dim in read.type.tensor_type.shape.dim] == [("B", 0), ("", 300)]
    read = onnx.TensorProto.FromString(external("w", [4, 3], FLOAT, "model.safetensors"))
    assert (list(read.dims), read.data_location) == ([4, 3], onnx.TensorProto.EXTERNAL)
    assert [(one.key, one.value) for one in read.external_data] == [("location", "model.safetensors")]


def test_the_whole_graph_passes_the_checker():
    encoder = SentenceEncoder(layers=2, width=8, heads=2, epsilon=1e-12)
    shapes = dict.fromkeys(_names(encoder), (8, 8)) | {name: (8,) for name in _names(encoder) if _is_vector(name)}
    read = onnx.ModelProto.FromString(write_graph(encoder, shapes, "inputs"))
    onnx.checker.check_model(read, full_check=True)
    assert [one.name for one in read.graph.output] == ["states"]
    assert (read.ir_version, read.producer_name) == (10, "chainkit")


def _names(encoder: SentenceEncoder) -> list[str]:
    class Anything:
        def __contains__(self, name: object) -> bool:
            return True

    return weight_names(encoder, Anything(), "test")  # type: ignore[arg-type]


def _is_vector(name: str) -> bool:
    return name.endswith("bias") or "LayerNorm" in name
