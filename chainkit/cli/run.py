"""`chainkit run`: a program out of a file."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError, MissingVariable, ProgramError
from chainkit.cli.answering import names_model
from chainkit.cli.faults import without_keys
from chainkit.cli.options import debug_option, json_option, model_option, trace_option
from chainkit.cli.rows import read_program
from chainkit.cli.screen import load, note, say, say_json, waiting

if TYPE_CHECKING:
    from chainkit.programs import Program, Run


@click.command()
@click.argument("file")
@click.argument("more", nargs=-1, metavar="")
@click.option(
    "--var",
    "given",
    multiple=True,
    metavar="NAME=TEXT",
    help="A variable; NAME:=JSON for a number or a list. May be given several times.",
)
@click.option("--vars", "files", multiple=True, metavar="FILE", help="A JSON file with an object of variables.")
@model_option
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="The same seed gives the same run.")
@click.option("--show", is_flag=True, help="Show the text while it grows, in colours.")
@click.option("--allow-shell", is_flag=True, help="Let {{shell}} run commands on this machine.")
@trace_option
@json_option
@debug_option
@click.pass_context
def run(
    ctx: click.Context,
    file: str,
    more: tuple[str, ...],
    given: tuple[str, ...],
    files: tuple[str, ...],
    model_spec: str | None,
    seed: int | None,
    show: bool,
    allow_shell: bool,
    as_json: bool,
) -> None:
    """Run the program in FILE and write its text; '-' reads it from standard input.

    What the program waits for with {{await}} is asked for in a terminal.
    """
    _refuse_question(ctx, file, more)
    text = read_program(file)
    variables = given_variables(given, files)
    try:
        result = _run(text, variables, model_spec, seed, show and not as_json, allow_shell)
    except ProgramError as error:
        note(f"{file}: {error}")
        if isinstance(error, MissingVariable) and error.names:
            note(f"variables are given with {' '.join(f'--var {name}=...' for name in error.names)}")
        raise click.exceptions.Exit(1) from error
    except ChainkitError as error:
        for place in getattr(error, "__notes__", ()):
            note(f"{file}: {place}")
        raise
    if as_json:
        say_json(_as_json(result))
    elif not show:
        say(str(result))
    for name, reason in result.incomplete.items():
        note(f"'{name}' is incomplete: {reason}")
    if result.waiting and not as_json:
        raise ChainkitError(f"the program waits for '{result.waiting}'; give it with --var {result.waiting}=...")


def _refuse_question(ctx: click.Context, file: str, more: tuple[str, ...]) -> None:
    """Refuse `chainkit run MODEL "QUESTION"`, which other programs know, with the command to type."""
    if not Path(file).exists() and names_model(file):
        asked = f" {shlex.quote(' '.join(more))}" if more else ""
        raise ChainkitError(
            f"'{without_keys(file)}' names a model, and 'run' takes a file with a program; "
            f"to ask a model: chainkit chat -m {shlex.quote(without_keys(file))}{asked}"
        )
    if more:
        ctx.fail(f"Got unexpected extra arguments ({' '.join(more)})")


def _run(
    text: str, variables: dict[str, Any], spec: str | None, seed: int | None, show: bool, allow_shell: bool
) -> Run:
    with waiting("loading") as bar:
        from chainkit.programs.run.runnable import Program

        program = Program(text, variables=variables).with_options(seed=seed, shell=allow_shell)
        program = _on_model(program, spec)
        if program.model is not None:
            load(program.model, bar)
    if show:
        result = program.show()
    else:
        with waiting("running"):
            result = program()
    from chainkit.programs.run.display import live

    while result.waiting and sys.stdin.isatty():
        if not show:
            say(str(result))
        answer = click.prompt(result.waiting, err=True)
        result = live(result.stream({result.waiting: answer})) if show else result({result.waiting: answer})
    return result


def _on_model(program: Program, spec: str | None) -> Program:
    from chainkit.programs.run import checks

    if not checks.writes(program.template):
        return program
    from chainkit.registry import default_spec

    return program.with_model(spec or default_spec())


def given_variables(given: Sequence[str], files: Sequence[str] = ()) -> dict[str, Any]:
    """The variables of --var and --vars.

    Raises:
        ChainkitError: A pair or a file cannot be read.
    """
    result: dict[str, Any] = {}
    for file in files:
        try:
            values = json.loads(Path(file).read_text("utf-8"))
        except ValueError as error:
            raise ChainkitError(f"{file}: is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ChainkitError(f"{file}: holds no JSON object of variables")
        result |= values
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name.removesuffix(":").isidentifier():
            raise ChainkitError(f"--var {pair!r}: write NAME=TEXT or NAME:=JSON")
        try:
            result[name.removesuffix(":")] = json.loads(value) if name.endswith(":") else value
        except ValueError as error:
            raise ChainkitError(f"--var {pair!r}: what follows := is not JSON: {error}") from error
    return result


def _as_json(result: Run) -> dict[str, Any]:
    usage = result.usage
    return {
        "text": str(result),
        "variables": {name: _plain(value) for name, value in result.variables.items() if not callable(value)},
        "messages": [{"role": role, "text": text} for role, text in result.messages],
        "finished": result.finished,
        "waiting": result.waiting,
        "incomplete": result.incomplete,
        "usage": {name: getattr(usage, name) for name in usage.__slots__},
    }


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump else str(value)
