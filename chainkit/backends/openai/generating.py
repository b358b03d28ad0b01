"""Shared by the chat and the completion model: identity in traces, and request settings."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from langchain_core.language_models import LangSmithParams
from pydantic import Field

from chainkit.backends.openai.hosted import Hosted, Texts
from chainkit.backends.openai.tokens import token_ids


class Generating(Hosted):
    """A hosted model that writes text.

    Attributes:
        temperature: 0 takes the likeliest token; None leaves it to the service.
        max_tokens: Longest answer in tokens; None leaves it to the service.
        stop: The answer ends before the first of these texts.
    """

    _kind: ClassVar[Literal["chat", "llm"]]
    _names: ClassVar[tuple[str, ...]]

    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: Texts = Field(default_factory=list)

    def get_token_ids(self, text: str) -> list[int]:
        """The tokens of a text, by the tokenizer of the model (with tiktoken, an extra of its own).

        Raises:
            MissingLibrary: tiktoken is not installed.
            Unsupported: The tokenizer of this model is not known.
            ModelFileError: The vocabulary is not on this machine and cannot be fetched.
        """
        return token_ids(text, self.model)

    @property
    def _identifying_params(self) -> dict[str, Any]:
        addresses = ",".join(access.base_url for access in self._accesses())
        return {"model": self.model, "base_url": addresses, **self._settings()}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = LangSmithParams(
            ls_provider=self.service, ls_model_name=kwargs.get("model", self.model), ls_model_type=self._kind
        )
        if (temperature := kwargs.get("temperature", self.temperature)) is not None:
            params["ls_temperature"] = temperature
        if (limit := kwargs.get("max_tokens", self.max_tokens)) is not None:
            params["ls_max_tokens"] = limit
        if stop or self.stop:
            params["ls_stop"] = stop or self.stop
        return params

    def _settings(self) -> dict[str, Any]:
        chosen = {name: value for name in self._names if (value := getattr(self, name)) not in (None, [])}
        return {**chosen, "extra_body": self.extra_body} if self.extra_body else chosen
