"""The structures of llama.cpp's C API, one layout per build that is known.

The fields move from build to build, and a wrong layout writes settings over each other without a word. So each layout
says which values the library's own `llama_*_default_params` must give, and a library that gives others is refused.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import c_float, c_int, c_int8, c_int32, c_size_t, c_uint8, c_uint32, c_void_p
from dataclasses import dataclass, field
from typing import Any

ProgressCallback = ctypes.CFUNCTYPE(ctypes.c_bool, c_float, c_void_p)
LogCallback = ctypes.CFUNCTYPE(None, c_int, ctypes.c_char_p, c_void_p)

FLASH = {None: -1, False: 0, True: 1}
"""`flash_attn_type`: whether attention is computed in tiles; None leaves it to the library."""


class LlamaBatch(ctypes.Structure):
    """`llama_batch`: tokens or vectors with their positions and sequences."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", c_void_p),
        ("embd", c_void_p),
        ("pos", c_void_p),
        ("n_seq_id", c_void_p),
        ("seq_id", c_void_p),
        ("logits", c_void_p),
    )


class ModelParams(ctypes.Structure):
    """`llama_model_params`; booleans as bytes, so that anything but 0 and 1 is seen."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_uint8),
        ("check_tensors", c_uint8),
        ("use_extra_bufts", c_uint8),
        ("no_host", c_uint8),
        ("no_alloc", c_uint8),
        ("load_mtp", c_uint8),
    )


_CONTEXT_HEAD: tuple[tuple[str, Any], ...] = (
    ("n_ctx", c_uint32),
    ("n_batch", c_uint32),
    ("n_ubatch", c_uint32),
    ("n_seq_max", c_uint32),
    ("n_rs_seq", c_uint32),
    ("n_outputs_max", c_uint32),
    ("n_outputs_max_per_seq", c_uint32),
    ("n_threads", c_int32),
    ("n_threads_batch", c_int32),
    ("ctx_type", c_int),
    ("rope_scaling_type", c_int),
    ("pooling_type", c_int),
    ("attention_type", c_int),
    ("flash_attn_type", c_int),
    ("rope_freq_base", c_float),
    ("rope_freq_scale", c_float),
    ("yarn_ext_factor", c_float),
    ("yarn_attn_factor", c_float),
    ("yarn_beta_fast", c_float),
    ("yarn_beta_slow", c_float),
    ("yarn_orig_ctx", c_uint32),
    ("defrag_thold", c_float),
    ("cb_eval", c_void_p),
    ("cb_eval_user_data", c_void_p),
    ("type_k", c_int),
    ("type_v", c_int),
    ("abort_callback", c_void_p),
    ("abort_callback_data", c_void_p),
)
_CONTEXT_TAIL: tuple[tuple[str, Any], ...] = (
    ("embeddings", c_uint8),
    ("offload_kqv", c_uint8),
    ("no_perf", c_uint8),
    ("op_offload", c_uint8),
    ("swa_full", c_uint8),
    ("kv_unified", c_uint8),
    ("samplers", c_void_p),
    ("n_samplers", c_size_t),
    ("ctx_other", c_void_p),
)


class ContextParams(ctypes.Structure):
    """`llama_context_params` as in llama.cpp of llama-cpp-python 0.3.36."""

    _fields_ = (*_CONTEXT_HEAD, *_CONTEXT_TAIL)


class ContextParamsWide(ctypes.Structure):
    """`llama_context_params` of b11549: eight bytes more before the booleans, null by default."""

    _fields_ = (*_CONTEXT_HEAD, ("reserved", c_void_p), *_CONTEXT_TAIL)


MODEL_DEFAULTS: Mapping[str, float | None] = {
    "devices": None,
    "tensor_buft_overrides": None,
    "n_gpu_layers": -1,
    "split_mode": 1,
    "load_mode": -1,
    "lazy_mode": 1,
    "main_gpu": 0,
    "progress_callback": None,
    "kv_overrides": None,
    "vocab_only": 0,
    "check_tensors": 0,
    "use_extra_bufts": 1,
    "no_host": 0,
    "no_alloc": 0,
    "load_mtp": 0,
}
CONTEXT_DEFAULTS: Mapping[str, float | None] = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_outputs_max": 0,
    "n_outputs_max_per_seq": 1,
    "n_threads": 4,
    "n_threads_batch": 4,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "attention_type": -1,
    "flash_attn_type": -1,
    "rope_freq_base": 0.0,
    "yarn_ext_factor": -1.0,
    "yarn_orig_ctx": 0,
    "defrag_thold": -1.0,
    "cb_eval": None,
    "type_k": 1,
    "type_v": 1,
    "abort_callback": None,
    "embeddings": 0,
    "offload_kqv": 1,
    "no_perf": 1,
    "op_offload": 1,
    "swa_full": 1,
    "kv_unified": 0,
    "samplers": None,
    "n_samplers": 0,
    "ctx_other": None,
}


@dataclass(frozen=True)
class Layout:
    """The structures of one build and where that build is found.

    Attributes:
        package: The distribution that brings it.
        version: The release that has these structures.
        extra: The chainkit extra that installs it.
        context: `llama_context_params`.
        model: `llama_model_params`.
        batch: `llama_batch`.
        model_defaults: What the library must fill `model` with.
        context_defaults: What the library must fill `context` with.
        processor: By machine, the processor features that every call of the library may use.
    """

    package: str
    version: str
    extra: str
    context: type[ctypes.Structure]
    model: type[ctypes.Structure] = ModelParams
    batch: type[ctypes.Structure] = LlamaBatch
    model_defaults: Mapping[str, float | None] = field(default_factory=lambda: MODEL_DEFAULTS, hash=False)
    context_defaults: Mapping[str, float | None] = field(default_factory=lambda: CONTEXT_DEFAULTS, hash=False)
    processor: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]], hash=False)

    @property
    def name(self) -> str:
        """Package and version."""
        return f"{self.package} {self.version}"

    def faults(self, library: ctypes.CDLL) -> list[str]:
        """Where the library's own defaults differ from those of this layout; empty if it fits."""
        model = defaults(library, "llama_model_default_params", self.model)
        context = defaults(library, "llama_context_default_params", self.context)
        return [*_differences(model, self.model_defaults), *_differences(context, self.context_defaults)]


AVX2 = ("avx2", "bmi2", "f16c", "fma")

LLAMA_CPP_PYTHON = Layout("llama_cpp_python", "0.3.36", "gguf-native", ContextParams)
XLLAMACPP = Layout("xllamacpp", "2026.10.11549", "gguf", ContextParamsWide, processor={"x86_64": AVX2})


def defaults(library: ctypes.CDLL, function: str, structure: type[ctypes.Structure]) -> ctypes.Structure:
    """What the library fills a structure with."""

    # A library with a longer structure than ours writes past its end: leave room after it.
    class Padded(ctypes.Structure):
        _fields_ = (("inner", structure), ("room", c_int8 * 256))

    call = library[function]  # a new function object, so that the type set here stays here
    call.argtypes, call.restype = (), Padded
    return call().inner


def _differences(values: ctypes.Structure, expected: Mapping[str, float | None]) -> list[str]:
    found = ((name, getattr(values, name), wanted) for name, wanted in expected.items())
    return [f"{name} is {value} by default, not {wanted}" for name, value, wanted in found if value != wanted]
