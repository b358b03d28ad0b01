"""Trainable parts: the vectors of a soft prompt, before a frozen model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from chainkit.backends.huggingface.libraries import torch, transformers
from chainkit.base.errors import Unsupported
from chainkit.local.soft_prompt import Vectors
from chainkit.tuning.batches import IGNORED, EncodedExample, TrainingBatch, answer_logits, batch_of
from chainkit.tuning.model import Base
from chainkit.tuning.packed import packed
from chainkit.tuning.settings import TuningSettings

LEARNING_SHARE = 0.15
"""The learning rate as a share of the spread of the model's token vectors."""


class Learner(Protocol):
    """Numbers that are trained on top of a frozen model."""

    @property
    def trained(self) -> Mapping[str, torch.Tensor]:
        """The numbers by name."""
        ...

    @property
    def learning_rate(self) -> float:
        """The size of a step, unless the user says otherwise."""
        ...

    def loss(self, examples: Sequence[EncodedExample]) -> tuple[torch.Tensor, int]:
        """The sum of the negative log-likelihoods of the answers' tokens, and how many tokens those are."""
        ...

    def hits(self, examples: Sequence[EncodedExample]) -> int:
        """How many answers are, token by token, what the model finds likeliest."""
        ...

    def hold(self) -> None:
        """Keep the numbers within their bounds, after each step."""
        ...

    def write(self, prompt: Sequence[int], count: int) -> list[int]:
        """The model's greedy continuation of a prompt, at most `count` tokens."""
        ...


class Soft:
    """Vectors of virtual tokens, [v, D].

    Attributes:
        vectors: The trained numbers, float32.
    """

    def __init__(self, base: Base, settings: TuningSettings, start: torch.Tensor) -> None:
        self.base, self.settings = base, settings
        self.vectors = start.clone().float().requires_grad_()
        self._start = start.clone().float()
        table = base.vectors
        self.learning_rate = LEARNING_SHARE * float(table.std())
        self._reach = None if settings.reach is None else settings.reach * float(table.norm(dim=1).mean())
        self._packed = packed(base)

    @property
    def trained(self) -> Mapping[str, torch.Tensor]:
        """The vectors."""
        return {"prompt_embeddings": self.vectors}

    def loss(self, examples: Sequence[EncodedExample]) -> tuple[torch.Tensor, int]:
        """The sum of the negative log-likelihoods of the answers' tokens, and how many tokens those are."""
        if self._packed is not None and self._packed.reads(examples, len(self.vectors)):
            logits, answers = self._packed.answer_logits(examples, self.vectors)
            return torch.nn.functional.cross_entropy(logits, answers, reduction="sum"), len(answers)
        batch = batch_of(examples, len(self.vectors), self.base.loaded.device)
        return answer_loss(self.base, batch, self.vectors)

    def hits(self, examples: Sequence[EncodedExample]) -> int:
        """How many answers are, token by token, what the model finds likeliest."""
        return answer_hits(self.base, batch_of(examples, len(self.vectors), self.base.loaded.device), self.vectors)

    def hold(self) -> None:
        """Bring back vectors that have gone too far from where they began."""
        if self._reach is not None:
            with torch.no_grad():
                step = self.vectors - self._start
                far = (self._reach / step.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
                self.vectors.copy_(self._start + step * far)

    def write(self, prompt: Sequence[int], count: int) -> list[int]:
        """The model's greedy continuation of a prompt, at most `count` tokens."""
        return written(self.base, prompt, self.vectors.detach(), count)


class Bare:
    """The model alone, to compare with."""

    def __init__(self, base: Base) -> None:
        self.base = base

    def loss(self, examples: Sequence[EncodedExample]) -> tuple[torch.Tensor, int]:
        """The sum of the negative log-likelihoods of the answers' tokens, and how many tokens those are."""
        return answer_loss(self.base, batch_of(examples, 0, self.base.loaded.device), None)

    def hits(self, examples: Sequence[EncodedExample]) -> int:
        """How many answers are, token by token, what the model finds likeliest."""
        return answer_hits(self.base, batch_of(examples, 0, self.base.loaded.device), None)

    def write(self, prompt: Sequence[int], count: int) -> list[int]:
        """The model's greedy continuation of a prompt, at most `count` tokens."""
        return written(self.base, prompt, None, count)


def answer_loss(base: Base, batch: TrainingBatch, vectors: torch.Tensor | None) -> tuple[torch.Tensor, int]:
    """As `Learner.loss`."""
    logits = answer_logits(base, batch, vectors)
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.answers.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total, int((batch.answers != IGNORED).sum())


def answer_hits(base: Base, batch: TrainingBatch, vectors: torch.Tensor | None) -> int:
    """As `Learner.hits`."""
    with torch.inference_mode():
        return count_hits(answer_logits(base, batch, vectors), batch.answers)


def count_hits(logits: torch.Tensor, answers: torch.Tensor) -> int:
    """Of scores [B, A, V] and answers [B, A], how many answers are the likeliest throughout."""
    return int(((logits.argmax(-1) == answers) | (answers == IGNORED)).all(1).sum())


def written(base: Base, prompt: Sequence[int], vectors: torch.Tensor | None, count: int) -> list[int]:
    """Greedy continuation of a prompt, without the end token."""
    with torch.inference_mode():
        inputs = base.embed(torch.tensor([prompt], dtype=torch.long, device=base.loaded.device))
        if vectors is not None:
            inputs = torch.cat([vectors.to(inputs)[None], inputs], dim=1)
        loaded, tokens = base.loaded, list[int]()
        cache = transformers.DynamicCache(config=loaded.config)
        while len(tokens) < count:
            output = base.model(inputs_embeds=inputs, **loaded.cached(cache), **loaded.only_last(1))
            token = int(output.logits[0, -1].argmax())
            if base.vocabulary.is_end(token):
                break
            tokens.append(token)
            inputs = base.embed(torch.tensor([[token]], device=base.loaded.device))
        return tokens


def start_vectors(base: Base, settings: TuningSettings, first: str) -> torch.Tensor:
    """Where the vectors begin, [v, D].

    Args:
        base: The model.
        settings: `init` says how; "random" is PEFT's N(0, 1).
        first: The text of "text", unless the settings name another.

    Raises:
        Unsupported: The text has no tokens.
    """
    chosen = torch.Generator().manual_seed(settings.seed)
    count, table = settings.virtual_tokens, base.vectors
    if settings.init == "random":
        return torch.randn(count, base.width, generator=chosen)
    if settings.init == "sampled":
        return table[torch.randint(0, len(base.vocabulary.tokenizer), (count,), generator=chosen)].clone()
    tokens = base.vocabulary.tokenize(settings.init_text or first)
    if not tokens:
        raise Unsupported("init='text' needs a text that has tokens; give init_text='...' or init='sampled'")
    return table[(tokens * -(-count // len(tokens)))[:count]].clone()


def as_array(vectors: torch.Tensor) -> Vectors:
    """Trained vectors for files and sessions."""
    return vectors.detach().float().cpu().numpy()
