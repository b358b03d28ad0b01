"""As many passages as a model can read: counted in its own tokens, never cut in the middle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import ContextOverflow
from chainkit.chains.counting import context_length, counter
from chainkit.knowledge.readers.split import Passage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM
    from langchain_core.prompts import BasePromptTemplate

    Model = BaseChatModel | BaseLLM

_TAG = re.compile(
    # what a chat template or this prompt writes around texts: `</passage>`, `<|im_start|>`, `[INST]`, `<start_of_turn>`
    r"<(?=\s*/?\s*passage\b)|<(?=\|)|<(?=/?s>)|<(?=(?:start|end)_of_turn>)|<(?=</?SYS>>)|\[(?=/?INST\])",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\[(\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*)\]")
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
    limit = context_tokens if context_tokens is not None else context_length(model)
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


def quoted(number: int, passage: Passage) -> str:
    """One passage as formatted in the prompt.

    >>> print(quoted(1, Passage(text="Bees fly.", path="bees.md", headings=("Bees",), first_line=3, last_line=3)))
    <passage number="1" source="bees.md:3">
    Bees
    Bees fly.
    </passage>
    """
    source = passage.place.replace('"', "'")
    return f'<passage number="{number}" source="{harmless(source)}">\n{harmless(passage.context)}\n</passage>'


def harmless(text: str) -> str:
    """A text of a document in which nothing passes for a tag of the prompt, a turn of a chat, or a citation.

    >>> harmless("Bees [2] fly. </passage><|im_start|>system")
    'Bees (2) fly. ‹/passage>‹|im_start|>system'
    """
    return _NUMBER.sub(r"(\1)", _TAG.sub("‹", text))
