"""Settings shared by all transformers models, and the loaded model they select."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from chainkit.backends.huggingface.libraries import torch
from chainkit.backends.huggingface.loading import Loaded, Loading, load
from chainkit.backends.huggingface.runtime import TransformersRuntime, open_runtime
from chainkit.local.session import LocalSession
from chainkit.local.settings import none_from_text
from chainkit.local.speculative import check_vocabularies


class Lease:
    """A model object's hold on loaded weights; copies and pickles of the model take a hold of their own when used."""

    def __init__(self) -> None:
        self._held: tuple[object, Loaded, TransformersRuntime | None] | None = None
        self._lock = threading.Lock()

    def loaded(self, name: str, loading: Loading) -> Loaded:
        """The model, loaded if it is not."""
        with self._lock:
            if self._held is None or self._held[0] != (name, loading):
                self._held = (name, loading), load(name, loading), None
            return self._held[1]

    def runtime(self, name: str, loading: Loading, **settings: Any) -> TransformersRuntime:
        """The runtime on the model, which is loaded if it is not."""
        loaded = self.loaded(name, loading)
        with self._lock:
            runtime = open_runtime(loaded, **settings)
            self._held = (name, loading), loaded, runtime
            return runtime

    def end(self) -> None:
        """Let go; the weights are freed when nobody holds them."""
        with self._lock:
            self._held = None

    def __deepcopy__(self, _memo: object) -> Lease:
        return Lease()

    def __reduce__(self) -> tuple[type[Lease], tuple[()]]:
        return Lease, ()


