"""`chainkit tokens`: how a text is cut into tokens, and what may come next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError, Unsupported
from chainkit.cli.faults import without_keys
from chainkit.cli.options import chosen, debug_option, json_option, option_of_a_model, output_path
from chainkit.cli.rows import STDIN, read_text
from chainkit.cli.screen import say, say_json, table, waiting

if TYPE_CHECKING:
    from chainkit.local.sight import Candidate, Token

_BAR = 24  # cells of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SHOWN = 200  # tokens of a text that are written out one by one


@click.command()
@click.argument("text")
@option_of_a_model("A local model: gguf:..., hf:...")
@click.option(
    "-k",
    "--count",
    type=click.IntRange(0, 1000),
    metavar="N",
    default=10,
    show_default=True,
    help="Next tokens to show.",
)
@click.option(
    "--temperature", type=click.FloatRange(min=0), metavar="T", help="Show the chances after this temperature."
)
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), metavar="P", help="... after this cut.")
@click.option("--top-k", type=click.IntRange(min=0), metavar="K", help="... after this cut.")
@click.option("--min-p", type=click.FloatRange(0, 1), metavar="P", help="... after this cut.")
@click.option("--plot", metavar="FILE.png", help="Draw the next tokens into a picture.")
@json_option
@debug_option
def tokens(
    text: str, model_spec: str | None, count: int, plot: str | None, as_json: bool, **sampling: float | None
) -> None:
    """Show how TEXT is cut into tokens and the likeliest next ones; '-' reads it from standard input.

    The chances are the model's own, and beside them those after temperature and cuts, if any are given.
    """
    picture = output_path(plot, (".png", ".svg", ".pdf")) if plot else None
    if picture and not count:
        raise ChainkitError("--plot draws the next tokens, and -k 0 asks for none")
    text = read_text(STDIN) if text == STDIN else text
    if not text:
        raise ChainkitError("there is no text; give it as an argument, or '-' to read standard input")
    from chainkit.registry import continuing, default_spec

    spec = model_spec or default_spec()
    with waiting("reading the text"):
        model: Any = continuing(spec)
        if not hasattr(model, "next_tokens"):
            raise Unsupported(f"{without_keys(spec)} does not show its tokens; a local model does (gguf:, ggml:, hf:)")
        cut: list[Token] = model.tokens(text)
        likely: list[Candidate] = model.next_tokens(text, count, **chosen(**sampling)) if count else []
    if picture:
        _draw(likely, text, picture)
    if as_json:
        say_json({"model": without_keys(spec), "text": text, "tokens": _cut(cut), "next": _likely(likely)})
    else:
        _show(cut, likely)
        if picture:
            say(f"\n{picture}")


def bar(share: float) -> str:
    """A share of 1 as a bar of eighths of a cell.

    >>> bar(0.5)
    '████████████'
    """
    eighths = round(share * _BAR * 8)
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _show(cut: Sequence[Token], likely: Sequence[Candidate]) -> None:
    say(f"{len(cut)} tokens: " + " ".join(shown(token.text) for token in cut[:_SHOWN]))
    if len(cut) > _SHOWN:
        say(f"... and {len(cut) - _SHOWN} more")
    say("ids: " + " ".join(str(token.id) for token in cut[:_SHOWN]))
    if not likely:
        return
    say("")
    sampled = any(one.sampled is not None for one in likely)
    columns = ["next", "id", "chance", "", *(["sampled", ""] if sampled else [])]
    rows = [
        [shown(one.text), str(one.id), f"{one.chance:.1%}", bar(one.chance)]
        + ([f"{one.sampled or 0:.1%}" if one.sampled else "cut", bar(one.sampled or 0)] if sampled else [])
        for one in likely
    ]
    table(columns, rows)


def shown(text: str) -> str:
    """A token so that its spaces and line ends are seen.

    >>> shown(" cat\\n")
    "' cat\\\\n'"
    """
    return repr(text)


def _draw(likely: Sequence[Candidate], text: str, picture: Any) -> None:
    from chainkit.cli.token_plot import draw

    with waiting("drawing"):
        draw(likely, text, picture)


def _cut(cut: Sequence[Token]) -> list[dict[str, Any]]:
    return [{"id": token.id, "text": token.text, "bytes": token.data.hex()} for token in cut]


def _likely(likely: Sequence[Candidate]) -> list[dict[str, Any]]:
    return [{"id": one.id, "text": one.text, "chance": one.chance, "sampled": one.sampled} for one in likely]
