"""From examples to a soft prompt: plan, train, compare, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chainkit.base.copying import require_new, whole
from chainkit.local.soft_prompt import SoftPrompt, load_soft_prompt
from chainkit.tuning.batches import EncodedExample, encode
from chainkit.tuning.examples import Example, Given, held_out_apart, read_examples
from chainkit.tuning.learners import Bare, Learner, Soft, start_vectors
from chainkit.tuning.model import Base, TrainedModel, open_base
from chainkit.tuning.plan import TuningPlan, make_plan
from chainkit.tuning.report import Sample, TuningReport
from chainkit.tuning.save import save_fingerprint, save_prompt, write_json
from chainkit.tuning.settings import SOURCE_SETTINGS, TuningSettings
from chainkit.tuning.train import History, TrainingStep, hit_count, mean_loss, train

_SAMPLES, _SHOWN_TOKENS = 3, 100
_ROOM = 200_000  # bytes for the texts beside the trained numbers


@dataclass(frozen=True)
class Tuned:
    """The result of a tuning.

    Attributes:
        report: Before and after.
        folder: Where it was saved; None if it was not, as when it is not better than the base model.
        soft_prompt: For `soft_prompt=` of a model; None if nothing was saved or the method makes no soft prompt.
    """

    report: TuningReport
    folder: Path | None
    soft_prompt: SoftPrompt | None

    @property
    def kept(self) -> bool:
        """Whether it was saved."""
        return self.folder is not None


def tune(
    model: TrainedModel,
    examples: Given,
    out: str | Path | None = None,
    *,
    source_recipe: bool = False,
    held_out_examples: Given | None = None,
    prompt: str | None = None,
    answer: str | None = None,
    keep_worse: bool = False,
    resume: bool = True,
    dtype: str = "auto",
    show_plan: Callable[[TuningPlan], object] | None = print,
    progress: Callable[[TrainingStep], object] | None = None,
    **settings: Any,
) -> Tuned:
    """Train a soft prompt: some vectors that, put before a text, make a frozen model do a task.

    Args:
        model: A folder or hub name, a .gguf file (its own quantised weights, through transformers), a chainkit model
            "hf:...", or (model, tokenizer) of transformers. Its weights stay as they are.
        examples: A .csv, .tsv or .jsonl file, a dataset, or pairs (prompt, answer).
        out: The folder to make. Without it nothing is written, and a stopped run cannot go on.
        source_recipe: Begin with the settings of PEFT's walk-through (`SOURCE_SETTINGS`), which seldom work.
        held_out_examples: To measure with; by default a share of the examples is taken for it.
        prompt: The column of prompts; found by default.
        answer: The column of answers; found by default.
        keep_worse: Save the result even if it is not better than the base model.
        resume: Go on where a stopped run with the same settings has ended.
        dtype: "float32", "bfloat16" or "auto", for a model that is loaded here.
        show_plan: Gets the plan before the training begins.
        progress: Called after each step.
        settings: Those of `Settings`: virtual_tokens, init, epochs, chat, ...

    Raises:
        BadExamples: The examples are not pairs of texts, or too few, or too long.
        ModelFileError: There is no such model, or it is damaged.
        MissingLibrary: The extra `tune` is not installed.
        ValueError: A setting is out of its range.
        ChainkitError: There is something at `out` already, or the loss became NaN or infinite.
    """
    chosen = TuningSettings(**(dict(SOURCE_SETTINGS) if source_recipe else {}) | settings)
    folder = None if out is None else Path(out).expanduser()
    if folder is not None:
        require_new(folder)
    pairs = read_examples(examples, prompt, answer)
    others = None if held_out_examples is None else read_examples(held_out_examples, prompt, answer)
    base = open_base(model, dtype)
    with base.frozen():
        work = _Work(base, pairs, others, chosen, folder, resume)
        return work.done(keep_worse, show_plan, progress)


class _Work:
    """One tuning, its parts in order."""

    def __init__(
        self,
        base: Base,
        pairs: Sequence[Example],
        others: Sequence[Example] | None,
        settings: TuningSettings,
        folder: Path | None,
        resume: bool,
    ) -> None:
        self.base, self.settings, self.folder = base, settings, folder
        apart = held_out_apart(pairs, settings.held_out, settings.seed) if others is None else (pairs, others)
        self.training, self.held = apart
        self.encoded = encode(base, self.training, settings), encode(base, self.held, settings)
        first = self.training[0]
        self.learner = _learner(base, settings, f"{first.prompt} {first.answer}")
        self.checkpoint = None if folder is None else folder.with_name(folder.name + ".checkpoint")
        if self.checkpoint is not None and not resume:
            remove_checkpoint(self.checkpoint)

    def done(
        self,
        keep_worse: bool,
        show_plan: Callable[[TuningPlan], object] | None,
        progress: Callable[[TrainingStep], object] | None,
    ) -> Tuned:
        """Plan, train, compare, and save the result if it is better."""
        train_on, held = self.encoded
        plan = make_plan(self.base, self.learner, train_on, held, self.settings)
        if show_plan is not None:
            show_plan(plan)
        began = time.perf_counter()
        history = train(
            self.learner,
            train_on,
            held,
            self.settings,
            checkpoint=self.checkpoint,
            identity=self._identity(),
            report=progress or _silent,
        )
        report = self._report(plan, history, time.perf_counter() - began)
        folder = self._saved(report) if self.folder is not None and (report.better or keep_worse) else None
        if self.checkpoint is not None:
            remove_checkpoint(self.checkpoint)
        if folder is None:
            return Tuned(report, None, None)
        nbytes = sum(file.stat().st_size for file in folder.iterdir())
        soft = load_soft_prompt(folder) if self.settings.method != "prefix" else None
        return Tuned(replace(report, nbytes=nbytes), folder, soft)

    def _identity(self) -> Mapping[str, Any]:
        return self.settings.as_dict() | {
            "model": self.base.name,
            "examples": [len(part) for part in self.encoded],
            "tokens": [sum(hash(example) % (1 << 61) for example in part) for part in self.encoded],
        }

    def _report(self, plan: TuningPlan, history: History, seconds: float) -> TuningReport:
        bare, held, size = Bare(self.base), self.encoded[1], self.settings.batch_size
        shown = [
            Sample(example.prompt, example.answer, self._answer(bare, one), self._answer(self.learner, one))
            for example, one in list(zip(self.held, held, strict=True))[:_SAMPLES]
        ]
        return TuningReport(
            plan=plan,
            loss_before=mean_loss(bare, held, size),
            loss_after=history.best_loss,
            exact_before=hit_count(bare, held, size),
            exact_after=hit_count(self.learner, held, size),
            asked=len(held),
            samples=shown,
            steps=len(history.losses),
            best_step=history.best,
            stopped_early=history.stopped,
            seconds=seconds,
            nbytes=0,
            history=history,
        )

    def _answer(self, learner: Learner | Bare, example: EncodedExample) -> str:
        room = min(math.ceil(len(example.answer) * 1.5) + 8, _SHOWN_TOKENS)
        return self.base.vocabulary.detokenize(learner.write(example.prompt, room))

    def _saved(self, report: TuningReport) -> Path:
        assert self.folder is not None
        with whole(self.folder, report.plan.saved_bytes + _ROOM) as part:
            part.mkdir()
            if isinstance(self.learner, Soft):
                save_prompt(part, self.base, self.learner.vectors)
            else:
                self.learner.save(part)  # type: ignore[attr-defined] # one of PEFT's
                save_fingerprint(part, self.base)
            brief = {key: value for key, value in report.as_dict().items() if key != "history"}
            write_json(part / "report.json", brief | {"settings": self.settings.as_dict()})
            (part / "report.txt").write_text(f"{report.plan}\n\n{report}\n", "utf-8")
            (part / "report.html").write_text(report.page(), "utf-8")
        return self.folder


def remove_checkpoint(folder: Path) -> None:
    """Forget a stopped run; other files in its folder stay."""
    if folder.is_dir():
        for file in folder.glob("state.safetensors*"):
            file.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _learner(base: Base, settings: TuningSettings, first: str) -> Any:
    if settings.method == "soft":
        return Soft(base, settings, start_vectors(base, settings, first))
    from chainkit.tuning.by_peft import ByPeft

    return ByPeft(base, settings, first)


def _silent(_step: TrainingStep) -> None:
    """Nobody asked."""
