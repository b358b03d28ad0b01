"""GGUF headers: read right, and refused with a reason when they are wrong."""

import ctypes
import struct

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.backends.llama_cpp import header as header_module
from chainkit.backends.llama_cpp.checks import check_model
from chainkit.backends.llama_cpp.header import read_header
from chainkit.backends.llama_cpp.libraries import library
from chainkit.base.errors import ModelFileError
from tests.backends.llama_cpp import tiny
from tests.seams import seam


def test_keys_and_tensors_are_those_of_the_gguf_package(any_model):
    mine, theirs = read_header(any_model), gguf.GGUFReader(any_model)
    assert mine.version == 3
    assert {tensor.name: (tuple(map(int, tensor.shape)), int(tensor.n_bytes)) for tensor in theirs.tensors} == {
        tensor.name: (tensor.shape, tensor.nbytes) for tensor in mine.tensors.values()
    }
    assert mine.data_offset == theirs.data_offset
    for name, field in theirs.fields.items():
        if name.startswith("GGUF."):
            continue
        value, wanted = mine[name], field.contents()
        if isinstance(value, np.ndarray):
            assert value.tolist() == pytest.approx(wanted)
        elif isinstance(value, list):
            assert [text.decode() for text in value] == wanted
        else:
            assert value == pytest.approx(wanted) if isinstance(value, float) else value == wanted


def test_the_table_of_types_is_that_of_the_library():
    cdll = library()._cdll
    block, size = cdll["ggml_blck_size"], cdll["ggml_type_size"]
    block.restype, size.restype = ctypes.c_int64, ctypes.c_size_t
    theirs = {kind: (block(kind), size(kind)) for kind in header_module.TENSOR_TYPES}
    assert {kind: sizes for kind, (_, *sizes) in header_module.TENSOR_TYPES.items()} == {
        kind: list(sizes) for kind, sizes in theirs.items()
    }
    assert {int(kind): kind.name for kind in gguf.GGML_QUANT_SIZES} == {
        kind: name for kind, (name, *_) in header_module.TENSOR_TYPES.items()
    }


def test_an_array_is_not_read_before_it_is_asked_for(bpe_model):
    header = read_header(bpe_model)
    assert isinstance(header.entries["tokenizer.ggml.tokens"], header_module.Array)
    assert header.count("tokenizer.ggml.tokens") == len(header["tokenizer.ggml.tokens"]) == len(tiny.bpe().tokens)
    assert header.count("llama.block_count") is None


WRONG = {
    b"": "is empty",
    b"GGUF": "is cut short",
    b"GGUF\x03\0\0\0": "is cut short",
    b"\0" * 4096: "begins with zeros",
    b"tjgg" + b"\3\0\0\0" * 10: "old GGML file",
    b"lmgg" + b"\0" * 40: "old GGML file",
    b"<!DOCTYPE html><html><body>Sign in</body></html>": "is a web page",
    b"\n <html lang=en>": "is a web page",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n": "git lfs pull",
    b"PK\x03\x04" + b"\0" * 40: "PyTorch",
    struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}}' + b"\0" * 40: "safetensors",
    b"Once upon a time there was a small model": "not a GGUF file",
    b"GGUF" + struct.pack("<IQQ", 1, 0, 0): "version 1",
    b"GGUF" + struct.pack(">IQQ", 3, 0, 0): "big-endian",
    b"GGUF" + struct.pack("<IQQ", 77, 0, 0): "version 77",
    b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0): "tensors",
    b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1): "keys",
}


@pytest.mark.parametrize(("content", "reason"), WRONG.items(), ids=WRONG.values())
def test_what_is_no_model_is_named(tmp_path, content, reason):
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=reason):
        read_header(path)


def test_an_absent_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="is a folder"):
        read_header(tmp_path)
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_header(tmp_path / "nul\0l.gguf")


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: bytes, shape: list[int], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


