"""llama.cpp's C API, typed: the functions that chainkit calls. `libraries` finds a library that has them."""

from __future__ import annotations

import _thread
import ctypes
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int32, c_size_t, c_uint8, c_uint32, c_void_p
from pathlib import Path
from typing import Any

from chainkit.backends.llama_cpp.layouts import Layout, LlamaBatch, LogCallback, defaults
from chainkit.base.errors import LibraryMismatch, Unsupported

log = logging.getLogger("chainkit.llama_cpp")

Handle = int | None  # an address; None is NULL
_FLOATS = POINTER(c_float)

# a `LlamaBatch` is the `llama_batch` of the library's layout
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (LogCallback, c_void_p)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_model_n_embd": (c_int32, (c_void_p,)),
    "llama_model_n_embd_out": (c_int32, (c_void_p,)),
    "llama_model_has_encoder": (c_bool, (c_void_p,)),
    "llama_model_has_decoder": (c_bool, (c_void_p,)),
    "llama_model_is_recurrent": (c_bool, (c_void_p,)),
    "llama_model_is_hybrid": (c_bool, (c_void_p,)),
    "llama_free": (None, (c_void_p,)),
    "llama_n_ctx": (c_uint32, (c_void_p,)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_pooling_type": (c_int32, (c_void_p,)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_memory_seq_cp": (None, (c_void_p, c_int32, c_int32, c_int32, c_int32)),
    "llama_encode": (c_int32, (c_void_p, LlamaBatch)),
    "llama_decode": (c_int32, (c_void_p, LlamaBatch)),
    "llama_get_logits_ith": (c_void_p, (c_void_p, c_int32)),
    "llama_get_embeddings_ith": (_FLOATS, (c_void_p, c_int32)),
    "llama_get_embeddings_seq": (_FLOATS, (c_void_p, c_int32)),
    "llama_vocab_type": (c_int32, (c_void_p,)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_bos": (c_int32, (c_void_p,)),
    "llama_vocab_eos": (c_int32, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_vocab_is_control": (c_bool, (c_void_p, c_int32)),
    "llama_vocab_get_attr": (c_int32, (c_void_p, c_int32)),
    "llama_vocab_get_add_bos": (c_bool, (c_void_p,)),
    "llama_vocab_get_add_eos": (c_bool, (c_void_p,)),
    "llama_tokenize": (c_int32, (c_void_p, c_char_p, c_int32, c_void_p, c_int32, c_bool, c_bool)),
    "llama_token_to_piece": (c_int32, (c_void_p, c_int32, c_void_p, c_int32, c_int32, c_bool)),
    "llama_state_seq_get_size": (c_size_t, (c_void_p, c_int32)),
    "llama_state_seq_get_data": (c_size_t, (c_void_p, POINTER(c_uint8), c_size_t, c_int32)),
    "llama_state_seq_set_data": (c_size_t, (c_void_p, POINTER(c_uint8), c_size_t, c_int32)),
}

# not in every build that is known; asked for with `Library.newer`
_OPTIONAL: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_adapter_lora_init": (c_void_p, (c_void_p, c_char_p)),
    "llama_set_adapters_lora": (c_int32, (c_void_p, c_void_p, c_size_t, c_void_p)),
    "llama_model_n_cls_out": (c_uint32, (c_void_p,)),
    "llama_vocab_get_add_sep": (c_bool, (c_void_p,)),
    "llama_vocab_sep": (c_int32, (c_void_p,)),
}


class Library:
    """One loaded llama.cpp; its functions are attributes of their C names.

    Attributes:
        path: The library file.
        layout: The build whose structures it has.
        sequences: How many texts it can keep apart in one memory; None: as many as one likes.
    """

    sequences: int | None = None

    llama_model_free: Callable[[Handle], None]
    llama_model_get_vocab: Callable[[Handle], Handle]
    llama_model_n_ctx_train: Callable[[Handle], int]
    llama_model_n_embd: Callable[[Handle], int]
    llama_model_n_embd_out: Callable[[Handle], int]
    llama_model_has_encoder: Callable[[Handle], bool]
    llama_model_has_decoder: Callable[[Handle], bool]
    llama_model_is_recurrent: Callable[[Handle], bool]
    llama_model_is_hybrid: Callable[[Handle], bool]
    llama_free: Callable[[Handle], None]
    llama_n_ctx: Callable[[Handle], int]
    llama_get_memory: Callable[[Handle], Handle]
    llama_pooling_type: Callable[[Handle], int]
    llama_memory_clear: Callable[[Handle, bool], None]
    llama_memory_seq_rm: Callable[[Handle, int, int, int], bool]
    llama_memory_seq_cp: Callable[[Handle, int, int, int, int], None]
    llama_encode: Callable[[Handle, Any], int]
    llama_decode: Callable[[Handle, Any], int]
    llama_get_logits_ith: Callable[[Handle, int], int | None]
    llama_get_embeddings_ith: Callable[[Handle, int], Any]
    llama_get_embeddings_seq: Callable[[Handle, int], Any]
    llama_vocab_type: Callable[[Handle], int]
    llama_vocab_n_tokens: Callable[[Handle], int]
    llama_vocab_bos: Callable[[Handle], int]
    llama_vocab_eos: Callable[[Handle], int]
    llama_vocab_is_eog: Callable[[Handle, int], bool]
    llama_vocab_is_control: Callable[[Handle, int], bool]
    llama_vocab_get_attr: Callable[[Handle, int], int]
    llama_vocab_get_add_bos: Callable[[Handle], bool]
    llama_vocab_get_add_eos: Callable[[Handle], bool]
    llama_tokenize: Callable[[Handle, bytes, int, Any, int, bool, bool], int]
    llama_token_to_piece: Callable[[Handle, int, Any, int, int, bool], int]
    llama_state_seq_get_size: Callable[[Handle, int], int]
    llama_state_seq_get_data: Callable[[Handle, Any, int, int], int]
    llama_state_seq_set_data: Callable[[Handle, Any, int, int], int]

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self._cdll = ctypes.CDLL(str(path))
        if faults := layout.faults(self._cdll):
            raise LibraryMismatch(
                layout.package, layout.extra, f"{path} has other structures than {layout.version}: {faults[0]}"
            )
        self._bind()
        self._load = self._cdll["llama_model_load_from_file"]
        self._load.restype, self._load.argtypes = c_void_p, (c_char_p, layout.model)
        self._init = self._cdll["llama_init_from_model"]
        self._init.restype, self._init.argtypes = c_void_p, (c_void_p, layout.context)
        self.errors: deque[str] = deque(maxlen=20)
        self._log_callback = LogCallback(self._log)
        _KEPT.append(self._log_callback)  # llama.cpp calls it as long as the process lives
        self._cdll.llama_log_set(self._log_callback, None)
        self._cdll.llama_backend_init()

    def model_params(self, **values: Any) -> ctypes.Structure:
        """The library's own model settings with some changed."""
        return _changed(defaults(self._cdll, "llama_model_default_params", self.layout.model), values)

    def context_params(self, **values: Any) -> ctypes.Structure:
        """The library's own context settings with some changed."""
        return _changed(defaults(self._cdll, "llama_context_default_params", self.layout.context), values)

    def load(self, path: str, params: ctypes.Structure) -> Handle:
        """A model, or None; then `last_errors` says why."""
        self.errors.clear()
        return self._load(path.encode(), params)

    def context(self, model: Handle, params: ctypes.Structure) -> Handle:
        """A context, or None; then `last_errors` says why."""
        self.errors.clear()
        return self._init(model, params)

    def newer(self, name: str) -> Callable[..., Any]:
        """A function that not every build has.

        Raises:
            Unsupported: This one has not.
        """
        try:
            function = self._cdll[name]
        except AttributeError as error:
            raise Unsupported(f"{self.layout.name} has no {name}") from error
        function.restype, function.argtypes = _OPTIONAL[name]
        return function

    def address(self, function: str) -> int:
        """Where a function of the library is, for libraries that call it themselves."""
        return ctypes.cast(getattr(self, function), c_void_p).value or 0

    def exported(self, function: str) -> Any:
        """A function that only some builds offer, or None; its types are still to be set."""
        try:
            return self._cdll[function]
        except AttributeError:
            return None

    def last_errors(self) -> str:
        """The library's last complaints, in one line."""
        return "; ".join(dict.fromkeys(self.errors)) or "llama.cpp gave no reason"

    def _bind(self) -> None:
        for name in SIGNATURES:
            setattr(self, name, self._function(name, name))

    def _function(self, name: str, exported: str) -> Any:
        """What the library exports under a name, with the types of a function of llama.cpp."""
        function = self._cdll[exported]
        result, arguments = SIGNATURES[name]
        function.restype = result
        function.argtypes = tuple(self.layout.batch if kind is LlamaBatch else kind for kind in arguments)
        return function

    def _log(self, level: int, text: bytes, _data: Any) -> None:
        """What llama.cpp calls; no exception can leave it, so Ctrl-C is repeated once llama.cpp has returned."""
        try:
            self._note(level, text)
        except KeyboardInterrupt:
            again = threading.Timer(_AGAIN_SECONDS, _thread.interrupt_main)
            again.daemon = True
            again.start()

    def _note(self, level: int, text: bytes) -> None:
        line = text.decode("utf-8", "replace").strip()
        if level >= _ERROR and level != _CONTINUED and line:
            self.errors.append(line.split(": ", 1)[-1] if line.startswith("llama_") else line)
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


class NativeModel:
    """A model in llama.cpp's memory; freed when nothing refers to it any more.

    Attributes:
        library: The library that it is in.
        handle: Its address.
    """

    def __init__(self, llama: Library, handle: Handle) -> None:
        self.library, self.handle = llama, handle
        weakref.finalize(self, llama.llama_model_free, handle).atexit = False


# ggml's log levels: 1 debug, 2 info, 3 warning, 4 error, 5 continues the line before
_ERROR, _CONTINUED = 4, 5
# a reason that ends up in an exception of ours need not be printed as well
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.INFO, 4: logging.INFO}
_KEPT: list[Any] = []
_AGAIN_SECONDS = 0.02


def _changed(params: ctypes.Structure, values: dict[str, Any]) -> ctypes.Structure:
    for name, value in values.items():
        if not hasattr(params, name):
            raise AttributeError(f"{type(params).__name__} has no field {name}")
        setattr(params, name, value)
    return params
