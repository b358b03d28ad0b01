"""The training loop: batches, steps, held-out loss, the best weights, and checkpoints to resume from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chainkit.backends.huggingface.libraries import torch
from chainkit.base.copying import put
from chainkit.base.errors import ChainkitError, ModelFileError
from chainkit.tuning.batches import EncodedExample, shuffled
from chainkit.tuning.learners import Bare, Learner
from chainkit.tuning.settings import TuningSettings

STATE = "state.safetensors"


@dataclass(frozen=True)
class TrainingStep:
    """One report of progress.

    Attributes:
        number: Steps done.
        total: Steps at most.
        loss: Of the last batch, per token.
        held_out: The last loss on the held-out examples, per token; None before the first.
    """

    number: int
    total: int
    loss: float
    held_out: float | None


@dataclass
class History:
    """How a training went.

    Attributes:
        losses: Of each step, per token.
        held_out: (step, loss) after each epoch, and at step 0 before the first.
        best: The step whose numbers were kept.
        stopped: Whether it ended early.
    """

    losses: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    best: int = 0
    stopped: bool = False

    @property
    def best_loss(self) -> float:
        """The lowest held-out loss."""
        return min(loss for _, loss in self.held_out)


def train(
    learner: Learner,
    examples: Sequence[EncodedExample],
    held_out: Sequence[EncodedExample],
    settings: TuningSettings,
    *,
    checkpoint: Path | None,
    identity: Mapping[str, Any],
    report: Callable[[TrainingStep], object],
) -> History:
    """Train, and leave the learner with its best numbers.

    Args:
        learner: The trainable part.
        examples: To train on.
        held_out: To choose the best by.
        settings: How.
        checkpoint: The checkpoint folder: resumed from if it exists, and written to.
        identity: Settings that must match those of the checkpoint.
        report: Called after each step.

    Raises:
        ChainkitError: The loss became NaN or infinite, or the checkpoint is of another run.
    """
    return _Run(learner, examples, held_out, settings, checkpoint, identity, report).history()


def mean_loss(learner: Learner | Bare, examples: Sequence[EncodedExample], size: int) -> float:
    """Negative log-likelihood per token of the answers."""
    total, count = 0.0, 0
    ordered = sorted(examples, key=lambda example: example.length)
    with torch.inference_mode():
        for start in range(0, len(ordered), size):
            loss, tokens = learner.loss(ordered[start : start + size])
            total, count = total + float(loss), count + tokens
    return total / count


def hit_count(learner: Learner | Bare, examples: Sequence[EncodedExample], size: int) -> int:
    """How many answers the model gives token by token, the end included where it is learnt."""
    ordered = sorted(examples, key=lambda example: example.length)
    return sum(learner.hits(ordered[start : start + size]) for start in range(0, len(ordered), size))


class _Run:
    """One training; its state is all that a checkpoint holds."""

    def __init__(
        self,
        learner: Learner,
        examples: Sequence[EncodedExample],
        held_out: Sequence[EncodedExample],
        settings: TuningSettings,
        checkpoint: Path | None,
        identity: Mapping[str, Any],
        report: Callable[[TrainingStep], object],
    ) -> None:
        self._learner, self._examples, self._held_out, self._settings = learner, examples, held_out, settings
        self._checkpoint, self._identity, self._report = checkpoint, json.loads(json.dumps(identity)), report
        self._total = settings.epochs * math.ceil(len(examples) / settings.batch_size)
        self._rate = settings.learning_rate or learner.learning_rate
        self._optimizer = torch.optim.AdamW(learner.trained.values(), lr=self._rate, weight_decay=0.0, fused=True)
        self._history, self._epoch = History(), 0
        self._best = _copied(learner.trained)

    def history(self) -> History:
        """Train to the end."""
        if not self._resumed():
            self._measure()
        while self._epoch < self._settings.epochs and not self._history.stopped:
            for batch in shuffled(self._examples, self._settings.batch_size, self._settings.seed + self._epoch):
                self._step(batch)
            self._epoch += 1
            self._measure()
            self._save()
        _restore(self._learner.trained, self._best)
        return self._history

    def _step(self, batch: Sequence[EncodedExample]) -> None:
        done = len(self._history.losses)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * (1 - done / self._total)
        loss, count = self._learner.loss(batch)
        mean = loss / count
        value = float(mean.detach())
        if not math.isfinite(value):
            raise ChainkitError(
                f"the loss is {value} at step {done + 1}; use a smaller learning_rate than {self._rate}"
            )
        self._optimizer.zero_grad()
        mean.backward()
        self._optimizer.step()
        self._learner.hold()
        self._history.losses.append(value)
        held_out = self._history.held_out[-1][1] if self._history.held_out else None
        self._report(TrainingStep(done + 1, self._total, value, held_out))

    def _measure(self) -> None:
        """The held-out loss; the numbers are kept if it is the lowest, and the run ends if it was that long ago."""
        history, step = self._history, len(self._history.losses)
        loss = mean_loss(self._learner, self._held_out, self._settings.batch_size)
        if not history.held_out or loss < history.best_loss:
            history.best = step
            self._best = _copied(self._learner.trained)
        history.held_out.append((step, loss))
        patience = self._settings.patience
        waited = sum(1 for other, _ in history.held_out if other > history.best)
        history.stopped = patience is not None and waited >= patience

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        from safetensors.torch import save_file

        tensors = {f"now.{name}": value for name, value in _copied(self._learner.trained).items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": value for name, value in state.items()}
        kept = {"identity": self._identity, "history": asdict(self._history), "epoch": self._epoch}
        self._checkpoint.mkdir(parents=True, exist_ok=True)
        part = self._checkpoint / f"{STATE}.part"
        save_file({name: value.contiguous() for name, value in tensors.items()}, part, {"run": json.dumps(kept)})
        put(part, self._checkpoint / STATE)

    def _resumed(self) -> bool:
        """Take up the state of a stopped run, if there is one."""
        if self._checkpoint is None or not (self._checkpoint / STATE).is_file():
            return False
        from safetensors import SafetensorError, safe_open

        path = self._checkpoint / STATE
        try:
            with safe_open(path, "pt") as file:
                kept = json.loads(file.metadata()["run"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(path, "is not a checkpoint of a tuning; remove it to begin anew") from error
        if kept["identity"] != self._identity:
            differing = [key for key, value in kept["identity"].items() if self._identity.get(key) != value]
            raise ChainkitError(
                f"{path} is of a run with other settings ({', '.join(differing[:4])}); "
                "give resume=False to begin anew, or the same settings to go on"
            )
        self._take_up(kept, tensors)
        return True

    def _take_up(self, kept: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        history = kept["history"]
        self._history = History(**history | {"held_out": [(step, loss) for step, loss in history["held_out"]]})
        self._epoch = kept["epoch"]
        _restore(self._learner.trained, _under(tensors, "now."))
        self._best = _under(tensors, "best.")
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _under(tensors, "adam.").items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = value
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": state})


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _copied(numbers: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in numbers.items()}


def _restore(numbers: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, value in numbers.items():
            value.copy_(values[name])
