"""`gguf:` as a model that continues text."""

from __future__ import annotations

import threading
from typing import Any

from chainkit.backends.llama_cpp.settings import GGUFSettings
from chainkit.local.completion import LocalLLM
from chainkit.local.session import LocalSession
from chainkit.local.settings import CallSettings


class GGUFModel(GGUFSettings, LocalLLM):
    """A GGUF file that continues text.

    Attributes:
        special_tokens: Read the names of special tokens in a prompt, like "<|im_start|>", as those tokens. Only for
            prompts that you write yourself: what a user types could then end a turn and begin another.
    """

    @property
    def _llm_type(self) -> str:
        return "chainkit-gguf"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.model_dump(include={*GGUFSettings.model_fields, *CallSettings.model_fields, "special_tokens"})

    def session(self, text: str = "", *, cancelled: threading.Event | None = None) -> LocalSession:
        """A text to go on with token by token.

        Raises:
            ContextOverflow: The text is longer than the context.
        """
        session = self.new_session(cancelled).begin_with(self.own_soft_prompt)
        return session.append(text, special=self.special_tokens) if text else session

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens of a text."""
        return self.runtime.vocabulary.tokenize(text, special=self.special_tokens)
