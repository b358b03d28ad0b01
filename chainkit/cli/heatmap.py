"""`chainkit heatmap`: a picture of how alike texts are."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.cluster import check_groups
from chainkit.cli.embed import tell_blanks
from chainkit.cli.options import (
    column_option,
    debug_option,
    embeddings_option,
    format_option,
    groups_option,
    output_path,
    threshold_option,
)
from chainkit.cli.rows import read_rows
from chainkit.cli.screen import note, waiting

if TYPE_CHECKING:
    from chainkit.vectors import Heatmap

ENDINGS = (".png", ".svg", ".pdf", ".html")

UNKNOWN_COLUMNS = 100
"""How wide the picture is where standard output is not a terminal."""


@click.command()
@click.argument("file")
@click.option(
    "-o", "--output", metavar="PATH", help="The picture: .png, .svg, .pdf or .html; by default blocks in the terminal."
)
@groups_option
@threshold_option
@click.option("--title", default="", metavar="TEXT", help="Title above the picture.")
@embeddings_option
@column_option
@format_option
@debug_option
def heatmap(
    file: str,
    output: str | None,
    groups: int | None,
    threshold: float | None,
    title: str,
    embeddings_spec: str,
    column: str | None,
    kind: str | None,
) -> None:
    """Draw how alike the texts of FILE ('-': standard input) are, groups as blocks.

    Rows are in the order of their groups, so that each group is a dark block; the number of groups is found unless -k
    or --threshold is given. An .html page needs no network and shows the two texts of the cell under the mouse.
    """
    path = None if output is None else output_path(output, ENDINGS)
    rows = read_rows(file, column=column, kind=kind)
    tell_blanks(rows)
    check_groups(rows, groups, threshold)
    from chainkit import heatmap as draw
    from chainkit.cli.embedding import embedded_at_once
    from chainkit.vectors.heatmap import MOST

    if len(rows.rows) > MOST:
        advice = "draw a part of them, or a map: chainkit cluster FILE --map groups.html"
        raise ChainkitError(f"{file} holds {len(rows.rows)} texts and a picture at most {MOST}; {advice}")
    vectors = embedded_at_once(rows.texts, embeddings_spec)
    with waiting("drawing"):
        drawn = draw(rows.texts, vectors, path, k=groups, threshold=threshold, title=title)
    if path is None:
        _show(drawn)
    else:
        note(f"drew {len(rows.rows)} texts in {drawn.clustering.k} groups to {path}")


def _show(drawn: Heatmap) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNKNOWN_COLUMNS
    try:
        picture = drawn.terminal(columns, colour=colour, encoding=sys.stdout.encoding or "utf-8")
    except ValueError as error:
        raise ChainkitError(f"{error}: -o picture.png") from error
    click.echo(picture, file=sys.stdout, color=colour)
