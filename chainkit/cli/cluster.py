"""`chainkit cluster`: texts sorted into groups by meaning."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.embed import tell_blanks
from chainkit.cli.faults import without_keys
from chainkit.cli.options import (
    column_option,
    debug_option,
    embeddings_option,
    format_option,
    groups_option,
    json_option,
    output_path,
    threshold_option,
)
from chainkit.cli.rows import InputRows, read_rows
from chainkit.cli.screen import note, say, say_json, table, waiting

if TYPE_CHECKING:
    from chainkit.vectors import Clustering

PICTURES = (".html", ".png", ".svg", ".pdf")

SHOWN = 10


@click.command()
@click.argument("file")
@groups_option
@threshold_option
@click.option(
    "--min-size",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Smaller ones are not a group.",
)
@click.option("--map", "map_path", metavar="PATH", help="Also draw a map of the groups: .html, .png, .svg or .pdf.")
@click.option("--name-with", metavar="SPEC", help="Chat model that names the groups; by default keywords do.")
@click.option(
    "--show",
    type=click.IntRange(min=0),
    metavar="N",
    default=SHOWN,
    show_default=True,
    help="Texts of a group; 0: all.",
)
@embeddings_option
@column_option
@format_option
@click.option("--csv", "as_csv", is_flag=True, help="Write line, group, name and text as CSV, in the order of FILE.")
@json_option
@debug_option
def cluster(
    file: str,
    groups: int | None,
    threshold: float | None,
    min_size: int,
    map_path: str | None,
    name_with: str | None,
    show: int,
    embeddings_spec: str,
    column: str | None,
    kind: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Sort the texts of FILE ('-': standard input) into groups by meaning.

    The number of groups is found unless -k or --threshold is given; group -1 holds what belongs to none. Groups are
    named by the words that set them apart, and their most typical texts come first.
    """
    if as_csv and as_json:
        raise click.UsageError("give --csv or --json, not both")
    picture = None if map_path is None else output_path(map_path, PICTURES)
    rows = read_rows(file, column=column, kind=kind)
    tell_blanks(rows)
    check_groups(rows, groups, threshold)
    found = _clustered(rows, embeddings_spec, groups, threshold, min_size)
    if name_with is not None:
        found = _named(found, name_with)
    if picture is not None:
        _draw(found, picture)
    if as_json:
        lines = [row.line for row in rows.rows]
        say_json({"embeddings": without_keys(embeddings_spec), "lines": lines, **found.as_dict()})
    elif as_csv:
        _show_csv(rows, found)
    else:
        _show_table(rows, found, show)


def check_groups(rows: InputRows, groups: int | None, threshold: float | None) -> None:
    """Refuse a number of groups that cannot be.

    Raises:
        UsageError: Both a number and a threshold were given.
        ChainkitError: More groups than different texts.
    """
    if groups is not None and threshold is not None:
        raise click.UsageError("give --groups or --threshold, not both")
    different = len(set(rows.texts))
    if groups is not None and groups > different:
        raise ChainkitError(f"{groups} groups were asked for, but there are only {different} different texts")


def _clustered(rows: InputRows, spec: str, groups: int | None, threshold: float | None, min_size: int) -> Clustering:
    from chainkit import clusters
    from chainkit.cli.embedding import embedded_at_once

    vectors = embedded_at_once(rows.texts, spec)
    with waiting("sorting into groups"):
        return clusters(rows.texts, vectors, groups, threshold, min_size=min_size)


def _named(found: Clustering, spec: str) -> Clustering:
    from chainkit import chat_model
    from chainkit.vectors import named

    with waiting("naming the groups"):
        return named(found, chat_model(spec))


def _draw(found: Clustering, path: Path) -> None:
    from chainkit import cluster_map

    with waiting("drawing the map"):
        cluster_map(found, path=path)
    note(f"drew {len(found.labels)} texts in {found.k} groups to {path}")


def _show_csv(rows: InputRows, found: Clustering) -> None:
    names = {group.label: group.name for group in found.groups}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["line", "group", "name", "text"])
    for row, label in zip(rows.rows, found.labels.tolist(), strict=True):
        writer.writerow([row.line, label, names.get(label, ""), row.text])
    say(file.getvalue(), end="")


def _show_table(rows: InputRows, found: Clustering, show: int) -> None:
    runs = [(group.label, group.name, group.members) for group in found.groups]
    if found.outliers:
        runs.append((-1, "(no group)", found.outliers))
    lines: list[list[str]] = []
    for label, name, members in runs:
        shown = members[: show or None]
        heads = [[str(label), str(len(members)), name], *([["", "", ""]] * (len(shown) - 1))]
        lines += [[*head, rows.rows[member].text] for head, member in zip(heads, shown, strict=True)]
        if len(shown) < len(members):
            lines.append(["", "", "", f"... and {len(members) - len(shown)} more (--show 0 for all)"])
    table(["group", "size", "name", "text"], lines)
    separation = "" if found.silhouette is None else f"; silhouette {found.silhouette:.2f}"
    say(f"\n{len(rows.rows)} texts in {found.k} groups{separation}")
