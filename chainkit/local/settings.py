"""How text is written: the settings of a model that can also be given for one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from chainkit.base.errors import Unsupported, nearest
from chainkit.base.sampling import Sampling
from chainkit.local.soft_prompt import SoftPrompt, as_soft_prompt

if TYPE_CHECKING:
    from chainkit.decoding.constraints import Constraint

_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "max_tokens", "stop")
_AT_CALL = (*_SAMPLING, "logprobs", "soft_prompt")


class Call(NamedTuple):
    """One call of a model, in full.

    Attributes:
        sampling: How tokens are chosen.
        logprobs: Give log-probabilities, with so many rivals of each token.
        constraint: What may be written.
        soft_prompts: What stands before the text; several are for the prompts of one batch, in order.
    """

    sampling: Sampling
    logprobs: int | None = None
    constraint: Constraint | None = None
    soft_prompts: tuple[SoftPrompt | None, ...] = (None,)

    def soft_prompts_of(self, count: int) -> Sequence[SoftPrompt | None]:
        """One for each of so many prompts.

        Raises:
            ValueError: There are several, and not as many.
        """
        if len(self.soft_prompts) == 1:
            return self.soft_prompts * count
        if len(self.soft_prompts) != count:
            raise ValueError(
                f"soft_prompt names {len(self.soft_prompts)} for {count} prompts; give one, or one for each"
            )
        return self.soft_prompts


class CallSettings(BaseModel):
    """How text is written; each of these can be given for one call as well.

    Attributes:
        temperature: 0 always takes the likeliest token.
        top_k: Only the k likeliest tokens are candidates; 0 means all.
        top_p: Only the smallest set of tokens with this total probability are candidates.
        min_p: Only tokens at least this share as likely as the likeliest are candidates.
        repeat_penalty: Above 1, tokens of the last 256 become less likely.
        seed: The same seed gives the same text; None draws a fresh one.
        max_tokens: None goes on until the model ends or the context is full.
        stop: Stop at the first of these texts, as well as at those of a call; it is not part of the answer.
        logprobs: Give the log-probability of each token, with so many of its likeliest rivals.
        soft_prompt: Folder of a soft prompt that stands before the text (`chainkit.tune`), or a `SoftPrompt`. For
            one call of a batch also a list: one for each prompt, or None.
    """

    model_config = ConfigDict(extra="forbid")

    temperature: float = Field(default=0.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repeat_penalty: float = Field(default=1.0, gt=0)
    seed: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=512, ge=1)
    stop: list[str] | None = None
    logprobs: int | None = Field(default=None, ge=0, le=100)
    soft_prompt: Any = None

    @field_validator("seed", "max_tokens", "logprobs", "soft_prompt", mode="before")
    @classmethod
    def _none_as_text(cls, value: Any) -> Any:
        return none_from_text(value)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _no_empty_stop(cls, value: list[str] | None) -> list[str] | None:
        if value and not all(value):
            raise ValueError("an empty stop text would stop everything")
        return value

    @field_validator("logprobs", mode="before")
    @classmethod
    def _logprobs_yes_or_no(cls, value: Any) -> Any:
        return {True: 0, False: None}.get(value, value) if isinstance(value, bool) else value

    def call(self, stop: Sequence[str] | None, changes: Mapping[str, Any]) -> Call:
        """The settings of one call.

        Raises:
            TypeError: A setting is unknown, or belongs to the constructor.
            Unsupported: Tools are given to a model that continues text.
        """
        changes = dict(changes)
        constraint = changes.pop("constraint", None)
        _refuse_unknown(changes, type(self).model_fields)
        called = CallSettings(**{name: getattr(self, name) for name in _AT_CALL} | changes)
        stops = [*(self.stop or ()), *(called.stop or ()), *(stop or ())]
        values = {name: getattr(called, name) for name in _SAMPLING if name != "stop"}
        given = called.soft_prompt if isinstance(called.soft_prompt, list | tuple) else [called.soft_prompt]
        soft = tuple(map(as_soft_prompt, given))
        return Call(Sampling(**values, stop=tuple(dict.fromkeys(stops))), called.logprobs, constraint, soft)

    @property
    def own_soft_prompt(self) -> SoftPrompt | None:
        """What stands before every text, unless a call says otherwise.

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
