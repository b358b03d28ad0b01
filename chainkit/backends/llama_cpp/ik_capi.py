"""ik_llama.cpp under the names and arguments of llama.cpp's C API, so that the same runtime works on both.

Its functions are those of llama.cpp of 2024: the context is asked for the memory, the model for tokens, and states
take flags.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int32, c_size_t, c_uint8, c_uint32, c_void_p
from typing import Any

from chainkit.backends.llama_cpp.capi import SIGNATURES, Handle, Library
from chainkit.base.errors import Unsupported

_NO_ROOM = 1
# ggml has 64 slots for its own structures, and the process ends at the 65th; adapters and passes need some
_MOST_SLOTS, _OF_MODEL, _OF_CONTEXT = 56, 1, 2

# the same function under another name
_RENAMED = {
    "llama_model_n_ctx_train": "llama_n_ctx_train",
    "llama_model_n_embd_out": "llama_model_n_embd",
    "llama_memory_seq_rm": "llama_kv_cache_seq_rm",
    "llama_memory_seq_cp": "llama_kv_cache_seq_cp",
    "llama_tokenize": "llama_vocab_tokenize",
    "llama_token_to_piece": "llama_token_to_piece_vocab",
}

# with other arguments; `IkLibrary` has a method for each
_OTHERS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_free": (None, (c_void_p,)),
    "llama_free_model": (None, (c_void_p,)),
    "llama_kv_cache_clear": (None, (c_void_p,)),
    "llama_kv_cache_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_kv_cache_defrag": (None, (c_void_p,)),
    "llama_kv_cache_update": (c_int32, (c_void_p,)),
    "llama_token_is_control": (c_bool, (c_void_p, c_int32)),
    "llama_token_get_attr": (c_int32, (c_void_p, c_int32)),
    "llama_state_seq_get_size": (c_size_t, (c_void_p, c_int32, c_uint32)),
    "llama_state_seq_get_data": (c_size_t, (c_void_p, POINTER(c_uint8), c_size_t, c_int32, c_uint32)),
    "llama_state_seq_set_data": (c_size_t, (c_void_p, POINTER(c_uint8), c_size_t, c_int32, c_uint32)),
    "llama_lora_adapter_init": (c_void_p, (c_void_p, c_char_p)),
    "llama_lora_adapter_set": (c_int32, (c_void_p, c_void_p, c_float)),
    "llama_lora_adapter_clear": (None, (c_void_p,)),
}


class IkLibrary(Library):
    """One loaded ik_llama.cpp.

    Tokens whose cells lie before those that they follow get wrong numbers from it, and flash attention then ends the
    process (0.1.5). One text at a time always lies in order.
    """

    sequences = 1

    def _bind(self) -> None:
        own = {name: self._cdll[name] for name in _OTHERS}
        for name, function in own.items():
            function.restype, function.argtypes = _OTHERS[name]
        self._replaced = _Replaced(own, self._function("llama_decode", "llama_decode"))
        for name in SIGNATURES:
            replaced = name in vars(_Replaced)
            setattr(self, name, getattr(self._replaced, name) if replaced else self._renamed(name))

    def _renamed(self, name: str) -> Any:
        return self._function(name, _RENAMED.get(name, name))

    def model_params(self, **values: Any) -> ctypes.Structure:
        """Settings by the names of llama.cpp."""
        if "load_mode" in values:
            values["use_mmap"] = values.pop("load_mode")
        if "use_extra_bufts" in values:
            values["repack_tensors"] = values.pop("use_extra_bufts")
        return super().model_params(**values)

    def context_params(self, **values: Any) -> ctypes.Structure:
        """Settings by the names of llama.cpp; one memory for all sequences is the only kind there is."""
        values.pop("kv_unified", None)
        values["graph_reuse"] = 0
        if "flash_attn_type" in values:
            values["flash_attn"] = int(values.pop("flash_attn_type") > 0 or values.get("type_v", 1) != 1)
        return super().context_params(**values)

    def load(self, path: str, params: ctypes.Structure) -> Handle:
        """A model, or None; then `last_errors` says why."""
        if not self._has_slots(_OF_MODEL):
            return None
        made = super().load(path, params)
        self._replaced.slots += _OF_MODEL if made is not None else 0
        return made

    def context(self, model: Handle, params: ctypes.Structure) -> Handle:
        """A context, or None; then `last_errors` says why."""
        if not self._has_slots(_OF_CONTEXT):
            return None
        made = super().context(model, params)
        self._replaced.slots += _OF_CONTEXT if made is not None else 0
        return made

    def _has_slots(self, wanted: int) -> bool:
        if self._replaced.slots + wanted > _MOST_SLOTS:
            gc.collect()
        if self._replaced.slots + wanted <= _MOST_SLOTS:
            return True
        self.errors.clear()
        self.errors.append(f"{self.layout.package} holds some twenty models in a process at most; unload others")
        return False

    def newer(self, name: str) -> Callable[..., Any]:
        """A function that not every build has.

        Raises:
            Unsupported: This one has not.
        """
        if name in vars(_Adapters):
            return getattr(_Adapters(self._replaced.own), name)
        raise Unsupported(f"{self.layout.name} has no {name}")


class _Replaced:
    """Functions whose arguments differ."""

    def __init__(self, own: dict[str, Any], decode: Callable[[Handle, Any], int]) -> None:
        self.own, self._decode = own, decode
        self._models: dict[Handle, Handle] = {}  # a vocabulary's model
        self.slots = 0

    def llama_free(self, context: Handle) -> None:
        self.own["llama_free"](context)
        self.slots -= _OF_CONTEXT

    def llama_model_free(self, model: Handle) -> None:
        self.own["llama_free_model"](model)
        self.slots -= _OF_MODEL

    def llama_model_get_vocab(self, model: Handle) -> Handle:
        vocabulary = self.own["llama_model_get_vocab"](model)
        self._models[vocabulary] = model
        return vocabulary

    def llama_get_memory(self, context: Handle) -> Handle:
        return context

    def llama_memory_clear(self, context: Handle, _data: bool) -> None:
        self.own["llama_kv_cache_clear"](context)

    def llama_decode(self, context: Handle, batch: Any) -> int:
        """A pass needs free cells side by side; where they lie scattered they are brought together first.

        A pass that is computed in several parts leaves those that had room, which must not be there twice.
        """
        status = self._decode(context, batch)
        if status == _NO_ROOM:
            for sequence, start in first_positions(batch).items():
                self.own["llama_kv_cache_seq_rm"](context, sequence, start, -1)
            self.own["llama_kv_cache_defrag"](context)
            self.own["llama_kv_cache_update"](context)
            status = self._decode(context, batch)
        return status

    def llama_vocab_is_control(self, vocabulary: Handle, token: int) -> bool:
        return self.own["llama_token_is_control"](self._models[vocabulary], token)

    def llama_vocab_get_attr(self, vocabulary: Handle, token: int) -> int:
        return self.own["llama_token_get_attr"](self._models[vocabulary], token)

    def llama_state_seq_get_size(self, context: Handle, sequence: int) -> int:
        return self.own["llama_state_seq_get_size"](context, sequence, 0)

    def llama_state_seq_get_data(self, context: Handle, data: Any, size: int, sequence: int) -> int:
        return self.own["llama_state_seq_get_data"](context, data, size, sequence, 0)

    def llama_state_seq_set_data(self, context: Handle, data: Any, size: int, sequence: int) -> int:
        return self.own["llama_state_seq_set_data"](context, data, size, sequence, 0)


def first_positions(batch: Any) -> dict[int, int]:
    """The first position of each sequence of a batch."""
    found: dict[int, int] = {}
    positions, counts = (ctypes.cast(address, POINTER(c_int32)) for address in (batch.pos, batch.n_seq_id))
    lists = ctypes.cast(batch.seq_id, POINTER(POINTER(c_int32)))
    for token in range(batch.n_tokens):
        for sequence in lists[token][: counts[token]]:
            found[sequence] = min(positions[token], found.get(sequence, positions[token]))
    return found


class _Adapters:
    """LoRA adapters, put on one by one."""

    def __init__(self, own: dict[str, Any]) -> None:
        self._own = own

    def llama_adapter_lora_init(self, model: Handle, path: bytes) -> Handle:
        return self._own["llama_lora_adapter_init"](model, path)

    def llama_set_adapters_lora(self, context: Handle, handles: Any, count: int, scales: Any) -> int:
        self._own["llama_lora_adapter_clear"](context)
        statuses = [self._own["llama_lora_adapter_set"](context, handles[n], scales[n]) for n in range(count)]
        return next(filter(None, statuses), 0)