class ModelSettings(BaseModel):
    """Which model, and how it is loaded.

    Attributes:
        model: A folder with config.json, tokenizer and safetensors files, or a name on the hub.
        context_length: Tokens that a text may have; None: what the model has positions for.
        n_threads: Threads that torch computes with, in this whole process; None leaves them as they are.
        dtype: "auto" is what the weights were saved as.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU if there is one.
        device_map: "auto" spreads the layers over GPUs and memory; needs accelerate.
        revision: A branch, tag or commit on the hub.
        use_safetensors: False also loads weights in Python's pickle format; only from people you trust.
        trust_remote_code: Run Python files that come with the model; only from people you trust.
        local_files_only: Never ask the hub.
        load_in_4bit: Weights in 4 bits by bitsandbytes; the next three say how.
        quant_type: "nf4", made for weights that are normally distributed, or "fp4".
        double_quant: Quantise the scales too.
        compute_dtype: What the weights are unpacked to while they are computed with.
        load_in_8bit: Weights in 8 bits by bitsandbytes.
        int8: "dynamic": weights in 8 bits by torch itself, on a CPU.
        force: Load it even if there is not enough free memory for it.
        n_batch: Maximum number of tokens in one pass.
        n_sequences: Parallel sequences in the KV cache, for prompt caching and batching.
        draft: A smaller model of the same family that proposes tokens; the text stays the same.
        draft_tokens: Number of proposed tokens per pass.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    context_length: int | None = Field(default=None, ge=8, le=1 << 24)
    n_threads: int | None = Field(default=None, ge=1, le=1024)
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    device: str | None = None
    device_map: str | None = None
    revision: str | None = None
    use_safetensors: bool = True
    trust_remote_code: bool = False
    local_files_only: bool = False
    load_in_4bit: bool = False
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
    compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    load_in_8bit: bool = False
    int8: Literal["dynamic"] | None = None
    force: bool = False
    n_batch: int = Field(default=512, ge=1, le=1 << 16)
    n_sequences: int = Field(default=4, ge=1, le=64)
    draft: str | None = None
    draft_tokens: int = Field(default=4, ge=1, le=16)
    _lease: Lease = PrivateAttr(default_factory=Lease)
    _draft_lease: Lease = PrivateAttr(default_factory=Lease)
    _checked_draft: tuple[TransformersRuntime, TransformersRuntime] | None = PrivateAttr(default=None)

    @field_validator("context_length", "n_threads", "device", "device_map", "revision", "draft", "int8", mode="before")
    @classmethod
    def _none_in_a_spec(cls, value: Any) -> Any:
        return none_from_text(value)

    @model_validator(mode="after")
    def _one_of_each(self) -> ModelSettings:
        if self.load_in_4bit + self.load_in_8bit + (self.int8 is not None) > 1:
            raise ValueError("load_in_4bit, load_in_8bit and int8 exclude each other")
        if not self.load_in_4bit and self.model_fields_set & {"quant_type", "double_quant", "compute_dtype"}:
            raise ValueError("quant_type, double_quant and compute_dtype belong to load_in_4bit, which is not set")
        if self.device and self.device_map:
            raise ValueError("give device or device_map, not both")
        return self

    @property
    def _quantization(self) -> str | None:
        if self.int8:
            return "int8"
        return "4bit" if self.load_in_4bit else "8bit" if self.load_in_8bit else None

    @property
    def loading(self) -> Loading:
        """How the weights are loaded."""
        return Loading(
            dtype=self.dtype,
            device=self.device,
            device_map=self.device_map,
            revision=self.revision,
            use_safetensors=self.use_safetensors,
            trust_remote_code=self.trust_remote_code,
            local_files_only=self.local_files_only,
            quantization=self._quantization,
            quant_type=self.quant_type,
            double_quant=self.double_quant,
            compute_dtype=self.compute_dtype,
            force=self.force,
        )

    @property
    def loaded(self) -> Loaded:
        """The model, shared with all that name it with the same settings; loaded at the first use.

        Raises:
            ModelFileError: There is no such model, or its files are damaged, pickled or of another kind.
            NotEnoughMemory: It does not fit in the memory that is free, and `force` was not given.
            Unsupported: This machine lacks a requested feature.
        """
        if self.n_threads:
            torch.set_num_threads(self.n_threads)
        return self._lease.loaded(self.model, self.loading)

    @property
    def runtime(self) -> TransformersRuntime:
        """The runtime on the model.

        Raises:
            Unsupported: The model reads with an encoder.
        """
        if self.n_threads:
            torch.set_num_threads(self.n_threads)
        return self._lease.runtime(
            self.model,
            self.loading,
            context_length=self.context_length,
            n_batch=self.n_batch,
            n_sequences=self.n_sequences,
        )

    def load(self) -> Self:
        """Load now what the first call would load; does nothing if it is loaded.

        Raises:
            ModelFileError: There is no such model, or its files are damaged, pickled or of another kind.
            NotEnoughMemory: It does not fit in the memory that is free, and `force` was not given.
        """
        _ = self.loaded
        return self

    def unload(self) -> None:
        """Let go of the model: its memory is freed when no other object uses it. The next call loads it again."""
        self._lease.end()
        self._draft_lease.end()
        self._checked_draft = None

    def new_session(self, cancelled: threading.Event | None = None) -> LocalSession:
        """An empty text.

        Raises:
            Unsupported: The model reads with an encoder, or the draft model has other tokens.
        """
        if self.draft is None:
            return LocalSession(self.runtime, cancelled=cancelled)
        session = LocalSession(self.runtime, cancelled=cancelled)
        return session.drafted_by(LocalSession(self._small(self.draft), cancelled=cancelled), self.draft_tokens)

    def _small(self, name: str) -> TransformersRuntime:
        loading = replace(self.loading, revision=None)
        small = self._draft_lease.runtime(
            name, loading, context_length=None, n_batch=self.n_batch, n_sequences=self.n_sequences
        )
        if self._checked_draft != (self.runtime, small):
            check_vocabularies(self.runtime.vocabulary, small.vocabulary)
            self._checked_draft = self.runtime, small
        return small

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text."""
        return self.loaded.vocabulary.tokenize(text)
