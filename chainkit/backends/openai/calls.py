"""As many passages as a model can read: counted in its own tokens, never cut in the middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import ContextOverflow
from chainkit.knowledge.prompt import quoted
from chainkit.knowledge.split import Passage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM
    from langchain_core.prompts import BasePromptTemplate

    Model = BaseChatModel | BaseLLM

UNKNOWN_CONTEXT = 4_096
_BYTES_PER_TOKEN = 3  # on the safe side: English has about four, code and other languages fewer
_MARKUP_TOKENS = 16  # what a chat template may add


def fit(
    passages: Sequence[Passage],
    question: str,
    template: BasePromptTemplate[Any],
    model: Model,
    context_tokens: int | None = None,
    answer_tokens: int = 512,
) -> tuple[Passage, ...]:
    """The passages that fit into the context beside the prompt and room for the answer, the best ones first.

    Args:
        context_tokens: How much the model can read; None asks the model, and takes 4,096 where it does not say.
        answer_tokens: Room for the answer, at most a quarter of the context.

    Raises:
        ContextOverflow: Not even one passage fits.
    """
    limit = context_tokens if context_tokens is not None else context_size(model)
    if limit < 1:
        raise ValueError(f"context_tokens must be 1 or more, got {limit}")
    count = counter(model)
    used = count(template.invoke({"passages": "", "question": question}).to_string()) + _MARKUP_TOKENS
    room = limit - min(answer_tokens, limit // 4) - used
    kept: list[Passage] = []
    smallest = 0
    for passage in passages:
        tokens = count(quoted(len(kept) + 1, passage)) + 2
        smallest = min(smallest or tokens, tokens)
        if tokens <= room:
            kept.append(passage)
            room -= tokens
    if passages and not kept:
        raise ContextOverflow(
            limit - room + smallest, limit, "take a model with a larger context, or give a shorter prompt"
        )
    return tuple(kept)


def context_size(model: Model) -> int:
    """How many tokens a model can read."""
    profile: Any = getattr(model, "profile", None) or {}
    for size in (profile.get("max_input_tokens"), getattr(model, "n_ctx", None)):
        if isinstance(size, int) and size > 0:
            return size
    return UNKNOWN_CONTEXT


def counter(model: Model) -> Callable[[str], int]:
    """A function that counts a text's tokens: the model's own, or an estimate that is rather too high.

    langchain-core's own default is not used: it would fetch GPT-2's tokenizer from the network.
    """
    from langchain_core.language_models import BaseLanguageModel

    kind = type(model)
    own = (
        model.custom_get_token_ids is not None
        or kind.get_token_ids is not BaseLanguageModel.get_token_ids
        or kind.get_num_tokens is not BaseLanguageModel.get_num_tokens
    )
    return model.get_num_tokens if own else estimate


def estimate(text: str) -> int:
    """Tokens of a text for a model that cannot count.

    >>> estimate("Bees fly.")
    3
    """
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)
