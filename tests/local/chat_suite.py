"""A tiny model that langchain's suites for chat models can talk to, and what they must know about local chats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.backends.llama_cpp.tiny import CHATML

# The suite asks a question whose right answer calls a tool, and shows the result: a random model does not know that.
# So the template ends with "?" where a call is due and with "!" where an answer is, and the model has the habit of
# beginning with "{" after "?" and with "t" after "!". Its only number is 3, its only text U+4F60 U+3053, as the suite
# likes them, and it comes to an end soon.
TEMPLATE = CHATML.replace(
    "<|im_start|>assistant\n",
    "<|im_start|>assistant\n"
    "{% if messages[-1].role != 'tool' and not messages[-1].content.startswith('Result') %}?{% else %}!{% endif %}",
)
_TEXT = "\u4f60\u3053"


def habits(encode: Callable[[str], list[int]], end: int) -> tuple[dict[int, float], dict[int, dict[int, float]]]:
    """For `tiny.taught`: what is always likely, and what likes to follow what.

    Args:
        encode: The tokens of a text, without special ones.
        end: The token that ends a turn.
    """

    def token(text: str) -> int:
        return encode(text)[0]

    characters, quote, bracket = encode(_TEXT), token('"'), token("}")
    follows = {
        token("?"): {token("{"): 12.0},
        token("!"): {token("t"): 12.0},
        token("3"): {bracket: 12.0, token(","): 12.0},
        characters[-1]: {quote: 12.0},
        **{before: {after: 12.0} for before, after in zip([quote, *characters], characters, strict=False)},
    }
    return {quote: 4.0, bracket: 4.0, end: 3.0, token("3"): 4.5}, follows


class LocalChat:
    """What langchain's suites ask about a chat model."""

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 400, "stop": []}  # no network, so no timeout, retries or key

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {}

    @property
    def supports_json_mode(self) -> bool:
        return True
