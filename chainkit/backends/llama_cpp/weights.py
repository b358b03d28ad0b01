"""The weights of a model file in memory, shared by all that use the file."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainkit.backends.llama_cpp.capi import NativeModel
from chainkit.backends.llama_cpp.checks import check_model
from chainkit.backends.llama_cpp.engines import AUTO, Engine, first_library, known, tried
from chainkit.backends.llama_cpp.header import read_header
from chainkit.backends.llama_cpp.layouts import ProgressCallback
from chainkit.backends.llama_cpp.libraries import opened
from chainkit.backends.llama_cpp.probe import probe
from chainkit.backends.llama_cpp.vocabulary import LlamaVocabulary
from chainkit.base.errors import ModelFileError
from chainkit.sizing.gguf import gguf_model
from chainkit.sizing.plan import Use, plan
from chainkit.sizing.room import require_room

Progress = Callable[[float], object]

_MMAP, _NO_MMAP = 1, 0


@dataclass(frozen=True, kw_only=True)
class LlamaLoading:
    """How weights are brought into memory.

    Attributes:
        use_mmap: Map the file instead of copying it: it loads faster, and the system can take the memory back.
        repack: Let llama.cpp copy some weights (q4_0, q4_K) into a layout that is faster, at the cost of that memory.
        n_gpu_layers: Layers that a GPU holds, if the library was built for one.
        probe: Try a file not seen before in a child process, so that a damaged one cannot end this process.
        engine: The library that runs it, by its package; "auto" takes the fastest that is right.
    """

    use_mmap: bool = True
    repack: bool = True
    n_gpu_layers: int = 0
    probe: bool = True
    engine: str = AUTO


class _Steps:
    """Forwards llama.cpp's progress reports; an error in the callback ends the loading."""

    def __init__(self, callback: Progress | None) -> None:
        self._on_progress, self._failed = callback, list[BaseException]()
        self._callback = ProgressCallback(self._report)
        self.address = ctypes.cast(self._callback, ctypes.c_void_p).value

    def check(self) -> None:
        """Raise the error of the callback, if there was one."""
        if self._failed:
            raise self._failed[0]

    def _report(self, part: float, _data: Any) -> bool:
        try:
            if self._on_progress is not None:
                self._on_progress(min(1.0, max(0.0, part)))
        except BaseException as error:  # noqa: BLE001 - it cannot pass through native code; `check` raises it
            self._failed.append(error)
        return not self._failed


class Weights:
    """A loaded model file; freed when nothing refers to it or its vocabulary any more."""

    def __init__(self, path: Path, loading: LlamaLoading, engine: Engine, on_progress: Progress | None = None) -> None:
        self.path, self.engine = path, engine
        self.library = llama = opened(engine.library)
        steps = _Steps(on_progress)
        self.header = read_header(path)
        params = llama.model_params(
            n_gpu_layers=loading.n_gpu_layers,
            load_mode=_MMAP if loading.use_mmap else _NO_MMAP,
            use_extra_bufts=loading.repack,
            progress_callback=steps.address if on_progress else None,
        )
        self.handle = llama.load(str(path), params)
        steps.check()
        if self.handle is None:
            raise ModelFileError(path, f"llama.cpp refuses it: {llama.last_errors()}")
        self.vocabulary = LlamaVocabulary(NativeModel(llama, self.handle))

    @property
    def trained_context(self) -> int:
        """The longest text the model was trained on, in tokens."""
        return self.library.llama_model_n_ctx_train(self.handle)


_loaded: weakref.WeakValueDictionary[tuple[object, ...], Weights] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def load_weights(
    path: Path,
    loading: LlamaLoading,
    before: Callable[[], object] | None = None,
    on_progress: Progress | None = None,
    *,
    needs: str = "",
) -> Weights:
    """The weights of a file: those already in memory, if the file has not changed since.

    Args:
        before: Called before loading; its errors propagate.
        on_progress: Called with the part that is loaded, from 0 to 1; its errors end the loading and propagate.
        needs: Requested features that ik_llama.cpp lacks, in words.

    Raises:
        ModelFileError: The file is not a model, or a damaged one.
        MissingLibrary: llama.cpp is not installed.
    """
    check_model(read_header(path))
    with _lock:
        engine = known(path, loading.engine, repack=loading.repack, probe=loading.probe, needs=needs)
        weights = _loaded.get(_key(path, loading, engine)) if engine else None
        if weights is not None:
            return weights
        if before is not None:
            before()
        if loading.probe:
            probe(path, first_library(engine).path)
        engine = engine or tried(path, loading.engine, repack=loading.repack)
        weights = _loaded[_key(path, loading, engine)] = Weights(path, loading, engine, on_progress)
        return weights


def _key(path: Path, loading: LlamaLoading, engine: Engine) -> tuple[object, ...]:
    status = path.stat()
    return path.resolve(), status.st_size, status.st_mtime_ns, loading, engine


def check_room(path: Path, loading: LlamaLoading, use: Use, *, loaded: bool = False) -> None:
    """Refuse a file for which there is no room in memory now; `loaded`: its weights are there, a context is not.

    Raises:
        NotEnoughMemory: There is none.
    """
    if loading.n_gpu_layers:
        return  # what a GPU has room for is not known here
    try:
        planned = plan(gguf_model(path), use)
    except ModelFileError:
        return  # a header that cannot be reckoned with is llama.cpp's to judge
    require_room(planned, loaded=loaded)
