"""How many tokens a model can read, and how many a text has for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import MissingLibrary, ModelFileError, Unsupported

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM

    Model = BaseChatModel | BaseLLM

UNKNOWN_CONTEXT = 4_096
_log = logging.getLogger("chainkit.counting")
_warned: set[str] = set()
_BYTES_PER_TOKEN = 3  # on the safe side: English has about four, code and other languages fewer


def context_length(model: Model) -> int:
    """How many tokens a model can read; a local model is loaded for that."""
    profile: Any = getattr(model, "profile", None) or {}
    said = (
        profile.get("max_input_tokens")
        or getattr(model, "effective_context_length", None)
        or getattr(model, "context_length", None)
    )
    return said if isinstance(said, int) and said > 0 else UNKNOWN_CONTEXT


def counter(model: Model) -> Callable[[str], int]:
    """A function that counts a text's tokens: the model's own, or an estimate that is rather too high.

    langchain-core's own default is not used: it would fetch GPT-2's tokenizer from the network. A hosted model whose
    tokenizer is not known, not installed or not to be had is estimated: its answers do not depend on the count. That
    is logged, once for each model.
    """
    from langchain_core.language_models import BaseLanguageModel

    kind: Any = type(model)
    default: Any = BaseLanguageModel
    own = (
        model.custom_get_token_ids is not None
        or kind.get_token_ids is not default.get_token_ids
        or kind.get_num_tokens is not default.get_num_tokens
    )
    if not own:
        _tell(model, "it has no tokenizer here")
        return estimate
    try:
        model.get_num_tokens("a")
    except (MissingLibrary, ModelFileError, Unsupported) as error:
        _tell(model, str(error))
        return estimate
    return model.get_num_tokens


def _tell(model: Model, reason: str) -> None:
    name = str(getattr(model, "model", None) or getattr(model, "model_name", None) or type(model).__name__)
    if name not in _warned:
        _warned.add(name)
        _log.warning("tokens of %s are estimated, one for %d bytes: %s", name, _BYTES_PER_TOKEN, reason)


def estimate(text: str) -> int:
    """Tokens of a text for a model that cannot count.

    >>> estimate("Bees fly.")
    3
    """
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)
