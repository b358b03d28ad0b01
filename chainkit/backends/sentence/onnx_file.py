"""The bytes of an ONNX model: the few messages of its protocol buffers that a graph of ours needs.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto names the fields and numbers them; they never change.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

FLOAT, UINT8, INT64 = 1, 2, 7
"""Types of elements."""

_AS_FLOAT, _AS_INT, _AS_STRING, _AS_INTS = 1, 2, 3, 7  # types of attributes
_EXTERNAL = 1

Attribute = int | float | str | list[int]


def node(kind: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Attribute], domain: str = "") -> bytes:
    """An operation: NodeProto."""
    parts = [_text(1, name) for name in inputs] + [_text(2, output), _text(4, kind)]
    parts += [_bytes(5, _attribute(name, value)) for name, value in attributes.items()]
    return b"".join(parts) + (_text(7, domain) if domain else b"")


def constant(name: str, values: Sequence[int] | Sequence[float], kind: int, *, scalar: bool = False) -> bytes:
    """A tensor with its values, one axis long or none: TensorProto."""
    raw = struct.pack(f"<{len(values)}{'q' if kind == INT64 else 'f'}", *values)
    dims = b"" if scalar else _number(1, len(values))
    return dims + _number(2, kind) + _text(8, name) + _bytes(9, raw)


def external(name: str, shape: Sequence[int], kind: int, file: str) -> bytes:
    """A tensor whose values come from elsewhere: TensorProto."""
    dims = b"".join(_number(1, size) for size in shape)
    place = _text(1, "location") + _text(2, file)
    return dims + _number(2, kind) + _text(8, name) + _bytes(13, place) + _number(14, _EXTERNAL)


def value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """An input or output; axes of any size have a name: ValueInfoProto."""
    dims = b"".join(_bytes(1, _text(2, size) if isinstance(size, str) else _number(1, size)) for size in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, dims)))


def model(
    *,
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    tensors: Sequence[bytes],
    opsets: Mapping[str, int],
    version: int,
) -> bytes:
    """The whole file: ModelProto.

    Args:
        nodes: The operations, each after those whose results it takes.
        inputs: Inputs of the graph.
        outputs: Outputs of the graph.
        tensors: Its constants and weights.
        opsets: The version of each domain of operators.
        version: The version of the format.
    """
    parts = [*(_bytes(1, one) for one in nodes), _text(2, "encoder"), *(_bytes(5, one) for one in tensors)]
    parts += [*(_bytes(11, one) for one in inputs), *(_bytes(12, one) for one in outputs)]
    known = [_bytes(8, (_text(1, domain) if domain else b"") + _number(2, count)) for domain, count in opsets.items()]
    return b"".join([_number(1, version), _text(2, "chainkit"), _bytes(7, b"".join(parts)), *known])


def _attribute(name: str, value: Attribute) -> bytes:
    match value:
        case str():
            kind, field = _AS_STRING, _text(4, value)
        case float():
            kind, field = _AS_FLOAT, _key(2, 5) + struct.pack("<f", value)
        case int():
            kind, field = _AS_INT, _number(3, value)
        case _:
            kind, field = _AS_INTS, b"".join(_number(8, one) for one in value)
    return _text(1, name) + field + _number(20, kind)


def _number(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; a number below zero has 64 bits."""
    value &= 2**64 - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
