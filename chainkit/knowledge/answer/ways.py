"""How an answer is made: sentences of the documents alone, a short sentence about them, or a text over all passages."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from chainkit.chains.counting import counter
from chainkit.knowledge.answer.confidence import kind_missing
from chainkit.knowledge.answer.prompt import is_refusal
from chainkit.knowledge.index.fit import harmless
from chainkit.knowledge.readers.plain import stem, stems, words
from chainkit.knowledge.readers.scripts import normal

if TYPE_CHECKING:
    from langchain_core.prompt_values import PromptValue

Style: TypeAlias = Literal["extract", "short", "full"]
STYLES: tuple[Style, ...] = ("extract", "short", "full")

SMALL = 4_000_000_000
"""Local models with fewer parameters answer in the short way."""

SHORT_TOKENS = 40
SHORT_STOP = ("\n",)
FLUENT_SHARE = 0.5
"""Of the bytes to a token that a small model has in English, from which on it is asked."""
SPAN_WORDS = 8
"""A longer sentence of a small model that does not end was cut at the most tokens."""
PLAIN_WORDS = 20
"""The most words of a source that a small model may take a name or a number from without a word of the question."""
TEXT_STOP = ("\nQuestion:", "\nContext:", "\n\n\n")
"""Where the answer of a model that only continues text ends."""

_ENGLISH = "The boats of the harbour were built by people who lived in the houses near the old mill."
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_DENIAL = re.compile(
    r"\b(?:not|no|never|none|nor|neither|without|nicht|nie|niemals|ohne|kein(?:e[mnrs]?)?)\b|n['’]t\b|"
    "\u4e0d|\u6ca1|\u672a|\\b(?:\u0644\u0645|\u0644\u0646|\u0644\u0627|\u0644\u064a\u0633)\\b",
    re.IGNORECASE,
)
_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f\u0964\u061f\u06d4][\"'”’)\]»]*$")
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


def speaks(model: Any, text: str) -> bool:
    """Whether a model knows the language of a text, by how its tokenizer splits it compared with English.

    Vocabularies made for English leave less than half as many bytes to a token in Arabic or Chinese: such a model takes
    long to read the text, and what it says there is wrong.
    """
    count = counter(model)
    return len(text.encode()) / max(1, count(text)) >= FLUENT_SHARE * len(_ENGLISH) / max(1, count(_ENGLISH))


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
    """Whether a sentence says something beyond the question, and only what one of its sources says.

    Its words, in any form, stand in one source in the same order, so that a small model can shorten it but not exchange
    who did what; of several sources it is one with most of the question's words. Numbers stand there as they are. A
    question for a number or a name gets one, nothing is denied that the source does not deny, what is longer than
    `SPAN_WORDS` ends as sentences do, and what has no word of the question comes from a source of at most
    `PLAIN_WORDS`: a longer one names several things that it may be.

    >>> source = ["The boat is called Saltmarsh Annie and lies in the harbour."]
    >>> said = "It is Saltmarsh Annie.", "It is Annie II, 1987.", "The harbour lies in the boat.", "It isn't Annie."
    >>> [holds(text, source, "What is the boat called?") for text in said]
    [True, False, False, False]
    """
    if is_refusal(sentence) or not stems(sentence) - stems(question) or kind_missing(question, sentence):
        return False
    said, asked = normal(sentence), stems(question)
    own, denies = _roots(said), bool(_DENIAL.search(said))
    if (_DENIAL.search(question) and not denies) or (len(own) > SPAN_WORDS and not _END.search(said)):
        return False
    shared = [len(stems(source) & asked) for source in sources]
    most = PLAIN_WORDS if asked.isdisjoint(own) else math.inf
    return any(
        len(_roots(source)) <= most
        and _in_order(own, _roots(source))
        and set(_NUMBER.findall(said)) <= set(_NUMBER.findall(source))
        and bool(_DENIAL.search(source)) == denies
        for source, count in zip(map(normal, sources), shared, strict=True)
        if count == max(shared)
    )


def _roots(text: str) -> list[str]:
    return [stem(word) for word in words(text)]


def _in_order(some: Sequence[str], every: Sequence[str]) -> bool:
    """Whether `some` is what is left of `every` after others were taken out."""
    following = iter(every)
    return all(one in following for one in some)
