"""How an answer is made: sentences of the documents alone, a short sentence about them, or a text over all passages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from chainkit.knowledge.answer.prompt import is_refusal
from chainkit.knowledge.index.fit import harmless
from chainkit.knowledge.readers.plain import stems, words
from chainkit.knowledge.readers.scripts import normal

if TYPE_CHECKING:
    from langchain_core.prompt_values import PromptValue

Style: TypeAlias = Literal["extract", "short", "full"]
STYLES: tuple[Style, ...] = ("extract", "short", "full")

SMALL = 4_000_000_000
"""Local models with fewer parameters answer in the short way."""

SHORT_TOKENS = 40
SHORT_STOP = ("\n",)
TEXT_STOP = ("\nQuestion:", "\nContext:", "\n\n\n")
"""Where the answer of a model that only continues text ends."""

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)(?<![\"'“(\[])\b[^\W\d_a-z]\w+")
_LEAD = re.compile(r"^(?:answer|a)\s*:\s*", re.IGNORECASE)
_FENCE = re.compile(r"^[`\"'“”*\s]+|[`\"'“”*\s]+$")


def style_of(model: Any, wanted: Style | None) -> Style:
    """The way that suits a model, unless one is wanted.

    Without a model sentences are quoted. Local models below `SMALL` parameters, and those that only continue text,
    write one short sentence about the sentences that were found: with more to read they invent. All others write in
    full.

    Raises:
        ValueError: There is no such way, or it needs a model and there is none.
    """
    if wanted is not None and wanted not in STYLES:
        raise ValueError(f"style must be one of {', '.join(map(repr, STYLES))}, got {wanted!r}")
    if model is None:
        if wanted not in (None, "extract"):
            raise ValueError(f"style {wanted!r} needs a model; without one there is only 'extract'")
        return "extract"
    if wanted is not None:
        return wanted
    if not hasattr(model, "parameter_count"):  # hosted, or not of ours
        return "full"
    count = model.parameter_count
    return "short" if count is None or count < SMALL or not chats(model) else "full"


def chats(model: Any) -> bool:
    """Whether a model answers messages; the others continue text."""
    from langchain_core.language_models import BaseChatModel

    return isinstance(model, BaseChatModel)


def short_prompt(question: str, sentences: Sequence[str], *, chat: bool) -> PromptValue:
    """What a small model is asked: the sentences that were found, and the question after them."""
    from langchain_core.messages import HumanMessage
    from langchain_core.prompt_values import ChatPromptValue, StringPromptValue

    text = f"Context: {harmless(' '.join(sentences))}\n\nQuestion: {harmless(question)}"
    return ChatPromptValue(messages=[HumanMessage(text)]) if chat else StringPromptValue(text=f"{text}\nAnswer:")


def sentence_of(written: str) -> str:
    """The first line of what a small model wrote, without its quotation marks and labels.

    >>> sentence_of('Answer: "The boat is red."')
    'The boat is red.'
    """
    line = next((line for line in written.splitlines() if line.strip("`*\"' ")), "")
    return _FENCE.sub("", _LEAD.sub("", _FENCE.sub("", line)))


def holds(sentence: str, sources: Sequence[str], question: str) -> bool:
    """Whether a sentence says something beyond the question, and nothing that its sources and the question do not hold.

    All its numbers, names and other words must stand there, in any form of the word.

    >>> source = ["The boat is called Saltmarsh Annie and lies in the harbour."]
    >>> said = "It is Saltmarsh Annie.", "It is Annie II, 1987."
    >>> [holds(text, source, "What is the boat called?") for text in said]
    [True, False]
    """
    if is_refusal(sentence):
        return False
    there = normal(" ".join([*sources, question]))
    known, own = stems(there), stems(sentence)
    if not own - stems(question):
        return False
    numbers = set(_NUMBER.findall(there))
    if any(number not in numbers for number in _NUMBER.findall(normal(sentence))):
        return False
    folded = set(words(there))
    if any(name.lower() not in folded for name in _NAME.findall(normal(sentence)) if name[0].isupper()):
        return False
    return own <= known
