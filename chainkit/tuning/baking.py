"""Soft prompts inside a GGUF file, as rows of its token table with names: any front end of llama.cpp serves them."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from chainkit.backends.llama_cpp.capi import Library
from chainkit.backends.llama_cpp.header import TENSOR_TYPES, Array, Header, Tensor, read_header
from chainkit.backends.llama_cpp.libraries import library
from chainkit.backends.llama_cpp.rewrite import array, flag, header_bytes, number, placed, raw_entries, text
from chainkit.backends.llama_cpp.token_table import NAME, table_rows
from chainkit.base.copying import copy_range, whole
from chainkit.base.errors import BadExamples, ModelFileError, Unsupported
from chainkit.local.soft_prompt import SoftPrompt, Vectors, as_soft_prompt, sampled_tokens

_HEAD = "output.weight"
_TEMPLATE, _ADDS_FIRST = "tokenizer.chat_template", "tokenizer.ggml.add_bos_token"
_CONTROL = 3
_NUMBERS = {name: kind for kind, (name, _, _) in TENSOR_TYPES.items()}
# architectures whose tied output head may be stored as a separate tensor
_UNTIED = frozenset({"llama", "qwen2", "qwen3", "mistral3", "phi3", "gpt2", "bloom", "gptneox", "olmo2", "granite"})


@dataclass(frozen=True)
class Baked:
    """A GGUF file with soft prompts.

    Attributes:
        path: The file.
        prompts: By name, the text that calls each: put it before the prompt, with special tokens read as such.
        grown_bytes: How much larger the file is.
    """

    path: Path
    prompts: Mapping[str, str]
    grown_bytes: int


def bake(
    model: str | Path,
    prompts: Mapping[str, SoftPrompt | str | Path],
    out: str | Path,
    *,
    always: str | None = None,
) -> Baked:
    """Write a copy of a GGUF file that holds soft prompts as control tokens: `<|NAME_0|><|NAME_1|>...`.

    Args:
        model: The file that the soft prompts were trained for, at any quantisation.
        prompts: By name (letters, digits, dashes), the soft prompts or their folders.
        out: The file to make; nothing may be there.
        always: The name of the soft prompt that is to stand before every chat, as it does with `soft_prompt=`: the
            copy's chat template writes it, then the model's first token, which nobody else writes any more. Without
            it front ends put the first token before the soft prompt, which was not trained so.

    Raises:
        BadExamples: A name is none, or `always` names no soft prompt.
        ModelFileError: The file is not a model, or has no token table, or, for `always`, no chat template.
        SoftPromptMismatch: A soft prompt was trained on another model.
        Unsupported: This kind of model, or this build of llama.cpp, cannot take more tokens.
        DiskFull: The copy would not fit.
    """
    path, target = Path(model).expanduser(), Path(out).expanduser()
    header = read_header(path)
    if NAME not in header.tensors:
        raise ModelFileError(path, f"has no {NAME}, so it is not a language model, or one of several files")
    if always is not None and always not in prompts:
        raise BadExamples(f"'{always}' is to stand before every chat, and is none of {', '.join(prompts)}")
    if always is not None and _TEMPLATE not in header:
        raise ModelFileError(path, "has no chat template that could write a soft prompt; leave always away")
    work = _Work(header, _loaded(prompts), library(), always)
    return work.written(target)


def _loaded(prompts: Mapping[str, Any]) -> dict[str, SoftPrompt]:
    if not prompts:
        raise BadExamples("no soft prompts are given")
    loaded: dict[str, SoftPrompt] = {}
    for name, given in prompts.items():
        soft = as_soft_prompt(given)
        if soft is None or not re.fullmatch(r"[A-Za-z0-9-]+", name):
            raise BadExamples(f"'{name}' is not a name for a soft prompt; use letters, digits and dashes")
        loaded[name] = soft
    return loaded


class _Work:
    """One file on its way."""

    def __init__(self, header: Header, prompts: Mapping[str, SoftPrompt], llama: Library, always: str | None) -> None:
        self.header, self.prompts, self.llama, self.always = header, prompts, llama, always
        self.table = header.tensors[NAME]
        rows = table_rows(header, llama, sampled_tokens(self.table.shape[1]))
        for soft in prompts.values():
            soft.require_fit(self.table.shape[0], self.table.shape[1], rows)
        self.names = {
            name: [f"<|{name}_{place}|>" for place in range(len(soft.tokens))] for name, soft in prompts.items()
        }
        self.new = [name for names in self.names.values() for name in names]
        if header.architecture not in _UNTIED and _HEAD not in header.tensors:
            raise Unsupported(
                f"a {header.architecture} writes with the same table that it reads with, so it could write the new "
                "tokens; use soft_prompt= with the unchanged model"
            )

    def written(self, out: Path) -> Baked:
        """Write the copy."""
        alignment = self.header.get("general.alignment", 32)
        tensors = placed([self._grown(tensor) for tensor in self._tensors()], alignment)
        start = header_bytes(self._entries(), tensors, alignment)
        total = len(start) + tensors[-1].offset + tensors[-1].nbytes
        added = {NAME: self._vectors(), _HEAD: self._silent_rows()}
        with whole(out, total) as part, FileIO(self.header.path) as source, FileIO(part, "w") as target:
            _write(target, start)
            for tensor in tensors:
                old = self.header.tensors.get(tensor.name, self.table)
                _write(target, b"\0" * (len(start) + tensor.offset - target.tell()))
                copy_range(source, self.header.data_offset + old.offset, old.nbytes, target)
                _write(target, added.get(tensor.name, b""))
        grown = total - self.header.path.stat().st_size
        return Baked(out, {name: "".join(names) for name, names in self.names.items()}, grown)

    def _tensors(self) -> list[Tensor]:
        """Those of the file, and a separate output head if the model ties it."""
        tensors = list(self.header.tensors.values())
        return tensors if _HEAD in self.header.tensors else [*tensors, replace(self.table, name=_HEAD)]

    def _grown(self, tensor: Tensor) -> Tensor:
        if tensor.name not in (NAME, _HEAD):
            return tensor
        width, rows = tensor.shape
        nbytes = tensor.nbytes // rows * (rows + len(self.new))
        return replace(tensor, shape=(width, rows + len(self.new)), nbytes=nbytes)

    def _entries(self) -> dict[str, bytes]:
        entries = raw_entries(self.header)
        tokens = list(self.header.array("tokenizer.ggml.tokens"))
        texts = [name.encode() for name in self.new]
        if known := next((name for name in texts if name in tokens), None):
            raise ModelFileError(self.header.path, f"has a token {known.decode()} already; choose another name")
        entries["tokenizer.ggml.tokens"] = array(8, [*tokens, *texts])
        for key, value in (("tokenizer.ggml.token_type", _CONTROL), ("tokenizer.ggml.scores", 0)):
            where = self.header.entries.get(key)
            if isinstance(where, Array):
                old = np.asarray(self.header.array(key))
                entries[key] = array(where.item, np.concatenate([old, np.full(len(texts), value, old.dtype)]))
        size = f"{self.header.architecture}.vocab_size"
        if size in entries:
            entries[size] = number(len(tokens) + len(texts))
        if self.always is not None:
            entries[_TEMPLATE] = text(self._template(tokens, self.always))
            entries[_ADDS_FIRST] = flag(False)
        return entries

    def _template(self, tokens: Sequence[bytes], always: str) -> str:
        """The chat template with the soft prompt before it, and the BOS token if the template omits it."""
        template, first = str(self.header[_TEMPLATE]), ""
        adds = self.header.get(_ADDS_FIRST, self.header.get("tokenizer.ggml.model") == "llama")
        place = self.header.get("tokenizer.ggml.bos_token_id")
        if adds and isinstance(place, int):
            written = tokens[place].decode()
            first = "" if "bos_token" in template or written in template else written
        return "".join(self.names[always]) + first + template

    def _vectors(self) -> bytes:
        vectors = np.concatenate([soft.vectors for soft in self.prompts.values()])
        return quantised(vectors, self.table.type, self.llama)

    def _silent_rows(self) -> bytes:
        """For the head: the row of a token that is never written, so that the new ones never are."""
        keys = ("padding", "unknown", "bos")
        silent = next((self.header.get(f"tokenizer.ggml.{key}_token_id") for key in keys if self._known(key)), 0)
        head = self.header.tensors.get(_HEAD, self.table)
        row = head.nbytes // head.shape[1]
        with self.header.path.open("rb") as file:
            file.seek(self.header.data_offset + head.offset + int(silent or 0) * row)
            return file.read(row) * len(self.new)

    def _known(self, key: str) -> bool:
        return f"tokenizer.ggml.{key}_token_id" in self.header


def quantised(vectors: Vectors, kind: str, llama: Library) -> bytes:
    """Rows of a tensor of a type.

    Raises:
        Unsupported: The library has no function for it.
    """
    if kind == "F32":
        return vectors.astype("<f4").tobytes()
    if kind == "F16":
        return vectors.astype("<f2").tobytes()
    function: Any = llama.exported("ggml_quantize_chunk")
    if function is None:
        raise Unsupported(f"this build of llama.cpp does not offer to write {kind}; take an f16 or f32 file")
    _, values, block = next(row for row in TENSOR_TYPES.values() if row[0] == kind)
    rows, width = vectors.shape
    result = np.zeros(rows * width // values * block, np.uint8)
    source, importance = np.ascontiguousarray(vectors, np.float32), np.ones(width, np.float32)
    function.restype = ctypes.c_size_t
    function.argtypes = (
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    )  # fmt: skip
    written = function(_NUMBERS[kind], source.ctypes.data, result.ctypes.data, 0, rows, width, importance.ctypes.data)
    if written != len(result):
        raise Unsupported(f"llama.cpp wrote {written} bytes of {kind} and not {len(result)}")
    return result.tobytes()


def _write(target: FileIO, data: bytes | Sequence[int]) -> None:
    left = memoryview(bytes(data))
    while left:
        left = left[target.write(left) :]