U32 = struct.Struct("<I").pack
BROKEN = {
    "a text longer than the file": ([text(b"k") + U32(8) + struct.pack("<Q", 2**63)], []),
    "a key longer than 64 KiB": ([text(b"k" * 70_000) + U32(4) + U32(1)], []),
    "a key twice": ([pair(b"k", 4, U32(1))] * 2, []),
    "a key that is not UTF-8": ([pair(b"\xff", 4, U32(1))], []),
    "an unknown type": ([pair(b"k", 13, U32(1))], []),
    "an array of 2**61 numbers": ([pair(b"k", 9, struct.pack("<IQ", 10, 2**61))], []),
    "an array of 2**61 texts": ([pair(b"k", 9, struct.pack("<IQ", 8, 2**61))], []),
    "an array of an unknown type": ([pair(b"k", 9, struct.pack("<IQ", 99, 1))], []),
    "arrays nested too deeply": ([pair(b"k", 9, struct.pack("<IQ", 9, 1) * 6 + struct.pack("<IQ", 4, 0))], []),
    "2**60 nested arrays": ([pair(b"k", 9, struct.pack("<IQ", 9, 2**60))], []),
    "alignment 0": ([pair(b"general.alignment", 4, U32(0))], []),
    "alignment 3": ([pair(b"general.alignment", 4, U32(3))], []),
    "alignment as text": ([pair(b"general.alignment", 8, text(b"32"))], []),
    "neither yes nor no": ([pair(b"k", 7, b"\2")], []),
    "a tensor twice": ([], [tensor(b"t", [32], 0, 0)] * 2),
    "a tensor without dimensions": ([], [tensor(b"t", [], 0, 0)]),
    "a tensor of five dimensions": ([], [tensor(b"t", [1] * 5, 0, 0)]),
    "a tensor of length 0": ([], [tensor(b"t", [0], 0, 0)]),
    "a tensor of length 2**63": ([], [tensor(b"t", [2**63], 0, 0)]),
    "a tensor whose size overflows": ([], [tensor(b"t", [2**32, 2**32], 0, 0)]),
    "a tensor of an unknown type": ([], [tensor(b"t", [32], 4, 0)]),
    "half a block": ([], [tensor(b"t", [48], 8, 0)]),
    "an offset behind the end": ([], [tensor(b"t", [32], 0, 2**40)]),
    "an offset that is not aligned": ([], [tensor(b"t", [32], 0, 4)]),
    "tensors in the same place": ([], [tensor(b"a", [32], 0, 0), tensor(b"b", [32], 0, 0)]),
    "a tensor with a long name": ([], [tensor(b"t" * 64, [32], 0, 0)]),
}


@pytest.mark.parametrize(("keys", "tensors"), BROKEN.values(), ids=BROKEN.keys())
def test_a_header_that_lies_is_refused(tmp_path, keys, tensors):
    path = tmp_path / "x.gguf"
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    path.write_bytes(head + b"".join(keys) + b"".join(tensors) + b"\0" * 1024)
    with pytest.raises(ModelFileError, match=r"damaged|cut short"):
        read_header(path)


def test_the_honest_twin_of_those_headers_is_read(tmp_path):
    path = tmp_path / "x.gguf"
    keys = [pair(b"k", 4, U32(1)), pair(b"n", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQI", 4, 1, 7))]
    tensors = [tensor(b"a", [32], 8, 0), tensor(b"b", [32], 0, 64)]
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 2)
    path.write_bytes(head + b"".join(keys) + b"".join(tensors) + b"\0" * 1024)
    header = read_header(path)
    assert header["k"] == 1
    assert header.tensors["a"].nbytes == 34


@seam
@given(st.binary(max_size=200))
def test_no_bytes_behind_the_magic_do_anything_but_fail(tmp_path_factory, tail):
    path = tmp_path_factory.mktemp("fuzz") / "x.gguf"
    path.write_bytes(b"GGUF\3\0\0\0" + tail)
    try:
        read_header(path)
    except ModelFileError:
        return


def rewritten(tmp_path, source, name, change):
    """A copy of a model with one key changed."""
    reader = gguf.GGUFReader(source)
    path = tmp_path / f"{abs(hash((name, str(change))))}.gguf"
    field = reader.fields[name]
    data = bytearray(source.read_bytes())
    place = field.offset + len(field.parts[0]) * 8 + len(field.parts[1]) + 4
    packed = struct.pack("<f", change) if isinstance(change, float) else struct.pack("<I", change)
    data[place : place + 4] = packed
    path.write_bytes(bytes(data))
    assert read_header(path)[name] == pytest.approx(change, nan_ok=True)
    return path


IMPOSSIBLE = {
    "llama.embedding_length": [0, 33, 2**31],
    "llama.block_count": [0, 3, 100_000],
    "llama.attention.head_count": [0, 5, 2**20],
    "llama.attention.head_count_kv": [0, 3],
    "llama.context_length": [0, 2**31],
    "llama.rope.dimension_count": [7, 64],
    "llama.attention.layer_norm_rms_epsilon": [-1.0, float("nan")],
    "llama.rope.freq_base": [float("inf")],
    "tokenizer.ggml.eos_token_id": [400, 2**32 - 1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in IMPOSSIBLE.items() for value in values])
def test_numbers_that_cannot_be_are_refused(tmp_path, bpe_model, name, value):
    with pytest.raises(ModelFileError, match="damaged"):
        check_model(read_header(rewritten(tmp_path, bpe_model, name, value)))


def test_a_sound_model_passes(any_model):
    check_model(read_header(any_model))


def test_a_vocabulary_without_all_bytes_is_refused(tmp_path):
    vocab = tiny.spm()
    tokens = [token if token != b"<0x41>" else b"gone" for token in vocab.tokens]
    path = tiny.write_model(tmp_path / "x.gguf", tiny.Vocab("llama", tokens, vocab.types, vocab.keys, vocab.scores))
    with pytest.raises(ModelFileError, match="byte 0x41"):
        check_model(read_header(path))


def test_a_file_that_changes_is_read_again(tmp_path):
    path = tiny.write_model(tmp_path / "x.gguf")
    assert read_header(path)["llama.context_length"] == tiny.CONTEXT
    tiny.write_model(path, context=128)
    assert read_header(path)["llama.context_length"] == 128
