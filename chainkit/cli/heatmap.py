"""`chainkit heatmap`: a picture of how alike texts are."""

from __future__ import annotations

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

ENDINGS = (".png", ".svg", ".pdf")


@click.command()
@click.argument("file")
@click.option("-o", "--output", metavar="PATH", required=True, help="The picture: .png, .svg or .pdf.")
@groups_option
@threshold_option
@click.option("--title", default="", metavar="TEXT", help="What stands above the picture.")
@embeddings_option
@column_option
@format_option
@debug_option
def heatmap(
    file: str,
    output: str,
    groups: int | None,
    threshold: float | None,
    title: str,
    embeddings_spec: str,
    column: str | None,
    kind: str | None,
) -> None:
    """Draw how alike the texts of FILE ('-': standard input) are, groups as blocks.

    A picture holds up to 500 texts.
    """
    path = output_path(output, ENDINGS)
    rows = read_rows(file, column=column, kind=kind)
    tell_blanks(rows)
    check_groups(rows, groups, threshold)
    from chainkit import heatmap as draw
    from chainkit.cli.embedding import embedded_at_once
    from chainkit.vectors.heatmap import MOST

    if len(rows.rows) > MOST:
        raise ChainkitError(f"{file} holds {len(rows.rows)} texts and a picture at most {MOST}; draw a part of them")
    vectors = embedded_at_once(rows.texts, embeddings_spec)
    with waiting("drawing"):
        drawn = draw(rows.texts, vectors, path, k=groups, threshold=threshold, title=title)
    note(f"drew {len(rows.rows)} texts in {drawn.clustering.k} groups to {path}")
