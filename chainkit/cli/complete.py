"""`chainkit complete`: a model continues a text."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Any

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.answering import refuse_model, usual_spec
from chainkit.cli.faults import keeps, without_keys
from chainkit.cli.options import chosen, debug_option, json_option, model_options, trace_option
from chainkit.cli.rows import STDIN, read_text
from chainkit.cli.screen import Silence, Waiting, load, say, say_json, waiting


@click.command()
@click.argument("text", nargs=-1)
@model_options
@trace_option
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times.")
@json_option
@debug_option
@click.pass_context
def complete(
    ctx: click.Context,
    text: tuple[str, ...],
    model_spec: str | None,
    temperature: float | None,
    max_tokens: int | None,
    stop: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let a model continue TEXT; without one, or for '-', the text comes from standard input.

    Only the continuation is written, as it comes. To ask a question, use 'chainkit chat'.
    """
    if len(text) > 1:
        refuse_model(ctx, text)
    piped = text == (STDIN,) or (not text and not sys.stdin.isatty())
    prompt = read_text(STDIN) if piped else " ".join(text)
    if not prompt.strip():
        raise ChainkitError("there is no text to continue; give it as an argument, or '-' to read standard input")
    from chainkit.registry import llm

    keeps(lambda: "nothing was saved but the text above")
    spec = model_spec or usual_spec()
    ends = list(stop) or None
    with waiting("loading the model") as bar:
        model = llm(spec, **chosen(temperature=temperature, max_tokens=max_tokens))
        load(model, bar)
    with waiting("reading the text") as bar:
        if as_json:
            written = model.invoke(prompt, stop=ends)
            say_json({"model": without_keys(spec), "prompt": prompt, "text": written})
        else:
            written = _shown(model, prompt, ends, bar)
    if not written.strip():
        problem = f"{without_keys(spec)} ended at once and wrote nothing"
        raise ChainkitError(f'{problem}; a model that was made to answer is asked with: chainkit chat "..."')


def _shown(model: Any, prompt: str, ends: list[str] | None, bar: Waiting | Silence) -> str:
    written = ""
    with closing(model.stream(prompt, stop=ends)) as pieces:
        for piece in pieces:
            bar.stop()
            written += piece
            say(piece, end="")
    say("")
    return written
