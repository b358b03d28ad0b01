"""`chainkit tune`: soft prompts for a frozen model, LoRA, and continued training."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.options import chosen, debug_option, json_option
from chainkit.cli.screen import note, say, say_json, waiting

_ON_TEXT = ("lora", "full")


class Bars(ExitStack):
    """A bar while the model is loaded, the plan, and a bar while it is trained."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._bar = self.enter_context(waiting("loading"))
        return self

    def next(self, text: str | None) -> None:
        """Write a text where no bar is in its way, and begin the second bar."""
        self.close()
        if text is not None:
            say(text)
        self._bar = self.enter_context(waiting("training"))

    def to(self, done: int, total: int, doing: str) -> None:
        """Report progress: `done` of `total` steps."""
        self._bar.to(done, total, doing)


class Tune(click.Group):
    """`tune MODEL DATA`, and `tune bake` for the result."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Everything but the name of a command is for `train`."""
        if not args or args[0] not in self.commands:
            args = ["train", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Tune)
def tune() -> None:
    """Train a soft prompt, or go on training a model."""


@tune.command(
    epilog="'chainkit tune bake --help' explains how a soft prompt becomes a part of a GGUF file. The word train may "
    "be left out.",
    short_help="Train.",
)
@click.argument("model")
@click.argument("data")
@click.option("-o", "--output", "out", required=True, metavar="FOLDER", help="The folder to make.")
@click.option(
    "--method",
    type=click.Choice(["soft", "p-tuning", "prefix", "cpt", *_ON_TEXT]),
    default="soft",
    show_default=True,
    help="soft: virtual tokens; lora, full: go on training on text.",
)
@click.option("--virtual-tokens", type=click.IntRange(1, 1000), metavar="N", help="How many; by default 4.")
@click.option("--init", type=click.Choice(["text", "sampled", "random"]), help="Where they begin; by default text.")
@click.option("--init-text", metavar="TEXT", help="The text; by default the first example.")
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Times over the examples, at most.")
@click.option("--max-steps", type=click.IntRange(min=1), metavar="N", help="For lora and full: steps at most.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Examples of one step; by default 8.")
@click.option("--learning-rate", type=float, metavar="X", help="By default in proportion to the model's vectors.")
@click.option("--patience", type=click.IntRange(min=1), metavar="N", help="Epochs without a better held-out loss.")
@click.option("--held-out", type=float, metavar="SHARE", help="Of the examples, to measure with; by default 0.1.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="By default 0.")
@click.option("--chat", is_flag=True, default=None, help="Prompts are messages for the model's chat template.")
@click.option("--prompt-column", metavar="NAME", help="Column of the prompts; found by usual names.")
@click.option("--answer-column", metavar="NAME", help="Column of the answers; for lora and full: the text.")
@click.option("--source-recipe", is_flag=True, help="The settings of PEFT's walk-through, which seldom work.")
@click.option("--keep-worse", is_flag=True, help="Save the result even if it is no better than the model alone.")
@click.option("--no-resume", is_flag=True, help="Begin anew where a stopped run has left its state.")
@json_option
@debug_option
def train(
    model: str,
    data: str,
    out: str,
    method: str,
    max_steps: int | None,
    prompt_column: str | None,
    answer_column: str | None,
    source_recipe: bool,
    keep_worse: bool,
    no_resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Teach MODEL (a folder, a hub name or a .gguf file) the task that the examples in DATA show.

    DATA is a .csv, .tsv or .jsonl file with prompts and answers; for lora and full a .txt file will do. A plan is shown
    first, then a bar with the loss, then the scores on held-out examples, before and after. Use the result as
    hf:MODEL?soft_prompt=FOLDER. To resume an interrupted run, give the same command again.
    """
    given = chosen(**settings)
    if method in _ON_TEXT:
        _train_on(model, data, out, method, chosen(max_steps=max_steps, column=answer_column) | given, as_json)
        return
    if max_steps is not None:
        raise click.UsageError("--max-steps goes with --method lora and full; give --epochs")
    from chainkit.tuning.work import tune as run

    bars = Bars()
    with bars:
        tuned = run(
            model,
            data,
            out,
            method=method,
            prompt=prompt_column,
            answer=answer_column,
            source_recipe=source_recipe,
            keep_worse=keep_worse,
            resume=not no_resume,
            show_plan=lambda plan: bars.next(None if as_json else str(plan)),
            progress=lambda step: bars.to(step.number, step.total, f"loss {step.loss:.3f}{_held(step.held_out)}"),
            **given,
        )
    if as_json:
        say_json(tuned.report.as_dict() | {"folder": None if tuned.folder is None else str(tuned.folder)})
    else:
        say(f"\n{tuned.report}")
    if not tuned.kept:
        raise ChainkitError("nothing was saved: the held-out loss is no lower than that of the model alone; more "
                            "examples or --virtual-tokens may help, --keep-worse saves it all the same")  # fmt: skip
    note(f"wrote {out}; its report.html has the curve of the loss")


@tune.command()
@click.argument("model")
@click.argument("out")
@click.argument("prompts", nargs=-1, required=True, metavar="NAME=FOLDER...")
@click.option("--always", metavar="NAME", help="The one that the copy's chat template puts before every chat.")
@json_option
@debug_option
def bake(model: str, out: str, prompts: tuple[str, ...], always: str | None, as_json: bool) -> None:
    """Write a copy OUT of a GGUF file MODEL that holds soft prompts as tokens, so that any front end can use them."""
    pairs = dict(_pair(text) for text in prompts)
    from chainkit.tuning.baking import bake as make

    with waiting("copying"):
        baked = make(model, pairs, out, always=always)
    if as_json:
        say_json({"path": str(baked.path), "prompts": dict(baked.prompts), "grown_bytes": baked.grown_bytes})
        return
    for name, text in baked.prompts.items():
        say(f"{name}: {text}")
    how = "put the text of a soft prompt before yours" if always is None else f"every chat begins with {always}"
    note(f"wrote {out}, {baked.grown_bytes:,} bytes more; {how}")


def _train_on(model: str, data: str, out: str, method: Any, settings: dict[str, Any], as_json: bool) -> None:
    known = {"max_steps", "column", "epochs", "batch_size", "learning_rate", "held_out", "seed"}
    if extra := sorted(set(settings) - known):
        raise click.UsageError(f"--{extra[0].replace('_', '-')} does not go with --method {method}")
    from chainkit.tuning.continued import train_on

    with waiting("training") as bar:
        result = train_on(
            model,
            data,
            out,
            method=method,
            progress=lambda step: bar.to(step.number, step.total, f"loss {step.loss:.3f}"),
            **settings,
        )
    if as_json:
        say_json(result.as_dict())
    else:
        say(str(result))


def _held(loss: float | None) -> str:
    return "" if loss is None else f", held-out {loss:.3f}"


def _pair(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise click.UsageError(f"'{text}' is not a NAME=FOLDER, as in json=./json-prompt")
    return name, Path(folder)
