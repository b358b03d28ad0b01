"""The `.bin` files of 2023: GGML's container 'ggjt' as llama.cpp wrote it for Llama and its relatives.

Read and checked in Python, as `header` does for GGUF: every count, length and shape against the file and against each
other, so that what comes out of it is a sound model or an error that says what the file is. No weight is read.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainkit.backends.llama_cpp.header import TENSOR_TYPES
from chainkit.base.errors import NO_SUCH_FILE, ModelFileError

_GGJT = 0x67676A74
_ALIGNMENT = 32
_MAX_NAME = 256
_MAX_LAYERS = 1024
_MAX_VOCABULARY = 1 << 24

# since which version of the container a type has the layout it has today: 2 turned the nibbles of all blocks of
# 4 and 5 bits around, 3 made the scale of Q4_0, Q4_1 and Q8_0 a half; the K-quants came when 3 was in use
_LAYOUT_SINCE = {0: 1, 1: 1, 2: 3, 3: 3, 6: 2, 7: 2, 8: 3, 10: 3, 11: 3, 12: 3, 13: 3, 14: 3}

_NAMES = {
    "tok_embeddings.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "output.weight": "output.weight",
}
_BLOCK_NAMES = {
    "attention.wq": "attn_q",
    "attention.wk": "attn_k",
    "attention.wv": "attn_v",
    "attention.wo": "attn_output",
    "attention_norm": "attn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
    "ffn_norm": "ffn_norm",
}
_IN_BLOCK = re.compile(r"layers\.(0|[1-9]\d{0,4})\.(.+)\.weight")
_DERIVED = re.compile(r"(layers\.\d+\.attention\.inner_attention\.)?rope\.freqs")

# a name that only tensors of this architecture have -> what the file is
_ARCHITECTURES = (
    (b"gpt_neox.", "GPT-NeoX (Pythia, Dolly, RedPajama, StableLM)"),
    (b"transformer.blocks.", "MPT or Replit"),
    (b"transformer.word_embeddings", "Falcon or BLOOM"),
    (b"transformer.h.", "GPT-J or Falcon"),
    (b"transformer.wte", "GPT-J or MPT"),
    (b"model/wte", "GPT-2, Cerebras-GPT or StarCoder"),
    (b"model/ln_f", "GPT-2, Cerebras-GPT or StarCoder"),
    (b"word_embeddings", "BLOOM"),
    (b"encoder.conv1", "Whisper"),
)
_UNRUNNABLE = ("BLOOM", "Whisper")  # by ctransformers either
_SEARCHED = 8 << 20  # the names follow the vocabulary, which takes 0.5 to 3 MB
_ADVICE = "get this model as GGUF (gguf:...), or as safetensors (hf:...)"


@dataclass(frozen=True, slots=True)
class GGJTTensor:
    """One tensor, under its name in GGUF; dimensions innermost first, as in both formats."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    nbytes: int


@dataclass(frozen=True)
class OldModel:
    """The header of a file.

    Attributes:
        path: The file.
        size: Its length in bytes.
        version: Of the container: 1, 2 or 3.
        width: Length of the vectors, n_embd.
        heads: Of attention; `shared_heads` are those of keys and values.
        inner: Width of the feed-forward part; read off a tensor, as is `shared_heads`.
        layers: Blocks.
        file_type: Code of the quantization of most tensors.
        tokens: The bytes of each token, with spaces as spaces; a byte token is that byte.
        scores: Float32, one for each token.
        tensors: In the order of the file.
    """

    path: Path
    size: int
    version: int
    width: int
    heads: int
    shared_heads: int
    inner: int
    layers: int
    file_type: int
    tokens: tuple[bytes, ...]
    scores: NDArray[np.float32]
    tensors: tuple[GGJTTensor, ...]


