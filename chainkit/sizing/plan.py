"""How much memory a model needs for a use, part by part. Pure arithmetic: nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from chainkit.base.notebook import html_table
from chainkit.sizing.model import ModelShape, WeightShape
from chainkit.sizing.quantization import is_token_table

MIB = 1 << 20

KV_BYTES: Mapping[str, float] = {"f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes of one remembered value, by the type it is stored in."""

_DEFAULT_CONTEXT = 4096  # the llama.cpp engine's upper limit by default
_CELLS = 256  # llama.cpp rounds a context up to a multiple of this many tokens
_FLOAT = 4
_OPTIONS = 16  # places of the llama.cpp engine for options that it scores together, beside those of the texts


def default_sequences(*, states: bool) -> int:
    """Number of texts that the llama.cpp engine keeps apart; few where the model keeps a state for each."""
    return 8 if states else 16


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a model is used, as far as memory depends on it.

    Attributes:
        context: Tokens of the longest text, or of all texts together that are remembered; None: what the model was
            trained on, at most 4096.
        batch: Maximum number of tokens in one pass.
        sequences: Parallel sequences in the KV cache; None: 16, or 8 for recurrent models.
        kv_type: How keys and values are stored: see `KV_BYTES`. transformers stores them as the weights are.
        mmap: The weights are mapped from the file instead of copied.
        repack: llama.cpp may copy weights into a faster layout.
        flash: Attention is computed in tiles; otherwise all its scores lie in memory at once.
        engine: The library that runs a GGUF file, by its package; empty if that is not known. ik_llama.cpp copies all
            weights into memory when it repacks, and a table of tokens that is the output too a second time.
        full_windows: Layers with a sliding window remember the whole text, as llama.cpp has it by default.
    """

    context: int | None = None
    batch: int = 512
    sequences: int | None = None
    kv_type: str = "f16"
    mmap: bool = True
    repack: bool = True
    flash: bool = True
    engine: str = ""
    full_windows: bool = True

    def __post_init__(self) -> None:
        for name in ("context", "batch", "sequences"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        if self.kv_type not in KV_BYTES:
            raise ValueError(f"kv_type must be one of {', '.join(KV_BYTES)}, got {self.kv_type!r}")


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """The parts of the memory that a model takes, in bytes, after a text that fills the context.

    Attributes:
        model: Of what.
        use: For what; its context is a number.
        weights: The tensors, once; on ik_llama.cpp a table of tokens that is the output too may be there twice.
        copies: What the weights take a second time if they are mapped and repacked; the system can take the mapped
            ones back when memory is short.
        cache: Keys and values of all tokens.
        compute: Intermediate results.
        tokenizer: The vocabulary.
        program: Python and the libraries.
    """

    model: ModelShape
    use: Use
    weights: int
    copies: int
    cache: int
    compute: int
    tokenizer: int
    program: int

    @property
    def needed(self) -> int:
        """What must be in memory all the time: everything, each weight once."""
        return self.weights + self.cache + self.compute + self.tokenizer + self.program

    @property
    def with_mmap(self) -> int:
        """Resident memory with mapped weights, where memory is not short."""
        return self.needed + self.copies

    @property
    def without_mmap(self) -> int:
        """Resident memory with weights that were copied."""
        return self.needed

    @property
    def resident(self) -> int:
        """Resident memory as the use has it."""
        return self.with_mmap if self.use.mmap else self.without_mmap

    @property
    def context(self) -> int:
        """Tokens of the context that was reckoned with."""
        return self.use.context or _DEFAULT_CONTEXT

    def numbers(self) -> dict[str, Any]:
        """All parts and sums, for a program to read."""
        parts = {name: getattr(self, name) for name in _PARTS}
        sums = {"needed": self.needed, "with_mmap": self.with_mmap, "without_mmap": self.without_mmap}
        return {"use": asdict(self.use), **parts, **sums}

    def _repr_html_(self) -> str:
        """How a notebook shows it, in bytes."""
        return html_table("Memory in bytes", self.numbers())


_PARTS = ("weights", "copies", "cache", "compute", "tokenizer", "program")


def plan(model: ModelShape, use: Use | None = None, *, repacked: frozenset[str] = frozenset()) -> MemoryPlan:
    """The memory plan of a use of a model.

    Args:
        model: From `gguf_model`, `folder_model` or one of the remote ones.
        use: None: as chainkit's local models work by default.
        repacked: The types that llama.cpp copies on the machine, see `Machine.repacked`.
    """
    use = use or Use()
    context = use.context or min(model.trained_context or _DEFAULT_CONTEXT, _DEFAULT_CONTEXT)
    use = replace(use, context=context, batch=min(use.batch, context))
    if model.format == "transformers":
        return _for_transformers(model, use, context)
    own = use.engine == _IK and use.repack
    return MemoryPlan(
        model=model,
        use=use,
        weights=model.weight_bytes + (_tied(model) if own else 0),
        copies=copies(model, repacked) if use.repack and not own else 0,
        cache=_cache(model, use, _padded(context)),
        compute=_compute(model, use, _padded(context)),
        tokenizer=_tokenizer(model),
        program=_LLAMA_PROGRAM,
    )


def _tied(model: ModelShape) -> int:
    """Bytes of the table of tokens, if it is the output too."""
    if any(weight.name in ("output.weight", "lm_head.weight") for weight in model.weights):
        return 0
    return sum(weight.nbytes for weight in model.weights if is_token_table(weight.name))


def copies(model: ModelShape, repacked: frozenset[str]) -> int:
    """Bytes of the tensors that llama.cpp copies into another layout: matrices, but not the table of tokens."""
    return sum(weight.nbytes for weight in model.weights if _is_copied(weight, repacked))


def _is_copied(weight: WeightShape, repacked: frozenset[str]) -> bool:
    if weight.type not in repacked or is_token_table(weight.name):
        return False
    return len(weight.shape) >= 2 and weight.shape[1] % _INTERLEAVED == 0


_INTERLEAVED = 8  # rows that are woven into one


def _padded(context: int) -> int:
    return -(-context // _CELLS) * _CELLS


def _cache(model: ModelShape, use: Use, cells: int) -> int:
    size, total, sequences = KV_BYTES[use.kv_type], 0.0, _sequences(model, use)
    for layer in model.layers:
        seen = cells
        if layer.window is not None and not use.full_windows:
            seen = min(cells, _padded(layer.window * sequences + use.batch))
        total += seen * (layer.keys + layer.values) * size + layer.state * sequences
    return int(total)


def _sequences(model: ModelShape, use: Use) -> int:
    return use.sequences or default_sequences(states=any(layer.state for layer in model.layers))


def _compute(model: ModelShape, use: Use, cells: int) -> int:
    """Bytes of llama.cpp's compute buffers touched while a prompt is read in full batches.

    The widest moment is the feed-forward part of a layer, or without tiles the scores of all heads. Beside it there is
    a row of logits for every sequence.
    """
    logits = (_sequences(model, use) + _OPTIONS) * model.vocabulary * _FLOAT
    feed_forward = use.batch * _FLOAT * (3 * model.inner + 4 * model.width)
    mask = 2 * cells * use.batch
    if use.flash or use.kv_type.startswith("q"):
        return feed_forward + mask + logits
    return max(feed_forward, model.heads * use.batch * cells * _FLOAT) + 2 * mask + logits


def _tokenizer(model: ModelShape) -> int:
    """Of byte-level vocabularies the merges are kept in a table too."""
    return model.vocabulary * _TOKEN_BYTES + model.merges * _MERGE_BYTES


_IK = "ik_llama_cpp"
_LLAMA_PROGRAM = 100 * MIB
_TOKEN_BYTES, _MERGE_BYTES = 170, 200

_TORCH_PROGRAM = 370 * MIB


def _for_transformers(model: ModelShape, use: Use, context: int) -> MemoryPlan:
    value = max(
        (w.nbytes / w.values for w in model.weights if w.type in ("F32", "F16", "BF16") and w.values), default=2
    )
    seen = (min(context, layer.window) if layer.window else context for layer in model.layers)
    cache = sum(
        int(tokens * (layer.keys + layer.values) * value) for tokens, layer in zip(seen, model.layers, strict=True)
    )
    compute = int(use.batch * (2 * model.inner + 6 * model.width) * value + 2 * model.vocabulary * _FLOAT)
    return MemoryPlan(
        model=model,
        use=use,
        weights=model.weight_bytes,
        copies=0,
        cache=cache,
        compute=compute,
        tokenizer=model.vocabulary * (_TOKEN_BYTES + _MERGE_BYTES),
        program=_TORCH_PROGRAM,
    )
