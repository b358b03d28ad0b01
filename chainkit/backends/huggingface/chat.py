"""`huggingface:` as a model that answers messages, by the chat template of its tokenizer."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from langchain_core.language_models.base import LangSmithParams

from chainkit.backends.huggingface.settings import ModelSettings
from chainkit.backends.huggingface.vocabulary import TransformersVocabulary
from chainkit.base.errors import MissingLibrary, TemplateError
from chainkit.base.generation import GenerationRequest

try:
    import jinja2  # noqa: F401 - transformers does not bring it
except ImportError as error:
    raise MissingLibrary("jinja2", extra="huggingface") from error

from chainkit.local.chat import LocalChat
from chainkit.local.named import named_template
from chainkit.local.session import LocalSession
from chainkit.local.template import ChatTemplate


class HuggingFaceChat(ModelSettings, LocalChat):
    """A transformers model that answers messages.

    Attributes:
        chat_template: To use instead of the tokenizer's own: a Jinja template, or "llama-2", "vicuna", "alpaca",
            "chatml".
        streaming: Generate token by token in `invoke` too, for callbacks that want each token.
    """

    _first_token: ClassVar[bool] = False  # as in transformers, all special tokens are the template's

    @property
    def _llm_type(self) -> str:
        return "chainkit-huggingface-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        unrelated = {"callbacks", "cache", "metadata", "tags", "rate_limiter"}
        return self.model_dump(include=set(HuggingFaceChat.model_fields) - unrelated)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"], params["ls_model_name"] = "huggingface", kwargs.get("model", self.model)
        return params

    def call(self, stop: Sequence[str] | None, changes: Mapping[str, Any]) -> GenerationRequest:
        """The settings of one call; a named template adds the texts that end its answers.

        Raises:
            TypeError: A setting is unknown, or belongs to the constructor.
        """
        own = named_template(self.chat_template).stop if self.chat_template else ()
        return super().call([*(stop or ()), *own], changes)

    def unload(self) -> None:
        """Let go of the model: its memory is freed when no other object uses it. The next call loads it again."""
        self._conversation.clear()
        super().unload()

    @property
    def _vocabulary(self) -> TransformersVocabulary:
        return self.loaded.vocabulary

    def _session(self, cancelled: threading.Event) -> LocalSession:
        return self.new_session(cancelled).begin_with(self.own_soft_prompt)

    def _metadata(self) -> dict[str, Any]:
        return {"model_name": self.model, "model_provider": "huggingface"}

    def _template(self) -> ChatTemplate:
        if self.chat_template:
            return ChatTemplate(named_template(self.chat_template).source)
        source = self.loaded.template
        if not isinstance(source, str) or not source.strip():
            raise TemplateError(
                f"{self.model} has no chat template; pass chat_template=..., a Jinja template, or use it as "
                f"llm('hf:{self.model}') and write the whole prompt yourself"
            )
        return ChatTemplate(source)
