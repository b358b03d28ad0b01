"""Settings shared by all GGUF models, and the runtime they select."""

from __future__ import annotations

import math
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from chainkit.backends.llama_cpp import state
from chainkit.backends.llama_cpp.adapters import adapters, check_adapter
from chainkit.backends.llama_cpp.checks import check_model
from chainkit.backends.llama_cpp.contexts import LlamaSettings
from chainkit.backends.llama_cpp.engines import AUTO, ENGINES
from chainkit.backends.llama_cpp.header import Header, read_header
from chainkit.backends.llama_cpp.runtime import LlamaRuntime, open_runtime
from chainkit.backends.llama_cpp.weights import LlamaLoading, Progress
from chainkit.base.errors import ContextOverflow, ModelFileError
from chainkit.hub.local import pulled_gguf
from chainkit.hub.names import is_hub_name
from chainkit.local.kept import Kept
from chainkit.local.session import LocalSession
from chainkit.local.settings import none_from_text
from chainkit.local.speculative import check_vocabularies


class FileSettings(BaseModel):
    """Which file, and how it is loaded.

    Attributes:
        model: Path of a GGUF file (`~` is the home folder), or ORG/REPO:QUANT fetched by 'chainkit pull'.
        context_length: Context length in tokens; None: the trained length, at most 4096.
        n_threads: Number of threads; None: as measured on this machine, or all cores but one, at most 4.
        flash_attention: None leaves it to llama.cpp.
        use_mmap: Map the file instead of copying it into memory.
        repack: Let llama.cpp copy q4_0 and q4_K weights into a faster layout, for as much memory again.
        n_gpu_layers: Layers that a GPU holds, if the installed llama.cpp has one.
        probe: Try a file not seen before in a child process first.
        engine: The library that runs it: xllamacpp, llama_cpp or ik_llama_cpp; "auto" takes the fastest of those that
            are installed whose numbers are right for this file.
        force: Load it even if there is not enough free memory for it.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    context_length: int | None = Field(default=None, ge=8, le=1 << 24)
    n_threads: int | None = Field(default=None, ge=1, le=1024)
    flash_attention: bool | None = None
    use_mmap: bool = True
    repack: bool = True
    n_gpu_layers: int = Field(default=0, ge=-1)
    probe: bool = True
    engine: str = AUTO
    force: bool = False

    @field_validator("context_length", "n_threads", "flash_attention", mode="before")
    @classmethod
    def _none_in_a_spec(cls, value: Any) -> Any:
        return none_from_text(value)

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        name = value.strip().replace("-", "_")
        if name not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {value!r}")
        return name

    @model_validator(mode="after")
    def _sound_file(self) -> Self:
        check_model(self.header)
        return self

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            ModelFileError: It is the name of a model on a hub that was not pulled.
        """
        path = Path(self.model).expanduser()
        return pulled_gguf(self.model) if not path.exists() and is_hub_name(self.model) else path

    @property
    def header(self) -> Header:
        """The file's GGUF metadata.

        Raises:
            ModelFileError: It is not a GGUF file, or a damaged one.
        """
        return read_header(self.path)

    @property
    def parameter_count(self) -> int:
        """How many numbers the tensors of the file hold."""
        return sum(math.prod(tensor.shape) for tensor in self.header.tensors.values())

    @property
    def loading(self) -> LlamaLoading:
        """How the weights are loaded."""
        return LlamaLoading(
            use_mmap=self.use_mmap,
            repack=self.repack,
            n_gpu_layers=self.n_gpu_layers,
            probe=self.probe,
            engine=self.engine,
        )


