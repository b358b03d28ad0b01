"""`gguf:` as a model that answers messages, by the chat template of its file."""

from __future__ import annotations

import threading
from typing import Any

from langchain_core.language_models.base import LangSmithParams

from chainkit.backends.llama_cpp.settings import GGUFSettings
from chainkit.backends.llama_cpp.vocabulary import LlamaVocabulary
from chainkit.base.errors import TemplateError
from chainkit.local.chat import LocalChat
from chainkit.local.session import LocalSession
from chainkit.local.settings import CallSettings
from chainkit.local.template import ChatTemplate

_TEMPLATE_KEY = "tokenizer.chat_template"


class GGUFChat(GGUFSettings, LocalChat):
    """A GGUF file that answers messages.

    Attributes:
        chat_template: A Jinja template to use instead of the file's own.
        streaming: Generate token by token in `invoke` too, for callbacks that want each token.
    """

    @property
    def _llm_type(self) -> str:
        return "chainkit-gguf-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.model_dump(include={*GGUFSettings.model_fields, *CallSettings.model_fields, "chat_template"})

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"], params["ls_model_name"] = "gguf", kwargs.get("model", self.model)
        return params

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text."""
        return self.runtime.vocabulary.tokenize(text)

    def unload(self) -> None:
        """Let go of the runtime: its memory is freed when no other model uses it. The next call loads it again."""
        self._conversation.clear()
        super().unload()

    @property
    def _vocabulary(self) -> LlamaVocabulary:
        return self.runtime.vocabulary

    def _session(self, cancelled: threading.Event) -> LocalSession:
        return self.new_session(cancelled).begin_with(self.own_soft_prompt)

    def _metadata(self) -> dict[str, Any]:
        return {"model_name": self.model, "model_provider": "gguf"}

    def _template(self) -> ChatTemplate:
        source = self.chat_template or self.header.get(_TEMPLATE_KEY)
        if not isinstance(source, str) or not source.strip():
            raise TemplateError(
                f"{self.model} has no chat template; pass chat_template=..., a Jinja template, or use it as "
                f"llm('gguf:{self.model}') and write the whole prompt yourself"
            )
        return ChatTemplate(source)
