"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.faults import DEBUG, without_keys
from chainkit.cli.named import EMBEDDINGS, MODEL
from chainkit.cli.screen import plain

if TYPE_CHECKING:
    from chainkit.observe.trace import Trace

USUAL_LOG = "log"
"""Instead of a file name, it means the default file of `chainkit log`."""

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _keep_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[DEBUG] = True


debug_option = click.option(
    "--debug",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_keep_debug,
    help="Show the whole traceback of an error.",
)


def _traced(ctx: click.Context, _parameter: click.Parameter, value: object) -> None:
    """Keep a trace until the command has ended; one that is written is begun now, so that a bad file costs no call."""
    if not value or ctx.resilient_parsing:
        return
    from chainkit.observe import log
    from chainkit.observe.trace import trace

    if value is True:
        kept = ctx.with_resource(trace())
        ctx.call_on_close(lambda: _show_trace(kept))
    else:
        path = log.log_file() if value == USUAL_LOG else str(value)
        log.write(path, [])
        ctx.with_resource(trace(path))


def _show_trace(kept: Trace) -> None:
    click.echo(without_keys(plain(str(kept))), file=sys.stderr)


_trace_flag = click.option(
    "--trace",
    is_flag=True,
    expose_value=False,
    callback=_traced,
    help="Show prompts, tokens, time and cost at the end.",
)
_trace_file = click.option(
    "--trace-file",
    metavar="FILE",
    expose_value=False,
    callback=_traced,
    help="Add them to an SQLite file for 'chainkit log'; also --trace=FILE. FILE 'log' is the usual one.",
)


def trace_option(command: Decorated) -> Decorated:
    """--trace and --trace-file, for commands that call models."""
    return _trace_flag(_trace_file(command))


def with_trace_file(arguments: list[str]) -> list[str]:
    """The arguments with `--trace=FILE` as click can read it: an option with a value that may be missing.

    click would take the next argument for the value, and `--trace "Once upon"` is a text to continue.

    >>> with_trace_file(["complete", "--trace=a.sqlite", "x", "--", "--trace=b"])
    ['complete', '--trace-file=a.sqlite', 'x', '--', '--trace=b']
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    short = "--trace="
    named = [f"--trace-file={one.removeprefix(short)}" if one.startswith(short) else one for one in arguments[:end]]
    return named + arguments[end:]


json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON for a program to read.")

embeddings_option = click.option(
    "--embeddings",
    "embeddings_spec",
    type=EMBEDDINGS,
    metavar="SPEC",
    default="minilm",
    show_default=True,
    help="Model that turns texts into vectors.",
)

column_option = click.option(
    "--column",
    "--by",
    "column",
    metavar="NAME",
    help="Column of a CSV file, or field of a JSONL file, that holds the text.",
)

format_option = click.option(
    "--format",
    "kind",
    type=click.Choice(["lines", "csv", "tsv", "jsonl"]),
    help="How to read FILE; by default its ending says, and everything else is one text per line.",
)


groups_option = click.option(
    "-k", "--groups", type=click.IntRange(min=1), metavar="N", help="How many groups; by default found."
)

threshold_option = click.option(
    "--threshold",
    type=click.FloatRange(-1, 1),
    metavar="COSINE",
    help="Instead of a number of groups: how alike groups must be to become one.",
)


def option_of_a_model(about: str) -> Callable[[Decorated], Decorated]:
    """--model, with what `--help` says of it."""
    return click.option(
        "-m", "--model", "model_spec", type=MODEL, metavar="SPEC", envvar="CHAINKIT_MODEL", show_envvar=True, help=about
    )


model_option = option_of_a_model("Model to use, like openai:gpt-4o-mini or gguf:./model.gguf.")


def model_options(command: Decorated) -> Decorated:
    """--model, --temperature and --max-tokens; `chosen` turns the last two into settings."""
    for option in (
        click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Longest answer, in tokens."),
        click.option("--temperature", type=click.FloatRange(min=0), metavar="T", help="0 takes the likeliest token."),
        model_option,
    ):
        command = option(command)
    return command


def output_path(text: str, endings: tuple[str, ...]) -> Path:
    """The file to write to, checked before any work is done for it.

    Raises:
        ChainkitError: It is a folder, has no folder, or has none of these endings.
    """
    path = Path(text)
    if path.is_dir():
        raise ChainkitError(f"{path}: is a folder; name a file in it")
    if path.suffix.lower() not in endings:
        raise ChainkitError(f"{path}: cannot be written; choose one of these endings: {', '.join(endings)}")
    require_folder_of(path)
    return path


def require_folder_of(path: Path) -> None:
    """Refuse to write a file into a folder that is not there.

    Raises:
        ChainkitError: It is not.
    """
    if not path.parent.is_dir():
        raise ChainkitError(f"{path}: there is no folder {path.parent}; make it first")


style_option = click.option(
    "--style",
    type=click.Choice(["extract", "short", "full"]),
    help="How to answer: quote sentences, say them in one sentence, or write in full; by default what suits the model.",
)


def chosen(**settings: Any) -> dict[str, Any]:
    """The settings that the user gave; a model keeps its own value for the rest.

    >>> chosen(temperature=0.0, max_tokens=None)
    {'temperature': 0.0}
    """
    return {name: value for name, value in settings.items() if value is not None}