class GGUFSettings(FileSettings):
    """Settings of GGUF models that generate text.

    Attributes:
        n_batch: Maximum number of tokens in one pass.
        n_threads_batch: Number of threads for prompts; None: as `n_threads`, which then counts for single tokens too.
        n_sequences: Parallel sequences in the KV cache, for prompt caching and batching; None: 16, or 8 for recurrent
            models.
        kv_type: Type of the KV cache: "f16", "f32", or "q8_0" for half the memory.
        repeatable: A call made alone gives the same text whatever ran before; prompts are read 5 to 15 % slower, and
            not by ik_llama.cpp.
        lora: LoRA adapters as GGUF files; in a spec with commas between them.
        lora_scale: How much of each; one number counts for all, none is 1.
        draft: A smaller GGUF model of the same family that proposes tokens; the text stays the same.
        draft_tokens: Maximum number of proposed tokens; fewer are used where measurements say that they do not pay.
        on_progress: Called while the weights are loaded, with the part that is there, from 0 to 1; from Python only.
    """

    n_batch: int = Field(default=512, ge=1, le=1 << 16)
    n_threads_batch: int | None = Field(default=None, ge=1, le=1024)
    n_sequences: int | None = Field(default=None, ge=1, le=64)
    kv_type: Literal["f16", "f32", "q8_0"] = "f16"
    repeatable: bool = False
    lora: list[str] = Field(default_factory=list)
    lora_scale: list[float] = Field(default_factory=list)
    draft: str | None = None
    draft_tokens: int = Field(default=4, ge=1, le=16)
    on_progress: Progress | None = Field(default=None, exclude=True, repr=False)

    _runtime: Kept[LlamaRuntime] = PrivateAttr(default_factory=Kept)
    _draft_runtime: Kept[LlamaRuntime] = PrivateAttr(default_factory=Kept)

    @field_validator("draft", "n_threads_batch", mode="before")
    @classmethod
    def _none_in_spec_of_texts(cls, value: Any) -> Any:
        return none_from_text(value)

    @field_validator("lora", "lora_scale", mode="before")
    @classmethod
    def _several_in_a_spec(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [part for part in map(str.strip, value.split(",")) if part]
        return [value] if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _sound_adapters(self) -> Self:
        for adapter in adapters(self.lora, self.lora_scale):
            check_adapter(read_header(adapter.path), self.header)
        return self

    @property
    def runtime(self) -> LlamaRuntime:
        """The runtime, shared with all models of the same file and settings; loaded at the first use.

        Raises:
            ModelFileError: The file is not a model, or a damaged one.
            NotEnoughMemory: It does not fit in the memory that is free, and `force` was not given.
            MissingLibrary: llama.cpp is not installed.
        """
        return self._runtime.value((self.path, self._settings), self._open)

    def load(self) -> Self:
        """Load now what the first call would load; does nothing if it is loaded.

        Raises:
            ModelFileError: The file is not a model, or a damaged one.
            NotEnoughMemory: It does not fit in the memory that is free, and `force` was not given.
        """
        _ = self.runtime
        return self

    def save_state(self, path: str | Path, text: str, *, special: bool = False) -> int:
        """Compute a text and save its KV cache to a file, for `load_state` in another process.

        Args:
            path: The file; an existing one is replaced. Its size is that of the tokens' keys and values.
            text: How later prompts begin.
            special: Read the names of special tokens in the text as those tokens, as templates of chats do.

        Returns:
            How many tokens it has.

        Raises:
            ContextOverflow: The text is longer than the context.
        """
        runtime = self.runtime
        with closing(LocalSession(runtime)) as session:
            session.append(text, special=special).begun().logits()
            state.write(
                Path(path),
                state.SavedState(session.tokens, runtime.state(session.sequence)),
                state.fingerprint(runtime),
            )
            return len(session.tokens)

    def load_state(self, path: str | Path) -> int:
        """Take up what `save_state` has kept: a prompt that begins with that text is read from its end.

        Only load files of your own: they go into llama.cpp's memory as they are.

        Returns:
            How many tokens it has.

        Raises:
            ModelFileError: The file is absent, damaged or of another kind.
            StateMismatch: It was made with another model, or with other settings.
            ContextOverflow: It is longer than the context.
        """
        runtime, path = self.runtime, Path(path)
        kept = state.read(path, state.fingerprint(runtime))
        if len(kept.tokens) > runtime.context_length:
            raise ContextOverflow(len(kept.tokens), runtime.context_length)
        if not state.vocabulary_fits(kept.tokens, runtime.vocabulary.size) or not runtime.take_state(
            kept.tokens, kept.data
        ):
            raise ModelFileError(path, "is not taken by llama.cpp; save the state again")
        return len(kept.tokens)

    def _open(self) -> LlamaRuntime:
        return open_runtime(self.path, self._settings, force=self.force, on_progress=self.on_progress)

    @property
    def _settings(self) -> LlamaSettings:
        return LlamaSettings(
            context_length=self.context_length,
            n_batch=self.n_batch,
            n_threads=self.n_threads,
            n_threads_batch=self.n_threads_batch,
            n_sequences=self.n_sequences,
            flash_attention=self.flash_attention,
            kv_type=self.kv_type,
            repeatable=self.repeatable,
            loading=self.loading,
            adapters=adapters(self.lora, self.lora_scale),
        )

    def new_session(self, cancelled: threading.Event | None = None) -> LocalSession:
        """An empty text.

        Raises:
            Unsupported: The draft model has other tokens.
        """
        if self.draft is None:
            return LocalSession(self.runtime, cancelled=cancelled)
        session = LocalSession(self.runtime, cancelled=cancelled)
        return session.drafted_by(LocalSession(self._small(self.draft), cancelled=cancelled), self.draft_tokens)

    def _small(self, name: str) -> LlamaRuntime:
        path, large = Path(name).expanduser(), self.runtime
        settings = replace(self._settings, context_length=large.context_length, adapters=())

        def opened() -> LlamaRuntime:
            small = open_runtime(path, settings, force=self.force)
            check_vocabularies(large.vocabulary, small.vocabulary)
            return small

        return self._draft_runtime.value((path, settings, large), opened)

    def unload(self) -> None:
        """Let go of the runtime: its memory is freed when no other model uses it. The next call loads it again."""
        self._runtime.clear()
        self._draft_runtime.clear()
