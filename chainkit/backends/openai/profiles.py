"""Profiles of OpenAI's models: context length, output limit and features. Data, no code.

From OpenAI's published descriptions, as of November 2026; a dated name (`gpt-4o-2024-11-20`) has the figures of the
name without its date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from langchain_core.language_models import ModelProfile


@dataclass(frozen=True)
class Known:
    """One model.

    Attributes:
        reads: The most tokens of a request.
        writes: The most tokens of an answer, thoughts included.
        efforts: The levels of `reasoning_effort`, if they are known.
        thinks: Whether it thinks before it answers.
        temperature: Whether it can be set.
        sees: Whether it takes images.
        hears: Whether it takes audio.
        tools: Whether it calls tools.
        forms: Whether it can be held to a JSON schema.
    """

    reads: int
    writes: int
    efforts: tuple[str, ...] = ()
    thinks: bool = False
    temperature: bool = True
    sees: bool = True
    hears: bool = False
    tools: bool = True
    forms: bool = True


def _thinker(reads: int, writes: int, efforts: str = "", *, temperature: bool = False, sees: bool = True) -> Known:
    return Known(reads, writes, tuple(efforts.split()), thinks=True, temperature=temperature, sees=sees)


_FIVE = "none low medium high xhigh"
_SIX = "none low medium high xhigh max"

MODELS: Mapping[str, Known] = {
    "gpt-3.5-turbo": Known(16_385, 4_096, sees=False, forms=False),
    "gpt-4": Known(8_192, 8_192, sees=False, forms=False),
    "gpt-4-turbo": Known(128_000, 4_096, forms=False),
    "gpt-4.1": Known(1_047_576, 32_768),
    "gpt-4.1-mini": Known(1_047_576, 32_768),
    "gpt-4.1-nano": Known(1_047_576, 32_768),
    "gpt-4o": Known(128_000, 16_384),
    "gpt-4o-mini": Known(128_000, 16_384),
    "gpt-5": _thinker(272_000, 128_000, "minimal low medium high"),
    "gpt-5-mini": _thinker(272_000, 128_000, "minimal low medium high"),
    "gpt-5-nano": _thinker(272_000, 128_000, "minimal low medium high"),
    "gpt-5.1": _thinker(272_000, 128_000, "none low medium high", temperature=True),
    "gpt-5.2": _thinker(272_000, 128_000, _FIVE, temperature=True),
    "gpt-5.4": _thinker(1_050_000, 128_000, _FIVE, temperature=True),
    "gpt-5.4-mini": _thinker(400_000, 128_000, _FIVE, temperature=True),
    "gpt-5.4-nano": _thinker(400_000, 128_000, _FIVE, temperature=True),
    "gpt-5.5": _thinker(1_050_000, 128_000, _FIVE),
    "gpt-5.6": _thinker(1_050_000, 128_000, _SIX),
    "gpt-6-astra": _thinker(1_050_000, 128_000, "low medium high xhigh max"),
    "gpt-6-luna": _thinker(1_050_000, 128_000, _SIX),
    "gpt-6-sol": _thinker(1_050_000, 128_000, _SIX),
    "o1": _thinker(200_000, 100_000, "low medium high"),
    "o3": _thinker(200_000, 100_000, "low medium high"),
    "o3-mini": _thinker(200_000, 100_000, "low medium high", sees=False),
    "o4-mini": _thinker(200_000, 100_000, "low medium high"),
}
"""The models that are known, by name."""

DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def known(name: str) -> Known | None:
    """The entry of a model: by its name, its name with a date, or that of the model it was tuned from.

    >>> known("gpt-4o-2024-11-20") == known("openai/gpt-4o") == known("ft:gpt-4o:org::id") == MODELS["gpt-4o"]
    True
    """
    name = name.removeprefix("openai/")
    if name.startswith("ft:"):
        name = name.split(":")[1]
    return MODELS.get(name) or MODELS.get(DATED.sub("", name))


def thinks(name: str) -> bool:
    """Whether a model is known to think before it answers."""
    found = known(name)
    return found is not None and found.thinks


def profile(name: str) -> ModelProfile | None:
    """What langchain-core calls the profile of a model; None if it is not known."""
    found = known(name)
    if found is None:
        return None
    profile = ModelProfile(
        name=name,
        max_input_tokens=found.reads,
        max_output_tokens=found.writes,
        text_inputs=True,
        text_outputs=True,
        image_inputs=found.sees,
        image_url_inputs=found.sees,
        pdf_inputs=found.sees,
        audio_inputs=found.hears,
        image_tool_message=found.sees,
        tool_calling=found.tools,
        tool_choice=found.tools,
        tool_call_streaming=found.tools,
        structured_output=found.forms,
        reasoning_output=found.thinks,
        temperature=found.temperature,
    )
    if found.efforts:
        profile["reasoning_effort_levels"] = list(found.efforts)
    return profile
