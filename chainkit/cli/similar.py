"""`chainkit similar`: texts that nearly repeat each other, or that are like a given text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from chainkit.cli.embed import tell_blanks
from chainkit.cli.faults import without_keys
from chainkit.cli.options import column_option, debug_option, embeddings_option, format_option, json_option
from chainkit.cli.rows import InputRow, read_rows
from chainkit.cli.screen import say, say_json, table, waiting

ABOVE = 0.9
SHOWN = 20


@click.command()
@click.argument("file")
@click.option("--to", "query", metavar="TEXT", help="Find the texts that are most like this one.")
@click.option(
    "--above",
    type=click.FloatRange(-1, 1),
    metavar="COSINE",
    help=f"How alike two texts must be.  [default: {ABOVE}; with --to: no limit]",
)
@click.option(
    "--show", type=click.IntRange(min=0), metavar="N", default=SHOWN, show_default=True, help="Number of pairs; 0: all."
)
@embeddings_option
@column_option
@format_option
@json_option
@debug_option
def similar(
    file: str,
    query: str | None,
    above: float | None,
    show: int,
    embeddings_spec: str,
    column: str | None,
    kind: str | None,
    as_json: bool,
) -> None:
    """Find the texts of FILE ('-': standard input) that nearly repeat each other, the most alike first.

    With --to, the texts that are most like that one instead. Likeness is the cosine of the texts' vectors.
    """
    if query is not None and not query.strip():
        raise click.UsageError("--to is blank")
    rows = read_rows(file, column=column, kind=kind)
    tell_blanks(rows)
    if query is None:
        _pairs(rows.rows, embeddings_spec, ABOVE if above is None else above, show, as_json)
    else:
        _like(rows.rows, query, embeddings_spec, above, show, as_json)


def _pairs(rows: Sequence[InputRow], spec: str, above: float, show: int, as_json: bool) -> None:
    from chainkit.cli.embedding import embedded_at_once
    from chainkit.vectors import pairs

    vectors = embedded_at_once([row.text for row in rows], spec)
    with waiting("comparing"):
        found = pairs(vectors, above=above)
    shown = found[: show or None]
    if as_json:
        listed = [
            {"score": pair.score, **_row_json(rows[pair.first], "first"), **_row_json(rows[pair.second], "second")}
            for pair in shown
        ]
        say_json({"embeddings": without_keys(spec), "above": above, "count": len(found), "pairs": listed})
        return
    lines: list[list[str]] = []
    for pair in shown:
        first, second = rows[pair.first], rows[pair.second]
        lines += [[f"{pair.score:.3f}", str(first.line), first.text], ["", str(second.line), second.text]]
    if lines:
        table(["cosine", "line", "text"], lines)
    counted = "1 pair" if len(found) == 1 else f"{len(found)} pairs"
    more = f"; the first {len(shown)} are shown (--show 0 for all)" if len(shown) < len(found) else ""
    gap = "\n" if lines else ""
    say(f"{gap}{counted} of {len(rows)} texts with a cosine of {above} or more{more}")


def _like(rows: Sequence[InputRow], query: str, spec: str, above: float | None, show: int, as_json: bool) -> None:
    from chainkit.cli.embedding import embedded_at_once
    from chainkit.registry import embeddings
    from chainkit.vectors import search

    vectors = embedded_at_once([row.text for row in rows], spec)
    with waiting("comparing"):
        found = search(query, vectors, embeddings(spec), k=show or len(rows))
    shown = [match for match in found if above is None or match.score >= above]
    if as_json:
        shown_rows = [{"score": match.score, **_row_json(rows[match.row])} for match in shown]
        say_json({"embeddings": without_keys(spec), "to": query, "texts": shown_rows})
        return
    table(["cosine", "line", "text"], [[f"{m.score:.3f}", str(rows[m.row].line), rows[m.row].text] for m in shown])


def _row_json(row: InputRow, name: str = "") -> dict[str, Any]:
    return {name: {"line": row.line, "text": row.text}} if name else {"line": row.line, "text": row.text}
