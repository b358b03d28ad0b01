"""What every GGUF model takes, and the engine that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from chainkit.backends.llama_cpp.checks import check_model
from chainkit.backends.llama_cpp.engine import Engine, EngineSettings, open_engine
from chainkit.backends.llama_cpp.header import Header, read_header
from chainkit.backends.llama_cpp.kept import Kept
from chainkit.backends.llama_cpp.weights import Loading
from chainkit.base.errors import Unsupported, nearest
from chainkit.base.sampling import Sampling

if TYPE_CHECKING:
    from chainkit.decoding.constraints import Constraint

_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "max_tokens", "stop")
_AT_CALL = (*_SAMPLING, "logprobs")


class Call(NamedTuple):
    """One call of a model, in full.

    Attributes:
        sampling: How tokens are chosen.
        logprobs: Give log-probabilities, with so many rivals of each token.
        constraint: What may be written.
    """

    sampling: Sampling
    logprobs: int | None
    constraint: Constraint | None


class FileSettings(BaseModel):
    """Which file, and how it is loaded.

    Attributes:
        model: Path of a GGUF file; `~` is the home folder.
        n_ctx: Tokens that the model can read at once; None: what it was trained on, at most 4096.
        n_threads: None: all cores but one, at most 4.
        flash_attention: None leaves it to llama.cpp.
        use_mmap: Map the file instead of copying it into memory.
        repack: Let llama.cpp copy q4_0 and q4_K weights into a faster layout, for as much memory again.
        n_gpu_layers: Layers that a GPU holds, if the installed llama.cpp has one.
        probe: Try a file not seen before in a child process first.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    n_ctx: int | None = Field(default=None, ge=8, le=1 << 24)
    n_threads: int | None = Field(default=None, ge=1, le=1024)
    flash_attention: bool | None = None
    use_mmap: bool = True
    repack: bool = True
    n_gpu_layers: int = Field(default=0, ge=-1)
    probe: bool = True

    @field_validator("n_ctx", "n_threads", "flash_attention", mode="before")
    @classmethod
    def _none_in_a_spec(cls, value: Any) -> Any:
        return none_from_text(value)

    @model_validator(mode="after")
    def _sound_file(self) -> Self:
        check_model(self.header)
        return self

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.model).expanduser()

    @property
    def header(self) -> Header:
        """What the file says about itself.

        Raises:
            ModelFileError: It is no GGUF file, or a damaged one.
        """
        return read_header(self.path)

    @property
    def loading(self) -> Loading:
        """How the weights are loaded."""
        return Loading(use_mmap=self.use_mmap, repack=self.repack, n_gpu_layers=self.n_gpu_layers, probe=self.probe)


class CallSettings(BaseModel):
    """How text is written; each of these can be given for one call as well.

    Attributes:
        temperature: 0 always takes the likeliest token.
        top_k: Only the k likeliest tokens are candidates; 0 means all.
        top_p: Only the smallest set of tokens with this total probability are candidates.
        min_p: Only tokens at least this share as likely as the likeliest are candidates.
        repeat_penalty: Above 1, tokens of the last 256 become less likely.
        seed: The same seed gives the same text; None draws a fresh one.
        max_tokens: None goes on until the model ends or the context is full.
        stop: Stop at the first of these texts, as well as at those of a call; it is not part of the answer.
        logprobs: Give the log-probability of each token, with so many of its likeliest rivals.
    """

    model_config = ConfigDict(extra="forbid")

    temperature: float = Field(default=0.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repeat_penalty: float = Field(default=1.0, gt=0)
    seed: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=512, ge=1)
    stop: list[str] | None = None
    logprobs: int | None = Field(default=None, ge=0, le=100)

    @field_validator("seed", "max_tokens", "logprobs", mode="before")
    @classmethod
    def _none_as_text(cls, value: Any) -> Any:
        return none_from_text(value)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _no_empty_stop(cls, value: list[str] | None) -> list[str] | None:
        if value and not all(value):
            raise ValueError("an empty stop text would stop everything")
        return value

    @field_validator("logprobs", mode="before")
    @classmethod
    def _logprobs_yes_or_no(cls, value: Any) -> Any:
        return {True: 0, False: None}.get(value, value) if isinstance(value, bool) else value


class Settings(FileSettings, CallSettings):
    """What the models that write text take.

    Attributes:
        n_batch: Tokens computed at once while a prompt is read.
        n_sequences: Texts that are kept apart in memory, so that a prompt that was read is not read again.
        kv_type: How what was read is stored: "f16", "f32", or "q8_0" for half the memory.
    """

    n_batch: int = Field(default=512, ge=1, le=1 << 16)
    n_sequences: int = Field(default=8, ge=1, le=64)
    kv_type: Literal["f16", "f32", "q8_0"] = "f16"

    _engine: Kept[Engine] = PrivateAttr(default_factory=Kept)

    @property
    def engine(self) -> Engine:
        """The engine, shared with all models of the same file and settings; loaded at the first use.

        Raises:
            ModelFileError: The file is no model, or a damaged one.
            MissingLibrary: llama.cpp is not installed.
        """
        settings = EngineSettings(
            n_ctx=self.n_ctx,
            n_batch=self.n_batch,
            n_threads=self.n_threads,
            n_sequences=self.n_sequences,
            flash_attention=self.flash_attention,
            kv_type=self.kv_type,
            loading=self.loading,
        )
        return self._engine.value((self.path, settings), lambda: open_engine(self.path, settings))

    def unload(self) -> None:
        """Let go of the engine: its memory is freed when no other model uses it. The next call loads it again."""
        self._engine.clear()

    def call(self, stop: Sequence[str] | None, changes: Mapping[str, Any]) -> Call:
        """The settings of one call.

        Raises:
            TypeError: A setting is unknown, or belongs to the constructor.
        """
        changes = dict(changes)
        constraint = changes.pop("constraint", None)
        _refuse_unknown(changes, type(self).model_fields)
        called = CallSettings(**{name: getattr(self, name) for name in _AT_CALL} | dict(changes))
        stops = [*(self.stop or ()), *(called.stop or ()), *(stop or ())]
        values = {name: getattr(called, name) for name in _SAMPLING if name != "stop"}
        return Call(Sampling(**values, stop=tuple(dict.fromkeys(stops))), called.logprobs, constraint)


def none_from_text(value: Any) -> Any:
    """In a spec all options are text, "none" too."""
    return None if isinstance(value, str) and value.strip().lower() == "none" else value


def _refuse_unknown(changes: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    for name in changes:
        if name in _AT_CALL:
            continue
        if name in fields:
            raise TypeError(f"'{name}' belongs to the model and cannot change for one call; make a second model")
        if name in ("tools", "tool_choice", "parallel_tool_calls"):
            raise Unsupported("a model that continues text calls no tools; chat_model('gguf:...') does")
        hint = nearest(name, _AT_CALL)
        advice = f"did you mean '{hint}'?" if hint else f"settings of a call: {', '.join(_AT_CALL)}, constraint"
        raise TypeError(f"no setting '{name}'; {advice}")
