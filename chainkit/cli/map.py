"""`chainkit map`: a model, program, embeddings or Python chain over every row of a file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.faults import without_keys
from chainkit.cli.options import chosen, debug_option, json_option, model_options
from chainkit.cli.screen import load, note, say_json, waiting

if TYPE_CHECKING:
    from chainkit.scale.mapping import Engine
    from chainkit.scale.report import MapProgress, MapReport

_EMBEDDINGS = "embeddings:"


@click.command("map")
@click.argument("chain")
@click.argument("input_file", metavar="INPUT")
@click.argument("output")
@model_options
@click.option("--prompt", "template", metavar="TEXT", help="What CHAIN, a model, is asked; {name} is a column.")
@click.option("--column", metavar="NAME", help="Give CHAIN this column alone instead of the whole row.")
@click.option("--into", metavar="NAME", default="output", show_default=True, help="The column of the result.")
@click.option("--results-only", is_flag=True, help="Write no columns of INPUT, only the row's number and the result.")
@click.option("--unordered", is_flag=True, help="Write rows as they are finished, not in the order of INPUT.")
@click.option("--concurrency", type=click.IntRange(min=1), metavar="N", help="Rows at the same time.")
@click.option(
    "--requests-per-minute",
    "requests",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Wait before a row.",
)
@click.option(
    "--tokens-per-minute", "tokens", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Likewise."
)
@click.option(
    "--max-cost", type=click.FloatRange(min=0, min_open=True), metavar="USD", help="Stop before more is spent."
)
@click.option("--max-total-tokens", type=click.IntRange(min=1), metavar="N", help="Stop before more are used.")
@click.option(
    "--engine",
    type=click.Choice(["local", "batch", "ray"]),
    default="local",
    show_default=True,
    help="batch: by a hosted model's batch API; ray: in actors of Ray.",
)
@click.option("--retry-failed", is_flag=True, help="Do the rows again that have failed, and no others.")
@click.option("--overwrite", is_flag=True, help="Begin afresh.")
@json_option
@debug_option
def map_command(
    chain: str,
    input_file: str,
    output: str,
    model_spec: str | None,
    temperature: float | None,
    max_tokens: int | None,
    template: str | None,
    column: str | None,
    into: str,
    results_only: bool,
    unordered: bool,
    concurrency: int | None,
    requests: float | None,
    tokens: float | None,
    max_cost: float | None,
    max_total_tokens: int | None,
    engine: Engine,
    retry_failed: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Run CHAIN on every row of INPUT (.jsonl, .csv, .tsv, .parquet) and write the results to OUTPUT.

    CHAIN is a program's file (with --model), 'embeddings:SPEC', a model (with --prompt or --column), or a Python object
    as FILE.py:NAME or MODULE:NAME. To resume an interrupted run, start it again; rows that fail are in
    OUTPUT.failed.jsonl.
    """
    from chainkit.chains.limits import RateLimiter
    from chainkit.scale.mapping import map_rows

    settings = chosen(temperature=temperature, max_tokens=max_tokens)
    limiter = RateLimiter(requests_per_minute=requests, tokens_per_minute=tokens) if requests or tokens else None
    runnable = _opened(chain, model_spec, template, settings)
    with waiting(f"mapping {input_file}", 1000) as bar:
        latest: list[MapProgress] = []

        def show(progress: MapProgress) -> None:
            latest[:] = [progress]
            bar.to(int((progress.part or 0) * 1000), 1000, str(progress))

        report = map_rows(
            runnable,
            input_file,
            output,
            column=column,
            into=into,
            keep_input=not results_only,
            ordered=not unordered,
            concurrency=concurrency,
            limiter=limiter,
            max_tokens=max_total_tokens,
            max_cost=max_cost,
            engine=engine,
            retry_failed=retry_failed,
            overwrite=overwrite,
            identity=without_keys(repr((chain, model_spec, template, settings))),
            on_progress=show,
        )
    _tell(report, as_json)


def _opened(chain: str, model: str | None, template: str | None, settings: dict[str, Any]) -> Any:
    """What the command line names."""
    from chainkit.registry import answering, embeddings

    place, colon, name = chain.rpartition(":")
    if chain.startswith(_EMBEDDINGS):
        return embeddings(chain.removeprefix(_EMBEDDINGS))
    if colon and name.isidentifier() and (place.endswith(".py") or _is_module(place)):
        return _python_object(place, name)
    if Path(chain).is_file() and not chain.lower().endswith((".gguf", ".bin")):
        return _program(chain, model, settings)
    with waiting("loading the model") as bar:
        opened = answering(chain, **settings)
        load(opened, bar)
    if template is None:
        return opened
    from chainkit.prompts.short import prompt

    return prompt(template) | opened


def _program(file: str, model: str | None, settings: dict[str, Any]) -> Any:
    from chainkit.cli.rows import read_program
    from chainkit.programs.run import checks
    from chainkit.programs.run.runnable import Program
    from chainkit.registry import default_spec

    if settings:
        raise ChainkitError("a program says temperature and max_tokens itself; write them into its slots")
    program = Program(read_program(file))
    if checks.writes(program.template):
        program = program.with_model(model or default_spec())
        with waiting("loading the model") as bar:
            load(program.model, bar)
    return program


def _is_module(name: str) -> bool:
    """Whether it can be imported; the name of a provider, such as `openai`, is not meant."""
    from chainkit.registry import providers

    if name in providers() or not all(part.isidentifier() for part in name.split(".")):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _python_object(place: str, name: str) -> Any:
    """A Runnable or function of a Python file or module, which is run for that."""
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise ChainkitError(f"{place}: there is no such file")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)  # pickle looks up classes there
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    if not hasattr(module, name):
        raise ChainkitError(f"{place} has no '{name}'; write FILE.py:NAME with the name of a chain or function in it")
    return getattr(module, name)


def _tell(report: MapReport, as_json: bool) -> None:
    if as_json:
        names = ("done", "failed", "skipped", "stopped", "seconds", "tokens", "cost")
        kept = {name: getattr(report, name) for name in names}
        say_json({"output": str(report.output), **kept, "seconds": round(report.seconds, 3)})
    else:
        earlier = f" ({report.skipped} by earlier runs)" if report.skipped else ""
        spent = f", {report.tokens:,} tokens" if report.tokens else ""
        cost = f", ${report.cost:.4f}" if report.cost else ""
        done = f"{report.done + report.skipped} rows done{earlier}"
        note(f"{done}, in {report.seconds:.1f} s{spent}{cost}: {report.output}")
        if report.failed:
            note(f"{report.failed} rows failed: {report.failures}; --retry-failed does them again")
        if report.stopped:
            note(f"stopped: {report.stopped}; start it again to go on")
