"""Settings of a tuning, validated on creation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Init = Literal["text", "sampled", "random"]
Method = Literal["soft", "p-tuning", "prefix", "cpt"]

SOURCE_SETTINGS: Mapping[str, Any] = {
    "virtual_tokens": 4,
    "init": "random",
    "learning_rate": 0.005,
    "epochs": 5,
    "batch_size": 8,
    "reach": None,
    "patience": None,
}
"""The recipe of PEFT's walk-through, which ends worse than the base model (docs/tuning.md, "Why the source fails")."""


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """How a soft prompt is trained.

    Attributes:
        virtual_tokens: How many vectors are trained.
        init: Where they begin: at those of `init_text`, at those of tokens drawn from the model's vocabulary, or at
            random numbers of spread 1 as in PEFT, far outside of the model's own.
        init_text: By default the first example; repeated or cut to the number of virtual tokens.
        learning_rate: None is a share of the spread of the model's token vectors.
        epochs: Passes over the examples, at most.
        batch_size: Examples of one step.
        reach: How far a vector may move from where it began, as a multiple of the length of the model's token
            vectors; None does not hold it. It makes the learning rate nearly irrelevant.
        patience: End after this many epochs without a better held-out loss; None never ends early.
        held_out: The share of the examples that is not trained on.
        seed: The same seed gives the same soft prompt.
        method: "soft", or one of PEFT's: "p-tuning", "prefix", "cpt".
        chat: Format prompts with the model's chat template.
        answer_ends: Train the model's end token after each answer.
    """

    virtual_tokens: int = 4
    init: Init = "text"
    init_text: str | None = None
    learning_rate: float | None = None
    epochs: int = 10
    batch_size: int = 8
    reach: float | None = 2.0
    patience: int | None = 3
    held_out: float = 0.1
    seed: int = 0
    method: Method = "soft"
    chat: bool = False
    answer_ends: bool = True

    def __post_init__(self) -> None:
        self._whole("virtual_tokens", 1, 1000)
        self._whole("epochs", 1, 100_000)
        self._whole("batch_size", 1, 4096)
        self._whole("seed", 0, 1 << 32)
        self._word("init", get_args(Init))
        self._word("method", get_args(Method))
        if self.patience is not None:
            self._whole("patience", 1, 100_000)
        for name in ("learning_rate", "reach"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out must be between 0 and 1, a share of the examples, got {self.held_out}")
        if self.init_text is not None and (self.init != "text" or not self.init_text.strip()):
            raise ValueError("init_text must hold text, and only goes with init='text'")

    def as_dict(self) -> dict[str, Any]:
        """All of them, for JSON."""
        return asdict(self)

    def _whole(self, name: str, least: int, most: int) -> None:
        value = getattr(self, name)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}")

    def _word(self, name: str, known: tuple[str, ...]) -> None:
        if getattr(self, name) not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
