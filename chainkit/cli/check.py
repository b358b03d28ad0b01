"""`chainkit check`: whether a program can be read."""

from __future__ import annotations

from typing import Any

import click

from chainkit.base.errors import ProgramError
from chainkit.cli.options import debug_option, json_option
from chainkit.cli.rows import read_program
from chainkit.cli.screen import say, say_json


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@json_option
@debug_option
@click.pass_context
def check(ctx: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Check whether programs can be read, and show what variables they need; '-' reads standard input.

    No model is asked. The exit status is 1 if a program is wrong.
    """
    results = [_checked(file) for file in files]
    for result in results:
        if as_json:
            say_json(result)
        elif result["error"]:
            say(f"{result['file']}: {result['error']}")
        else:
            needs = ", ".join(result["inputs"]) or "no variables"
            say(f"{result['file']}: right; needs {needs}")
    if any(result["error"] for result in results):
        ctx.exit(1)


def _checked(file: str) -> dict[str, Any]:
    from chainkit.programs.language.parser import parse
    from chainkit.programs.run import checks

    try:
        template = parse(read_program(file))
        checks.check_commands(template)
    except ProgramError as error:
        return {"file": file, "error": str(error), "line": error.line, "column": error.column, "inputs": []}
    return {"file": file, "error": None, "line": None, "column": None, "inputs": list(checks.free_names(template))}
