"""`ggml:`: the `.bin` files of 2023 (ggjt, Llama and its relatives), laid out as GGUF once and run as GGUF."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, PrivateAttr, field_validator, model_validator

from chainkit.backends.llama_cpp.chat import GGUFChat
from chainkit.backends.llama_cpp.checks import check_model
from chainkit.backends.llama_cpp.completion import GGUFModel
from chainkit.backends.llama_cpp.conversion import ConversionPlan, Progress, Unstored, convert, converted, plan
from chainkit.backends.llama_cpp.ggjt import other_family
from chainkit.backends.llama_cpp.header import read_header
from chainkit.base.errors import NO_SUCH_FILE, ModelFileError, TemplateError
from chainkit.base.generation import GenerationRequest
from chainkit.local.named import TEMPLATES, named_template
from chainkit.local.template import ChatTemplate

__all__ = ["ConversionPlan", "GGMLChat", "GGMLModel", "Unstored", "convert", "converted", "plan"]

_lock = threading.Lock()


class OldFile(BaseModel):
    """Settings that old files lack, and where their GGUF conversion is stored.

    Attributes:
        trained_context: Tokens of the longest text in training; None guesses from the name of the file: 4096 for
            Llama 2, 16384 for Code Llama, else 2048.
        rms_eps: Epsilon of the RMS norms.
        rope_base: Base of the rotary position embedding; None guesses from the name of the file.
        progress: Called with the bytes written and the bytes there will be, while the file is laid out.
    """

    trained_context: int | None = Field(default=None, ge=1, le=1 << 28)
    rms_eps: float = Field(default=5e-6, gt=0, lt=1)
    rope_base: float | None = Field(default=None, gt=1, lt=1e12)
    progress: Progress | None = Field(default=None, exclude=True, repr=False)
    _laid_out: tuple[object, Path] | None = PrivateAttr(default=None)

    @classmethod
    def provider_for(cls, name: str) -> str | None:
        """The provider that runs a file of another family than Llama's; None if this one does."""
        return "ctransformers" if other_family(Path(name).expanduser()) else None

    @field_validator("trained_context", "rope_base", mode="before")
    @classmethod
    def _none_in_an_option(cls, value: Any) -> Any:
        return None if isinstance(value, str) and value.strip().lower() == "none" else value

    @model_validator(mode="after")
    def _sound_file(self) -> Self:
        if _is_gguf(self._source):
            check_model(read_header(self._source))
        else:
            plan(self._source, self._unstored)
        return self

    @property
    def path(self) -> Path:
        """The GGUF file; made at the first use, which copies as many bytes as the old file has.

        Raises:
            ModelFileError: The old file cannot be laid out, or there is no room for it.
        """
        key = (self._source, self._unstored)
        with _lock:
            if self._laid_out is None or self._laid_out[0] != key or not self._laid_out[1].exists():
                gguf = _is_gguf(self._source)
                where = self._source if gguf else converted(self._source, self._unstored, progress=self.progress)
                self._laid_out = key, where
            return self._laid_out[1]

    @property
    def _source(self) -> Path:
        name: str = getattr(self, "model", "")
        return Path(name).expanduser()

    @property
    def _unstored(self) -> Unstored:
        return Unstored(trained_context=self.trained_context, rms_eps=self.rms_eps, rope_base=self.rope_base)


class GGMLModel(OldFile, GGUFModel):
    """A `.bin` file of 2023 that continues text; it takes all that a GGUF model takes."""

    @property
    def _llm_type(self) -> str:
        return "chainkit-ggml"


class GGMLChat(OldFile, GGUFChat):
    """A `.bin` file of 2023 that answers messages; it takes all that a GGUF model takes.

    Attributes:
        chat_template: How messages are written: "llama-2", "vicuna", "alpaca", "chatml", or a Jinja template. The old
            files hold none, so it must be said.
    """

    @property
    def _llm_type(self) -> str:
        return "chainkit-ggml-chat"

    @field_validator("chat_template")
    @classmethod
    def _known_template(cls, value: str | None) -> str | None:
        if value is not None:
            named_template(value)
        return value

    def call(self, stop: Sequence[str] | None, changes: Mapping[str, Any]) -> GenerationRequest:
        """The settings of one call; a named template adds the texts that end its answers.

        Raises:
            TypeError: A setting is unknown, or belongs to the constructor.
        """
        own = named_template(self.chat_template).stop if self.chat_template else ()
        return super().call([*(stop or ()), *own], changes)

    def _template(self) -> ChatTemplate:
        if self.chat_template:
            return ChatTemplate(named_template(self.chat_template).source)
        if _is_gguf(self._source):
            return super()._template()
        raise TemplateError(
            f"{self.model} is of a time when files held no chat template; say which one it was trained on with "
            f"chat_template=... ({', '.join(TEMPLATES)}, or a Jinja template)"
        )


def _is_gguf(path: Path) -> bool:
    """Whether a file is GGUF under an old name."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except FileNotFoundError as error:
        raise ModelFileError(path, NO_SUCH_FILE) from error
    except OSError as error:
        raise ModelFileError(path, f"cannot be read ({error})") from error
