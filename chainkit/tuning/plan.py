"""The plan of a tuning: steps, memory and time, before it starts."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chainkit.base.notebook import html_table
from chainkit.tuning.batches import EncodedExample
from chainkit.tuning.learners import Learner
from chainkit.tuning.model import Base
from chainkit.tuning.save import saved_bytes
from chainkit.tuning.settings import TuningSettings


@dataclass(frozen=True, kw_only=True)
class TuningPlan:
    """A tuning before it is done.

    Attributes:
        model: The model to tune.
        method: "soft", or one of PEFT's.
        parameters: Numbers that are trained.
        frozen: Numbers that stay as they are.
        examples: Trained on.
        held_out: Measured with.
        tokens: Of all examples that are trained on, virtual ones not counted.
        steps: At most.
        learning_rate: Of the first step.
        seconds: What all steps would take, from the first one of them.
        memory_bytes: The largest this process has been, one step included; None where the system does not tell.
        saved_bytes: What the trained numbers take as a file.
    """

    model: str
    method: str
    parameters: int
    frozen: int
    examples: int
    held_out: int
    tokens: int
    steps: int
    learning_rate: float
    seconds: float
    memory_bytes: int | None
    saved_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The plan as values for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        return html_table("Tuning", self.as_dict())

    def __str__(self) -> str:
        memory = "" if self.memory_bytes is None else f", {self.memory_bytes / 1e9:.2f} GB of memory"
        return "\n".join([
            f"tune {self.model} ({self.frozen:,} parameters, all frozen) by {self.method}",
            f"  train {self.parameters:,} parameters, {self.saved_bytes:,} bytes when saved",
            f"  on {self.examples} examples ({self.tokens:,} tokens), measured with {self.held_out} others",
            f"  at most {self.steps} steps, learning rate {self.learning_rate:.3g}",
            f"  about {_duration(self.seconds)} at most{memory}",
        ])  # fmt: skip


def make_plan(
    base: Base,
    learner: Learner,
    examples: Sequence[EncodedExample],
    held_out: Sequence[EncodedExample],
    settings: TuningSettings,
) -> TuningPlan:
    """Numbers for a tuning; one step is computed for them, and nothing is changed by it."""
    steps = settings.epochs * math.ceil(len(examples) / settings.batch_size)
    trained = sum(values.numel() for values in learner.trained.values())
    return TuningPlan(
        model=base.name,
        method=settings.method,
        parameters=trained,
        frozen=sum(weights.numel() for weights in base.model.parameters()),
        examples=len(examples),
        held_out=len(held_out),
        tokens=sum(example.length for example in examples),
        steps=steps,
        learning_rate=settings.learning_rate or learner.learning_rate,
        seconds=steps * _step_seconds(learner, examples, settings.batch_size),
        memory_bytes=_peak_bytes(),
        # what P-tuning trains beside its vectors is not needed afterwards
        saved_bytes=saved_bytes(settings.virtual_tokens, base.width if settings.method != "prefix" else trained),
    )


def _step_seconds(learner: Learner, examples: Sequence[EncodedExample], size: int) -> float:
    """The time of a step of examples of middle length; the second of two, as the first one warms up."""
    ordered = sorted(examples, key=lambda example: example.length)
    start = max(0, len(ordered) // 2 - size // 2)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        learner.loss(ordered[start : start + size])[0].backward()
        seconds = time.perf_counter() - began
    for values in learner.trained.values():
        values.grad = None
    return seconds


def _peak_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _duration(seconds: float) -> str:
    """Time as people say it.

    >>> _duration(4.2), _duration(300), _duration(9000)
    ('5 seconds', '5 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{math.ceil(seconds)} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
