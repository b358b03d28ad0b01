"""`ctransformers:` as models that continue text and answer messages."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from chainkit.backends.ctransformers.kinds import kind_of, named_kind
from chainkit.backends.ctransformers.runtime import CTransformersRuntime, CTransformersSettings, open_runtime
from chainkit.backends.ctransformers.vocabulary import CTransformersVocabulary
from chainkit.base.errors import MissingLibrary, TemplateError
from chainkit.base.generation import GenerationRequest
from chainkit.local.completion import LocalLLM
from chainkit.local.kept import Kept
from chainkit.local.session import LocalSession
from chainkit.local.settings import CallSettings, none_from_text

try:
    from chainkit.local.chat import LocalChat
    from chainkit.local.named import TEMPLATES, named_template
    from chainkit.local.template import ChatTemplate
except ImportError as error:
    raise MissingLibrary("jinja2", extra="ctransformers") from error


class GGMLSettings(BaseModel):
    """Which file, and how it is loaded.

    Attributes:
        model: Path of a `.bin` file; `~` is the home folder.
        model_type: "gpt2", "gptj", "gpt_neox", "dolly-v2", "mpt", "falcon", "replit", "starcoder", "llama" or "gguf";
            None looks into the file and at its name.
        context_length: Tokens that the model can read at once; None: what the file says, or 2048.
        n_threads: None: half of the cores, at most 4.
        n_batch: Tokens computed at once while a prompt is read.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    model_type: str | None = None
    context_length: int | None = Field(default=None, ge=8, le=1 << 20)
    n_threads: int | None = Field(default=None, ge=1, le=1024)
    n_batch: int = Field(default=8, ge=1, le=512)

    _runtime: Kept[CTransformersRuntime] = PrivateAttr(default_factory=Kept)

    @field_validator("model_type", "context_length", "n_threads", mode="before")
    @classmethod
    def _none_in_a_spec(cls, value: Any) -> Any:
        return none_from_text(value)

    @field_validator("model_type")
    @classmethod
    def _known_kind(cls, value: str | None) -> str | None:
        return None if value is None else named_kind(value)

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.model).expanduser()

    @property
    def runtime(self) -> CTransformersRuntime:
        """The runtime, shared with all models of the same file and settings; its process starts at the first use.

        Raises:
            ModelFileError: The file is not a model, or a damaged one.
            MissingLibrary: ctransformers is not installed.
        """
        settings = CTransformersSettings(
            kind=self.model_type or kind_of(self.path),
            context_length=self.context_length,
            n_threads=self.n_threads,
            n_batch=self.n_batch,
        )
        return self._runtime.value((self.path, settings), lambda: open_runtime(self.path, settings))

    def unload(self) -> None:
        """Let go of the runtime: its process ends when no other model uses it. The next call starts it again."""
        self._runtime.clear()


class CTransformersModel(GGMLSettings, LocalLLM):
    """A GGML file of 2023 that continues text, in a child process."""

    @property
    def _llm_type(self) -> str:
        return "chainkit-ctransformers"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.model_dump(include={*GGMLSettings.model_fields, *CallSettings.model_fields, "special_tokens"})

    def session(self, text: str = "", *, cancelled: threading.Event | None = None) -> LocalSession:
        """A text to go on with token by token.

        Raises:
            ContextOverflow: The text is longer than the context.
        """
        session = LocalSession(self.runtime, cancelled=cancelled)
        return session.append(text, special=self.special_tokens) if text else session

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text."""
        return self.runtime.vocabulary.tokenize(text, special=self.special_tokens)


class CTransformersChat(GGMLSettings, LocalChat):
    """A GGML file of 2023 that answers messages, in a child process.

    Attributes:
        chat_template: How messages are written: "alpaca", "vicuna", "chatml", "llama-2", or a Jinja template. The files
            hold none, so it must be said.
    """

    @property
    def _llm_type(self) -> str:
        return "chainkit-ctransformers-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.model_dump(include={*GGMLSettings.model_fields, *CallSettings.model_fields, "chat_template"})

    @field_validator("chat_template")
    @classmethod
    def _known_template(cls, value: str | None) -> str | None:
        if value is not None:
            named_template(value)
        return value

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text."""
        return self.runtime.vocabulary.tokenize(text)

    def call(self, stop: Sequence[str] | None, changes: Mapping[str, Any]) -> GenerationRequest:
        """The settings of one call; a named template adds the texts that end its answers.

        Raises:
            TypeError: A setting is unknown, or belongs to the constructor.
        """
        own = named_template(self.chat_template).stop if self.chat_template else ()
        return super().call([*(stop or ()), *own], changes)

    def unload(self) -> None:
        """Let go of the runtime: its process ends when no other model uses it. The next call starts it again."""
        self._conversation.clear()
        super().unload()

    @property
    def _vocabulary(self) -> CTransformersVocabulary:
        return self.runtime.vocabulary

    def _session(self, cancelled: threading.Event) -> LocalSession:
        return LocalSession(self.runtime, cancelled=cancelled)

    def _metadata(self) -> dict[str, Any]:
        return {"model_name": self.model, "model_provider": "ctransformers"}

    def _template(self) -> ChatTemplate:
        if self.chat_template:
            return ChatTemplate(named_template(self.chat_template).source)
        raise TemplateError(
            f"{self.model} is of a time when files held no chat template; say which one it was trained on with "
            f"chat_template=... ({', '.join(TEMPLATES)}, or a Jinja template)"
        )
