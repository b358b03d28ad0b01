"""The structures of ik_llama.cpp's C API as in ik-llama-cpp-python 0.1.5; after its own `llama.h`.

A fork of llama.cpp that went its own way in 2024: the functions are of that time, the structures have grown apart.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import c_float, c_int, c_int32, c_uint8, c_uint32, c_void_p
from typing import Any

from chainkit.backends.llama_cpp.layouts import Layout, LlamaBatch

_KV_TYPES: tuple[tuple[str, Any], ...] = (
    ("type_k_first", c_int),
    ("type_k_last", c_int),
    ("type_v_first", c_int),
    ("type_v_last", c_int),
    ("n_k_first", c_int32),
    ("n_k_last", c_int32),
    ("n_v_first", c_int32),
    ("n_v_last", c_int32),
)


class IkBatch(ctypes.Structure):
    """`llama_batch`: as llama.cpp's, with three fields for calls that give no positions."""

    _fields_ = (*LlamaBatch._fields_, ("all_pos_0", c_int32), ("all_pos_1", c_int32), ("all_seq_id", c_int32))


class IkModelParams(ctypes.Structure):
    """`llama_model_params`; booleans as bytes, so that anything but 0 and 1 is seen."""

    _fields_ = (
        ("devices", c_void_p),
        ("n_gpu_layers", c_int32),
        ("mla", c_int32),
        ("split_mode", c_int),
        ("main_gpu", c_int32),
        ("max_gpu", c_int32),
        ("ncmoe", c_int32),
        ("type_k", c_int),
        ("type_v", c_int),
        ("max_ctx_size", c_uint32),
        ("n_seq_max", c_int32),
        ("n_ubatch", c_int32),
        ("amb", c_int32),
        ("fit_margin", c_int32),
        ("fit", c_uint8),
        ("worst_graph_tokens", c_int32),
        *_KV_TYPES,
        ("tensor_split", c_void_p),
        ("rpc_servers", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("vocab_only", c_uint8),
        ("use_mmap", c_uint8),
        ("use_mlock", c_uint8),
        ("check_tensors", c_uint8),
        ("repack_tensors", c_uint8),
        ("use_thp", c_uint8),
        ("validate_quants", c_uint8),
        ("merge_qkv", c_uint8),
        ("merge_up_gate_exps", c_uint8),
        ("mtp", c_uint8),
        ("dry_run", c_uint8),
        ("flash_attn", c_uint8),
    )


class IkContextParams(ctypes.Structure):
    """`llama_context_params`."""

    _fields_ = (
        ("seed", c_uint32),
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_threads", c_uint32),
        ("n_threads_batch", c_uint32),
        ("max_extra_alloc", c_int32),
        ("worst_case_tokens", c_int32),
        ("rope_scaling_type", c_int),
        ("pooling_type", c_int),
        ("attention_type", c_int),
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
        ("type_reduce", c_int),
        *_KV_TYPES,
        ("logits_all", c_uint8),
        ("embeddings", c_uint8),
        ("offload_kqv", c_uint8),
        ("flash_attn", c_uint8),
        ("mla_attn", c_int),
        ("attn_max_batch", c_int),
        ("fused_moe_up_gate", c_uint8),
        ("grouped_expert_routing", c_uint8),
        ("fused_up_gate", c_uint8),
        ("fused_mmad", c_uint8),
        ("rope_cache", c_uint8),
        ("graph_reuse", c_uint8),
        ("min_experts", c_int),
        ("thresh_experts", c_float),
        ("only_active_experts", c_uint8),
        ("k_cache_hadamard", c_uint8),
        ("v_cache_hadamard", c_uint8),
        ("split_mode_graph_scheduling", c_uint8),
        ("scheduler_async", c_uint8),
        ("mtp", c_uint8),
        ("mtp_op_type", c_int),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("offload_policy", c_void_p),
        ("cuda_params", c_void_p),
    )


_KV_DEFAULTS: Mapping[str, float | None] = {
    "type_k": 1,
    "type_v": 1,
    "type_k_first": 1,
    "type_v_last": 1,
    "n_k_first": -1,
    "n_v_last": -1,
}
_MODEL_DEFAULTS: Mapping[str, float | None] = {
    **_KV_DEFAULTS,
    "devices": None,
    "n_gpu_layers": 0,
    "mla": 0,
    "split_mode": 1,
    "main_gpu": 0,
    "max_ctx_size": 0,
    "n_seq_max": 1,
    "n_ubatch": 512,
    "fit": 0,
    "worst_graph_tokens": 0,
    "tensor_split": None,
    "rpc_servers": None,
    "progress_callback": None,
    "kv_overrides": None,
    "tensor_buft_overrides": None,
    "vocab_only": 0,
    "use_mmap": 1,
    "use_mlock": 0,
    "check_tensors": 0,
    "repack_tensors": 0,
    "use_thp": 0,
    "validate_quants": 0,
    "merge_qkv": 0,
    "merge_up_gate_exps": 0,
    "mtp": 0,
    "dry_run": 0,
    "flash_attn": 1,
}
_CONTEXT_DEFAULTS: Mapping[str, float | None] = {
    **_KV_DEFAULTS,
    "seed": 0xFFFFFFFF,
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_threads": 4,
    "n_threads_batch": 4,
    "max_extra_alloc": 256,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "attention_type": -1,
    "rope_freq_base": 0.0,
    "yarn_ext_factor": -1.0,
    "yarn_orig_ctx": 0,
    "defrag_thold": -1.0,
    "cb_eval": None,
    "type_reduce": 1,
    "logits_all": 0,
    "embeddings": 0,
    "offload_kqv": 1,
    "flash_attn": 1,
    "mla_attn": 3,
    "attn_max_batch": 0,
    "fused_moe_up_gate": 1,
    "fused_up_gate": 1,
    "fused_mmad": 1,
    "rope_cache": 0,
    "graph_reuse": 1,
    "min_experts": -1,
    "only_active_experts": 0,
    "k_cache_hadamard": 0,
    "v_cache_hadamard": 0,
    "mtp": 0,
    "mtp_op_type": 0,
    "abort_callback": None,
    "offload_policy": None,
    "cuda_params": None,
}

IK_LLAMA_CPP = Layout(
    "ik_llama_cpp_python",
    "0.1.5",
    "gguf-ik",
    IkContextParams,
    IkModelParams,
    IkBatch,
    _MODEL_DEFAULTS,
    _CONTEXT_DEFAULTS,
    # counted in the wheels' code: AVX2 with F16C and FMA; ARMv8.2 with dot products and half floats, no older one
    {"x86_64": ("avx2", "f16c", "fma"), "aarch64": ("asimddp", "asimdhp")},
)
