"""How text is written: the settings of a model that can also be given for one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from chainkit.base.errors import Unsupported, nearest
from chainkit.base.generation import RANGED, GenerationRequest, in_range
from chainkit.local.soft_prompt import SoftPrompt, as_soft_prompt

_AT_CALL = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "seed",
    "max_tokens",
    "stop",
    "stop_repetition",
    "logprobs",
    "soft_prompt",
    "timeout",
)


class CallSettings(BaseModel):
    """How text is written; each of these can be given for one call as well.

    Attributes:
        temperature: 0 always takes the likeliest token.
        top_k: Only the k likeliest tokens are candidates; 0 means all.
        top_p: Only the smallest set of tokens with this total probability are candidates.
        min_p: Only tokens at least this share as likely as the likeliest are candidates.
        repeat_penalty: Above 1, tokens of the last 256 become less likely.
        seed: The same seed gives the same text; None draws a fresh one.
        max_tokens: None generates until the model ends or the context is full.
        stop: Stop at the first of these texts, as well as at those of a call; it is not part of the answer.
        stop_repetition: Stop when the text repeats itself; the finish reason is then "repetition".
        logprobs: Return the log-probability of each token, with this many of its likeliest alternatives.
        soft_prompt: Folder of a soft prompt to put before the text (`chainkit.tune`), or a `SoftPrompt`. For
            one call of a batch also a list: one for each prompt, or None.
        timeout: Longest time in seconds for one text; one that is not complete then is a `TimedOut` error.
        max_retries: Taken so that a spec of a hosted model can become one of a local model; nothing is repeated here.
    """

    model_config = ConfigDict(extra="forbid")

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 512
    stop: list[str] | None = None
    stop_repetition: bool = True
    logprobs: int | None = None
    soft_prompt: Any = None
    timeout: float | None = None
    max_retries: int | None = None

    @field_validator("seed", "max_tokens", "logprobs", "soft_prompt", "stop", "timeout", "max_retries", mode="before")
    @classmethod
    def _as_given(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name == "stop":
            return [value] if isinstance(value, str) else value
        if info.field_name == "logprobs" and isinstance(value, bool):
            return 0 if value else None
        return none_from_text(value)

    @field_validator(*RANGED)
    @classmethod
    def _in_range(cls, value: Any, info: ValidationInfo) -> Any:
        return in_range(info.field_name or "", value)

    def call(self, stop: Sequence[str] | None, changes: Mapping[str, Any]) -> GenerationRequest:
        """The generation request of one call.

        Args:
            stop: Texts to stop at, as well as those of the model.
            changes: Settings of this call; `constraint` is one of them.

        Raises:
            TypeError: A setting is unknown, or belongs to the constructor.
            Unsupported: Tools are given to a model that continues text.
        """
        changes = dict(changes)
        constraint = changes.pop("constraint", None)
        values: dict[str, Any] = {name: getattr(self, name) for name in _AT_CALL}
        if changes:
            _refuse_unknown(changes, type(self).model_fields)
            called = CallSettings(**changes)
            values |= {name: getattr(called, name) for name in changes}
        stops = dict.fromkeys([*(self.stop or ()), *(values.pop("stop") or ()), *(stop or ())])
        soft = as_soft_prompt(values.pop("soft_prompt"))
        return GenerationRequest(**values, stop=tuple(stops), constraint=constraint, soft_prompt=soft)

    def calls(self, stop: Sequence[str] | None, changes: Mapping[str, Any], count: int) -> list[GenerationRequest]:
        """As `call`, for each prompt of a batch.

        Raises:
            ValueError: `soft_prompt` is a list for another number of prompts.
        """
        given = changes.get("soft_prompt")
        if not isinstance(given, list | tuple):
            return [self.call(stop, changes)] * count
        if len(given) != count:
            raise ValueError(f"soft_prompt names {len(given)} for {count} prompts; give one, or one for each")
        request = self.call(stop, {**changes, "soft_prompt": None})
        return [replace(request, soft_prompt=as_soft_prompt(one)) for one in given]

    @property
    def own_soft_prompt(self) -> SoftPrompt | None:
        """The soft prompt before every text, unless a call names another.

        Raises:
            ModelFileError: The folder holds no soft prompt.
        """
        return as_soft_prompt(self.soft_prompt)


def none_from_text(value: Any) -> Any:
    """In a spec all options are text, "none" too."""
    return None if isinstance(value, str) and value.strip().lower() == "none" else value


def _refuse_unknown(changes: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    for name in changes:
        if name in _AT_CALL:
            continue
        if name in fields:
            raise TypeError(f"'{name}' belongs to the model and cannot change for one call; make a second model")
        if name in ("tools", "tool_choice", "parallel_tool_calls"):
            raise Unsupported("a model that continues text calls no tools; a chat model does, see bind_tools")
        if name in ("response_format", "functions"):
            raise Unsupported(f"no setting {name!r}; use a chat model's bind_tools or with_structured_output")
        hint = nearest(name, _AT_CALL)
        advice = f"did you mean '{hint}'?" if hint else f"settings of a call: {', '.join(_AT_CALL)}, constraint"
        raise TypeError(f"no setting '{name}'; {advice}")
