"""Continued training: all weights of a model, or a LoRA adapter, on text, by transformers' Trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from chainkit.backends.huggingface.libraries import torch, transformers
from chainkit.base.copying import require_new, whole
from chainkit.base.errors import BadExamples, MissingLibrary
from chainkit.tuning.examples import Given, read_texts
from chainkit.tuning.model import Base, TrainedModel, open_base
from chainkit.tuning.save import write_json
from chainkit.tuning.train import TrainingStep

try:
    import accelerate  # noqa: F401 - the Trainer needs it
    import peft
except ImportError as error:
    raise MissingLibrary(error.name or "peft", extra="tune") from error

_FEWEST_BLOCKS = 2
_RATES = {"full": 1e-4, "lora": 5e-4}


@dataclass(frozen=True)
class TrainedOn:
    """The result of continued training.

    Attributes:
        folder: The new model, or the adapter.
        loss_before: On the held-out text, per token.
        loss_after: The same afterwards.
        steps: That were done.
        parameters: Numbers that were trained.
        seconds: It took.
    """

    folder: Path
    loss_before: float
    loss_after: float
    steps: int
    parameters: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The result as values for JSON."""
        return asdict(self) | {"folder": str(self.folder)}

    def __str__(self) -> str:
        return (
            f"held-out loss   {self.loss_before:.4f} -> {self.loss_after:.4f} per token\n"
            f"training        {self.steps} steps of {self.parameters:,} parameters in {self.seconds:.1f} s\n"
            f"saved           {self.folder}"
        )


