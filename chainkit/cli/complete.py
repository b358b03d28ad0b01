"""`chainkit complete`: a model continues a text."""

from __future__ import annotations

from contextlib import closing

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.faults import without_keys
from chainkit.cli.options import chosen, debug_option, json_option, model_options, trace_option
from chainkit.cli.rows import STDIN, read_text
from chainkit.cli.screen import load, say, say_json, waiting


@click.command()
@click.argument("text")
@model_options
@trace_option
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times.")
@json_option
@debug_option
def complete(
    text: str,
    model_spec: str | None,
    temperature: float | None,
    max_tokens: int | None,
    stop: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let a model continue TEXT; '-' reads it from standard input.

    Only the continuation is written, as it comes.
    """
    prompt = read_text(STDIN) if text == STDIN else text
    if not prompt.strip():
        raise ChainkitError("there is no text to continue; give it as an argument, or '-' to read standard input")
    from chainkit.registry import default_spec, llm

    spec = model_spec or default_spec()
    ends = list(stop) or None
    with waiting("loading the model") as bar:
        model = llm(spec, **chosen(temperature=temperature, max_tokens=max_tokens))
        load(model, bar)
    with waiting("reading the text") as bar:
        if as_json:
            say_json({"model": without_keys(spec), "prompt": prompt, "text": model.invoke(prompt, stop=ends)})
            return
        with closing(model.stream(prompt, stop=ends)) as pieces:  # pyright: ignore[reportArgumentType]
            for piece in pieces:
                bar.stop()
                say(piece, end="")
    say("")