def read(path: Path) -> OldModel:
    """Read and check a file.

    Raises:
        ModelFileError: The file is absent, cut short, damaged, of another architecture, or quantised in blocks whose
            layout has changed; the message says what to get instead.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < 8:
                raise ModelFileError(path, f"is cut short: it has {size} bytes; download it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(path, data).model()
    except FileNotFoundError as error:
        raise ModelFileError(path, NO_SUCH_FILE) from error
    except IsADirectoryError as error:
        raise ModelFileError(path, "is a folder; name the .bin file in it") from error
    except (OSError, ValueError) as error:
        raise ModelFileError(path, f"cannot be read ({error})") from error


def other_family(path: Path) -> str | None:
    """The family of a GGML file that is not Llama and that ctransformers can run; None for any other file."""
    try:
        with path.open("rb") as file:
            start = file.read(_SEARCHED)
    except (OSError, ValueError):
        return None
    if start[:4] not in (b"lmgg", b"fmgg", b"tjgg", b"ccgg"):
        return None
    found = next((kind for name, kind in _ARCHITECTURES if name in start), None)
    return None if found in _UNRUNNABLE else found


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.size, self.position = path, data, len(data), 0

    def model(self) -> OldModel:
        magic, self.version = self.numbers(2, "magic")
        if magic != _GGJT:
            raise self.fault(_what_else(bytes(self.data[:512]), self.architecture()))
        self.require(1 <= self.version <= 3, f"has version {self.version} of its container, and 1 to 3 are known")
        words, width, _n_mult, heads, layers, rotated, file_type = self.numbers(7, "settings")
        self.require(0 < words <= min(_MAX_VOCABULARY, self.size // 8), f"claims a vocabulary of {words}")
        self.require(0 < width <= 1 << 20 and 0 < layers <= _MAX_LAYERS, f"claims {layers} layers of width {width}")
        self.require(0 < heads <= width and width % heads == 0, f"has {heads} heads for a width of {width}")
        self.require(
            rotated == width // heads and rotated % 2 == 0, f"rotates {rotated} of {width // heads} dimensions"
        )
        tokens, scores = self.vocabulary(words)
        tensors = self.tensors()
        by_name = {tensor.name: tensor for tensor in tensors}
        self.require(len(by_name) == len(tensors), "has a tensor twice")
        inner, keys = self.height(by_name, "blk.0.ffn_gate.weight"), self.height(by_name, "blk.0.attn_k.weight")
        self.require(keys % rotated == 0 and heads % max(1, keys // rotated) == 0, f"has keys of width {keys}")
        self.compare(by_name, _shapes(width, words, layers, keys, inner))
        return OldModel(
            self.path, self.size, self.version, width, heads, keys // rotated, inner, layers, file_type % 1000,
            tokens, scores, tuple(tensors),
        )  # fmt: skip

    def vocabulary(self, words: int) -> tuple[tuple[bytes, ...], NDArray[np.float32]]:
        tokens: list[bytes] = []
        scores = np.empty(words, np.float32)
        for word in range(words):
            (length,) = self.numbers(1, "vocabulary")
            self.require(length <= 65_535, f"has a token of {length} bytes")
            tokens.append(self.bytes(length, "vocabulary"))
            scores[word] = np.frombuffer(self.bytes(4, "vocabulary"), "<f4")[0]
        self.require(bool(np.isfinite(scores).all()), "has scores of tokens that are not numbers")
        for word, token in enumerate(tokens):
            self.require(_is_byte(word, token) or _is_text(token), f"has bytes in token {word} that are not text")
        missing = next((b for b in range(256) if not _is_byte(b + 3, tokens[b + 3] if b + 3 < words else b"")), None)
        if missing is not None:
            raise self.fault(f"has no byte tokens as Llama's vocabulary has ({missing:#04x} is missing); {_ADVICE}")
        return tuple(tokens), scores

    def tensors(self) -> list[GGJTTensor]:
        found: list[GGJTTensor] = []
        while self.position < self.size:
            dimensions, length, kind = self.numbers(3, "tensors")
            self.require(1 <= dimensions <= 2, f"has a tensor of {dimensions} dimensions")
            self.require(0 < length <= _MAX_NAME, f"has a tensor with a name of {length} bytes")
            shape = self.numbers(dimensions, "tensors")
            raw = self.bytes(length, "tensors")
            self.position += -self.position % _ALIGNMENT
            name = self.renamed(raw)
            tensor = self.tensor(name or "rope.freqs", shape, kind)
            if name is not None:
                found.append(tensor)
        return found

    def tensor(self, name: str, shape: tuple[int, ...], kind: int) -> GGJTTensor:
        self.require(kind in _LAYOUT_SINCE, f"has the unknown type {kind} in {name}")
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        if self.version < _LAYOUT_SINCE[kind]:
            raise self.fault(
                f"has {type_name} blocks of version {self.version} (before version {_LAYOUT_SINCE[kind]} they were laid"
                f" out differently), which nothing reads any more; {_ADVICE}"
            )
        self.require(all(shape) and shape[0] % block == 0, f"has rows of {shape[0]} values in {name} as {type_name}")
        nbytes = int(np.prod(shape, dtype=object)) // block * block_bytes
        if self.position + nbytes > self.size:
            raise self.fault(
                f"is cut short: {name} ends {self.position + nbytes - self.size} bytes past the end of the file "
                f"({self.size} bytes); download it again"
            )
        self.position += nbytes
        return GGJTTensor(name, shape, kind, self.position - nbytes, nbytes)

    def renamed(self, raw: bytes) -> str | None:
        """The name in GGUF; None for a tensor that is worked out from the settings."""
        name = raw.decode("ascii", "replace")
        if match := _IN_BLOCK.fullmatch(name):
            if match[2] in _BLOCK_NAMES:
                return f"blk.{match[1]}.{_BLOCK_NAMES[match[2]]}.weight"
        elif name in _NAMES:
            return _NAMES[name]
        elif _DERIVED.fullmatch(name):
            return None
        if architecture := self.architecture():
            raise self.fault(_other(architecture))
        raise self.fault(f"is damaged: it has a tensor named {name[:80]!r}, which no Llama has")

    def height(self, tensors: Mapping[str, GGJTTensor], name: str) -> int:
        self.require(name in tensors and len(tensors[name].shape) == 2, f"has no tensor {name}")
        return tensors[name].shape[1]

    def compare(self, tensors: Mapping[str, GGJTTensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            self.require(name in tensors, f"has no tensor {name}")
            found = tensors[name]
            self.require(found.shape == shape, f"has {name} in the shape {found.shape} and not {shape}")
            self.require(len(shape) == 2 or found.type == 0, f"has {name} as {TENSOR_TYPES[found.type][0]} and not F32")
        if more := sorted(tensors.keys() - shapes.keys()):
            raise self.fault(f"is damaged: it has {more[0]} after its last layer")

    def architecture(self) -> str | None:
        start = self.data[: min(self.size, _SEARCHED)]
        return next((kind for name, kind in _ARCHITECTURES if name in start), None)

    def numbers(self, count: int, what: str) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.bytes(4 * count, what))

    def bytes(self, length: int, what: str) -> bytes:
        start, self.position = self.position, self.position + length
        if self.position > self.size:
            raise self.fault(f"is cut short: it ends within its {what}; download it again")
        return self.data[start : self.position]

    def require(self, good: bool, otherwise: str) -> None:
        if not good:
            architecture = self.architecture()
            raise self.fault(_other(architecture) if architecture else f"is damaged: it {otherwise}")

    def fault(self, reason: str) -> ModelFileError:
        return ModelFileError(self.path, reason)


def _shapes(width: int, words: int, layers: int, keys: int, inner: int) -> dict[str, tuple[int, ...]]:
    block = {
        "attn_q": (width, width),
        "attn_k": (width, keys),
        "attn_v": (width, keys),
        "attn_output": (width, width),
        "attn_norm": (width,),
        "ffn_gate": (width, inner),
        "ffn_down": (inner, width),
        "ffn_up": (width, inner),
        "ffn_norm": (width,),
    }
    shapes = {f"blk.{layer}.{name}.weight": shape for layer in range(layers) for name, shape in block.items()}
    ends = {"token_embd.weight": (width, words), "output_norm.weight": (width,), "output.weight": (width, words)}
    return shapes | ends


def _is_byte(word: int, token: bytes) -> bool:
    return 3 <= word <= 258 and token == bytes([word - 3])


def _is_text(token: bytes) -> bool:
    try:
        token.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _other(architecture: str) -> str:
    runs = "" if architecture in _UNRUNNABLE else "run it with 'ctransformers:', or "
    return (
        f"is an old GGML file of the {architecture} family, and only Llama's can be laid out as GGUF; {runs}{_ADVICE}"
    )


def _what_else(start: bytes, architecture: str | None) -> str:
    """What a file is that does not begin as 'ggjt' does."""
    if start[:4] == b"algg":
        return "is a LoRA adapter of 2023 ('ggla') and no model by itself; get the adapter as GGUF"
    if start[:4] in (b"lmgg", b"fmgg", b"ccgg"):
        if architecture:
            return _other(architecture)
        kind = start[:4][::-1].decode()
        return f"is a GGML file of before May 2023 or of another program ('{kind}'); {_ADVICE}"
    if start.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "is a PyTorch file and no GGML; use the folder it came in with 'hf:', or get the model as GGUF"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer and not the model; run 'git lfs pull' or download the file itself"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page and not a model; the download went wrong (a login page, or the address of a page)"
    if start.strip(b"\0") == b"":
        return "begins with zeros: the download was not finished; download it again"
    return f"is not a GGML file: it begins with {start[:4]!r} and not with b'tjgg'"