def train_on(
    model: TrainedModel,
    texts: Given,
    out: str | Path,
    *,
    method: Literal["lora", "full"] = "lora",
    column: str | None = None,
    epochs: float = 1.0,
    max_steps: int | None = None,
    learning_rate: float | None = None,
    batch_size: int = 8,
    block_tokens: int = 256,
    held_out: float = 0.05,
    rank: int = 8,
    seed: int = 0,
    progress: Callable[[TrainingStep], object] | None = None,
) -> TrainedOn:
    """Go on training a model on text, as an up-scaled one needs it.

    The texts are concatenated, with the model's end token between them, and cut into blocks.

    Args:
        model: A folder, a hub name, or (model, tokenizer); an object that is given here is changed by method "full".
        texts: A .txt file with blank lines between texts, a .csv or .jsonl file, a dataset, or texts.
        out: The folder to make: the whole model for "full", a PEFT adapter for "lora".
        method: Train all weights, or low-rank additions to every linear layer.
        column: Of a table, the one with the text.
        epochs: Times over the texts.
        max_steps: Steps, at most; None leaves it to `epochs`.
        learning_rate: Of the first steps; it falls to 0. None is 1e-4 for "full" and 5e-4 for "lora".
        batch_size: Blocks of one step.
        block_tokens: Length of a block.
        held_out: Share of the blocks that the loss is measured with.
        rank: Of the additions, for "lora".
        seed: The same seed gives the same order.
        progress: Called after each step.

    Raises:
        BadExamples: There is too little text.
        ModelFileError: There is no such model.
        ValueError: A setting is out of its range.
        ChainkitError: There is something at `out` already.
    """
    _check(method, epochs, max_steps, batch_size, block_tokens, held_out, rank)
    target = Path(out).expanduser()
    require_new(target)
    base = open_base(model, "float32")
    blocks = _blocks(base, read_texts(texts, column), block_tokens)
    apart = max(1, round(len(blocks) * held_out))
    held, kept = blocks[:: max(1, len(blocks) // apart)][:apart], _others(blocks, apart)
    began, before = time.perf_counter(), _loss(base.model, held, batch_size)
    trained = base.model if method == "full" else peft.get_peft_model(base.model, _lora(rank))
    trained.requires_grad_(True) if method == "full" else None
    with whole(target, _bytes(trained)) as part:
        settings = transformers.TrainingArguments(
            output_dir=str(part),
            num_train_epochs=epochs,
            max_steps=max_steps or -1,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate or _RATES[method],
            warmup_steps=max(1, min(20, len(kept) // batch_size // 10)),
            seed=seed,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=1,
            use_cpu=base.loaded.device.type == "cpu",
        )
        trainer = _Trainer(model=trained, args=settings, train_dataset=_Blocks(kept), data_collator=_stacked)
        trainer.add_callback(_Told(progress))
        with redirect_stdout(StringIO()):  # it prints every log
            steps = trainer.train().global_step
        result = TrainedOn(
            target, before, _loss(trained, held, batch_size), steps, _trainable(trained), time.perf_counter() - began
        )
        trained.save_pretrained(part)
        base.vocabulary.tokenizer.save_pretrained(part)
        write_json(part / "report.json", result.as_dict())
    base.model.eval()
    return result


class _Trainer(transformers.Trainer):
    """Writes no file that says with which settings it ran: they would hold paths of this machine."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Saving is done by the caller."""


class _Told(transformers.TrainerCallback):
    def __init__(self, progress: Callable[[TrainingStep], object] | None) -> None:
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """A step is done."""
        if self._progress is not None and logs and "loss" in logs:
            self._progress(TrainingStep(state.global_step, state.max_steps, float(logs["loss"]), None))


class _Blocks(torch.utils.data.Dataset):
    def __init__(self, blocks: Sequence[list[int]]) -> None:
        self._blocks = blocks

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, place: int) -> list[int]:
        return self._blocks[place]


def _stacked(blocks: Sequence[list[int]]) -> dict[str, torch.Tensor]:
    tokens = torch.tensor(blocks)
    return {"input_ids": tokens, "labels": tokens.clone()}


def _blocks(base: Base, texts: Sequence[str], length: int) -> list[list[int]]:
    """The texts as blocks of equal length; the remainder is dropped."""
    end = [base.vocabulary.eos] if base.vocabulary.eos >= 0 else []
    line: list[int] = []
    for text in texts:
        line += [*base.vocabulary.tokenize(text, special=True, whole=True), *end]
    blocks = [line[start : start + length] for start in range(0, len(line) - length + 1, length)]
    if len(blocks) < _FEWEST_BLOCKS:
        raise BadExamples(
            f"the texts have {len(line)} tokens and make {len(blocks)} blocks of {length}; give more text or smaller "
            "block_tokens"
        )
    return blocks


def _others(blocks: Sequence[list[int]], apart: int) -> list[list[int]]:
    taken = set(range(0, len(blocks), max(1, len(blocks) // apart)))
    taken = set(sorted(taken)[:apart])
    return [block for place, block in enumerate(blocks) if place not in taken]


def _loss(model: Any, blocks: Sequence[list[int]], size: int) -> float:
    total = 0.0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(blocks), size):
            chosen = blocks[start : start + size]
            tokens = torch.tensor(chosen, device=next(model.parameters()).device)
            total += float(model(input_ids=tokens, labels=tokens).loss) * len(chosen)
    return total / len(blocks)


def _lora(rank: int) -> Any:
    return peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear")


def _trainable(model: Any) -> int:
    return sum(values.numel() for values in model.parameters() if values.requires_grad)


def _bytes(model: Any) -> int:
    return sum(values.nbytes for values in model.parameters() if values.requires_grad) + 10_000_000


def _check(
    method: str, epochs: float, max_steps: int | None, batch_size: int, block_tokens: int, held_out: float, rank: int
) -> None:
    if method not in _RATES:
        raise ValueError(f"method must be lora or full, got {method!r}; soft prompts are trained by tune()")
    least = {"max_steps": max_steps, "batch_size": batch_size, "block_tokens": block_tokens, "rank": rank}
    for name, value in least.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    if not (epochs > 0 and math.isfinite(epochs)):
        raise ValueError(f"epochs must be above 0, got {epochs}")
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must be between 0 and 1, a share of the text, got {held_out}")
