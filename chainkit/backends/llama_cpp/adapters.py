"""LoRA adapters: small GGUF files that change what a model has learnt, put on when a context is made."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chainkit.backends.llama_cpp.capi import Handle
from chainkit.backends.llama_cpp.header import Header, read_header
from chainkit.base.errors import ModelFileError

if TYPE_CHECKING:
    from chainkit.backends.llama_cpp.weights import Weights

_PARTS = (".lora_a", ".lora_b")


@dataclass(frozen=True)
class Adapter:
    """One adapter.

    Attributes:
        path: A GGUF file of `general.type` "adapter".
        scale: How much of it: 1 is as it was trained, 0 nothing.
        changed: When the file was written, in nanoseconds; another file is another adapter.
    """

    path: Path
    scale: float
    changed: int


def adapters(names: Sequence[str], scales: Sequence[float]) -> tuple[Adapter, ...]:
    """The adapters of file names; a single scale counts for all, none is 1.

    Raises:
        ModelFileError: A file is absent or no GGUF.
        ValueError: There are not as many scales as adapters, or one is not a number.
    """
    if not names and scales:
        raise ValueError("lora_scale is given, and no lora to scale")
    if len(scales) not in (0, 1, len(names)):
        raise ValueError(f"there are {len(names)} adapters in lora and {len(scales)} numbers in lora_scale")
    if not all(map(math.isfinite, scales)):
        raise ValueError(f"lora_scale must be numbers, got {list(scales)}")
    scales = list(scales) * len(names) if len(scales) == 1 else scales or [1.0] * len(names)
    found: list[Adapter] = []
    for name, scale in zip(names, scales, strict=True):
        path = Path(name).expanduser()
        read_header(path)
        found.append(Adapter(path, scale, path.stat().st_mtime_ns))
    return tuple(found)


def put_on(weights: Weights, context: Handle, chosen: Sequence[Adapter]) -> None:
    """Make a context compute with adapters; the model keeps their weights as long as it lives.

    Raises:
        ModelFileError: An adapter was made for another model, or is damaged.
        Unsupported: The installed llama.cpp has no adapters.
    """
    if not chosen:
        return
    llama = weights.library
    handles: list[int] = []
    for adapter in chosen:
        check_adapter(read_header(adapter.path), weights.header)
        llama.errors.clear()
        handle = llama.newer("llama_adapter_lora_init")(weights.handle, str(adapter.path).encode())
        if not handle:
            raise ModelFileError(adapter.path, f"llama.cpp refuses it as an adapter: {llama.last_errors()}")
        handles.append(handle)
    pointers = (ctypes.c_void_p * len(handles))(*handles)
    scales = (ctypes.c_float * len(handles))(*(adapter.scale for adapter in chosen))
    if status := llama.newer("llama_set_adapters_lora")(context, pointers, len(handles), scales):
        raise ModelFileError(chosen[0].path, f"llama.cpp could not put it on (status {status})")


def check_adapter(header: Header, model: Header) -> None:
    """Refuse an adapter that does not fit a model, with the reason.

    Raises:
        ModelFileError: It is a model, of another architecture, or its tensors do not fit those of the model.
    """
    if fault := _fault(header, model):
        raise ModelFileError(header.path, fault)


def _fault(header: Header, model: Header) -> str | None:
    if header.get("general.type") != "adapter":
        return "is not an adapter but a model by itself; name it as the model"
    if header.get("adapter.type") != "lora":
        return f"is an adapter of the kind {header.get('adapter.type')!r}, and 'lora' is known"
    if header.architecture != model.architecture:
        return f"was made for a model of kind '{header.architecture}', and {model.path.name} is '{model.architecture}'"
    if not header.tensors:
        return "is damaged: it has no tensors"
    alpha = header.get("adapter.lora.alpha")
    if not isinstance(alpha, float) or not math.isfinite(alpha):
        return f"is damaged: adapter.lora.alpha is {alpha!r}"
    return next(filter(None, (_tensor_fault(name, header, model) for name in header.tensors)), None)


def _tensor_fault(name: str, header: Header, model: Header) -> str | None:
    base = name[: -len(_PARTS[0])]
    other = model.tensors.get(base)
    if not name.endswith(_PARTS):
        return f"is damaged: {name} is neither the first nor the second half of a change"
    if other is None:
        return f"changes {base}, which {model.path.name} does not have"
    if base + _PARTS[0] not in header.tensors or base + _PARTS[1] not in header.tensors:
        return f"is damaged: it has only one half of its change of {base}"
    kind = header.tensors[name].type
    if kind not in ("F32", "F16", "BF16", "Q8_0"):
        return f"holds {name} as {kind}; convert it to F32 or F16"
    return _shape_fault(base, header, other.shape)


def _shape_fault(base: str, header: Header, shape: tuple[int, ...]) -> str | None:
    first, second = (header.tensors[base + part].shape for part in _PARTS)
    if len(first) != 2 or len(second) != 2 or len(shape) != 2:
        return f"changes {base}, which is not a matrix"
    if base == "token_embd.weight":  # its halves lie the other way around
        fits = first[-1] == shape[-1] or first[0] == shape[0]
    else:
        fits = first[0] == shape[0] and second[1] == shape[1] and first[1] == second[0]
    return None if fits else f"does not fit: its change of {base} is {first} by {second}, and the matrix is {shape}"
