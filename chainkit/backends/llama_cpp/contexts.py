"""A context of llama.cpp: the memory and the settings with which a model computes."""

from __future__ import annotations

from dataclasses import dataclass, field

from chainkit.backends.llama_cpp.adapters import Adapter
from chainkit.backends.llama_cpp.capi import Handle
from chainkit.backends.llama_cpp.exact import PASS, rows
from chainkit.backends.llama_cpp.layouts import FLASH
from chainkit.backends.llama_cpp.processor import default_threads
from chainkit.backends.llama_cpp.weights import LlamaLoading, Weights
from chainkit.base.errors import ModelFileError
from chainkit.sizing.machines import usable_cpus
from chainkit.sizing.speed import fastest_threads

KV_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}


class EncoderOnly(ModelFileError):
    """The model reads text and does not continue it."""

    def __init__(self, weights: Weights) -> None:
        kind = weights.header.architecture
        super().__init__(weights.path, f"is a model of kind '{kind}', which continues no text; use it for embeddings")


@dataclass(frozen=True, kw_only=True)
class LlamaSettings:
    """Everything that makes one runtime different from another on the same file.

    Attributes:
        context_length: Number of tokens that all sessions together can have in the KV cache, and of the longest text;
            None: what the model was trained on, at most 4096.
        n_batch: Tokens computed at once while a prompt is read.
        n_threads: Threads for single tokens; None: as measured on this machine, or all cores but one, at most 4.
        n_threads_batch: Threads that read prompts; None: as `n_threads`.
        n_sequences: Number of texts in the KV cache; None: 16, or 8 for recurrent models.
        flash_attention: None lets llama.cpp choose.
        kv_type: Type of the KV cache: "f16", "f32", or "q8_0" for half the size.
        repeatable: A call made alone gives the same bits whatever ran before; prompts are read slower.
        loading: How the weights are loaded.
        adapters: LoRA adapters that are put on the weights.
    """

    context_length: int | None = None
    n_batch: int = 512
    n_threads: int | None = None
    n_threads_batch: int | None = None
    n_sequences: int | None = None
    flash_attention: bool | None = None
    kv_type: str = "f16"
    repeatable: bool = False
    loading: LlamaLoading = field(default_factory=LlamaLoading)
    adapters: tuple[Adapter, ...] = ()


def needs(settings: LlamaSettings) -> str:
    """What the settings ask for that ik_llama.cpp does wrongly or not at all; empty if nothing is."""
    asked = {
        "LoRA adapters": bool(settings.adapters),
        f"kv_type={settings.kv_type}": settings.kv_type != "f16",
        "repeatable=true": settings.repeatable,
        "layers on a GPU": settings.loading.n_gpu_layers != 0,
        "flash_attention=true": settings.flash_attention is True,
    }
    return next((name for name, wanted in asked.items() if wanted), "")


def _computed_at_once(weights: Weights, settings: LlamaSettings) -> int:
    """Tokens that llama.cpp computes at once at most; `exact` says why they are few where texts are repeatable."""
    most = min(settings.n_batch, weights.engine.widest or settings.n_batch)
    if settings.repeatable:
        most = min(most, PASS if rows(weights) == 1 else rows(weights))
    return most


def flash(weights: Weights, settings: LlamaSettings) -> bool | None:
    """Whether attention is computed in tiles; None leaves it to llama.cpp."""
    return weights.engine.flash if settings.flash_attention is None else settings.flash_attention


def remembers_whole(weights: Weights) -> bool:
    """Whether the model keeps a text as one state, which cannot be shared from a place in its midst."""
    library = weights.library
    return library.llama_model_is_recurrent(weights.handle) or library.llama_model_is_hybrid(weights.handle)


def threads(weights: Weights, settings: LlamaSettings) -> tuple[int, int]:
    """The number of threads for single tokens, and the number for prompts.

    Where none are set, those that were the fastest when `chainkit bench --threads all` measured them on this machine.
    """
    single = batch = default_threads()
    if settings.n_threads is not None:
        single = batch = settings.n_threads
    elif measured := fastest_threads(weights.engine.library, weights.path.stat().st_size, usable_cpus()):
        single, batch = measured
    return single, settings.n_threads_batch or batch


def new_context(weights: Weights, settings: LlamaSettings, context_length: int, sequences: int) -> Handle:
    """Create a context with this context length and number of sequences.

    Args:
        settings: With the numbers of threads, see `threads`.

    Raises:
        EncoderOnly: The model continues no text.
        ModelFileError: llama.cpp cannot make it.
    """
    library = weights.library
    if not library.llama_model_has_decoder(weights.handle) or library.llama_model_has_encoder(weights.handle):
        raise EncoderOnly(weights)
    params = library.context_params(
        n_ctx=context_length,
        n_batch=settings.n_batch,
        n_ubatch=_computed_at_once(weights, settings),
        n_seq_max=sequences,
        n_threads=settings.n_threads,
        n_threads_batch=settings.n_threads_batch,
        flash_attn_type=FLASH[flash(weights, settings)],
        type_k=KV_TYPES[settings.kv_type],
        type_v=KV_TYPES[settings.kv_type],
        kv_unified=1,
    )
    context = library.context(weights.handle, params)
    if context is None:
        raise ModelFileError(
            weights.path, f"llama.cpp cannot make a context of {context_length}: {library.last_errors()}"
        )
    return context


def free_context(weights: Weights, context: Handle) -> None:
    """Give its memory back."""
    weights.library.llama_free(context)  # before the weights that it uses
