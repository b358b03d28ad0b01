"""Examples as tensors: padding, then the soft prompt, then the text, so that all answers end at the same place."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from chainkit.backends.huggingface.libraries import torch
from chainkit.base.errors import BadExamples
from chainkit.tuning.examples import Example
from chainkit.tuning.model import Base
from chainkit.tuning.settings import TuningSettings

IGNORED = -100
_WINDOW = 4  # batches; more save little padding, and batches of like examples learn a little worse


@dataclass(frozen=True)
class EncodedExample:
    """An example as tokens."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of both."""
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class TrainingBatch:
    """Examples side by side.

    Attributes:
        tokens: [B, T]; 0 where there is padding or a virtual token.
        mask: [B, T], 0 for padding; None if there is none.
        soft: For each example the places of the virtual tokens, [B, v].
        answers: The tokens of the answers, [B, A]; `IGNORED` before shorter ones.
    """

    tokens: torch.Tensor
    mask: torch.Tensor | None
    soft: torch.Tensor
    answers: torch.Tensor


def encode(base: Base, examples: Sequence[Example], settings: TuningSettings) -> list[EncodedExample]:
    """The tokens of all examples.

    Raises:
        BadExamples: One is longer than the model can read.
    """
    found: list[EncodedExample] = []
    room = base.loaded.context_length - settings.virtual_tokens
    for number, example in enumerate(examples, 1):
        prompt, answer = base.encoded(example, chat=settings.chat, ends=settings.answer_ends)
        if len(prompt) + len(answer) > room:
            raise BadExamples(
                f"example {number} ({example.prompt[:40]!r}) has {len(prompt) + len(answer)} tokens, and beside "
                f"{settings.virtual_tokens} virtual ones the model reads {room}; shorten it or leave it out"
            )
        if not prompt and not settings.virtual_tokens:
            raise BadExamples(f"example {number} has an empty prompt, and this model has no first token")
        found.append(EncodedExample(tuple(prompt), tuple(answer)))
    return found


def batch_of(examples: Sequence[EncodedExample], virtual: int, device: torch.device | str = "cpu") -> TrainingBatch:
    """One batch.

    Args:
        examples: B of them.
        virtual: v, the number of virtual tokens; 0 for the base model alone.
        device: Where the tensors go.
    """
    width = virtual + max(example.length for example in examples)
    longest = max(len(example.answer) for example in examples)
    tokens = torch.zeros(len(examples), width, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    answers = torch.full((len(examples), longest), IGNORED)
    soft = torch.zeros(len(examples), virtual, dtype=torch.long)
    for row, example in enumerate(examples):
        start = width - example.length
        tokens[row, start:] = torch.tensor([*example.prompt, *example.answer])
        mask[row, start - virtual :] = 1
        soft[row] = torch.arange(start - virtual, start)
        answers[row, longest - len(example.answer) :] = torch.tensor(example.answer)
    padded = bool((mask == 0).any())
    return TrainingBatch(tokens.to(device), mask.to(device) if padded else None, soft.to(device), answers.to(device))


def shuffled(examples: Sequence[EncodedExample], size: int, seed: int) -> list[list[EncodedExample]]:
    """The examples of one epoch in batches, neighbours sorted by length so that there is little padding."""
    chosen, order = random.Random(seed), list(examples)  # noqa: S311 - no secret
    chosen.shuffle(order)
    batches: list[list[EncodedExample]] = []
    for start in range(0, len(order), size * _WINDOW):
        window = sorted(order[start : start + size * _WINDOW], key=lambda example: example.length)
        batches += [window[place : place + size] for place in range(0, len(window), size)]
    chosen.shuffle(batches)
    return batches


def answer_logits(base: Base, batch: TrainingBatch, vectors: torch.Tensor | None) -> torch.Tensor:
    """Scores where an answer is, and nowhere else, by the model's own pass, [B, A, V]."""
    with torch.no_grad():
        inputs = base.embed(batch.tokens)
    if vectors is not None:
        rows = torch.arange(len(batch.tokens), device=inputs.device)[:, None]
        inputs = inputs.index_put((rows, batch.soft), vectors.to(inputs.dtype).expand(len(inputs), -1, -1))
    return base.logits(inputs, batch.mask, batch.answers.shape[1]).float()
