"""`chainkit embed`: texts in, vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.options import column_option, debug_option, embeddings_option, format_option
from chainkit.cli.rows import Row, Rows, read_rows
from chainkit.cli.screen import note, say_json, waiting

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

    from chainkit.cli.vector_files import VectorFile

BATCH = 64


@click.command()
@click.argument("file")
@click.option("-o", "--output", metavar="PATH", help="A .jsonl or .npy file; by default JSONL on standard output.")
@click.option("--overwrite", is_flag=True, help="Start the output file afresh.")
@click.option("--batch-size", type=click.IntRange(min=1), default=BATCH, show_default=True, help="Texts at a time.")
@embeddings_option
@column_option
@format_option
@debug_option
def embed(
    file: str,
    output: str | None,
    overwrite: bool,
    batch_size: int,
    embeddings_spec: str,
    column: str | None,
    kind: str | None,
) -> None:
    """Turn each text of FILE ('-': standard input) into a vector.

    A line of JSONL is {"line": 1, "text": "...", "model": "...", "vector": [...]}; a .npy file holds float32, one
    row for each text. When -o names a file that an interrupted run left behind, the work goes on where it ended.
    """
    rows = read_rows(file, column=column, kind=kind)
    tell_blanks(rows)
    if output is None:
        _to_stdout(rows.rows, embeddings_spec, batch_size)
    else:
        _to_file(rows.rows, embeddings_spec, batch_size, Path(output), overwrite)


def tell_blanks(rows: Rows) -> None:
    """Say which rows of a table were left out because they hold no text."""
    if rows.blank_lines:
        shown = ", ".join(map(str, rows.blank_lines[:5])) + (", ..." if len(rows.blank_lines) > 5 else "")
        note(f"rows without text were left out: {len(rows.blank_lines)} (line {shown})")


def _to_stdout(rows: Sequence[Row], spec: str, batch_size: int) -> None:
    from chainkit.cli.vector_files import jsonl_row

    with waiting("embedding", len(rows)) as bar:
        model = _model(spec)
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            vectors = _vectors(model, batch)
            for row, vector in zip(batch, vectors, strict=True):
                say_json(jsonl_row(row, spec, vector))
            bar.to(start + len(batch))


def _to_file(rows: Sequence[Row], spec: str, batch_size: int, path: Path, overwrite: bool) -> None:
    from chainkit.cli.vector_files import vector_file

    with vector_file(path, rows, spec, overwrite=overwrite) as file:
        if file.done == len(rows):
            file.finish()
            note(f"{path} is complete already: {len(rows)} vectors; --overwrite makes it afresh")
            return
        if file.done:
            note(f"going on after {file.done} of {len(rows)} vectors that are in place")
        _fill(file, rows, spec, batch_size)
        file.finish()
    note(f"wrote {len(rows)} vectors to {path}")


def _fill(file: VectorFile, rows: Sequence[Row], spec: str, batch_size: int) -> None:
    with waiting("embedding", len(rows)) as bar:
        model = _model(spec)
        while file.done < len(rows):
            batch = rows[file.done : file.done + batch_size]
            file.add(batch, _vectors(model, batch))
            bar.to(file.done)


def _model(spec: str) -> Embeddings:
    from chainkit.registry import embeddings

    return embeddings(spec)


def _vectors(model: Embeddings, rows: Sequence[Row]) -> list[list[float]]:
    vectors = model.embed_documents([row.text for row in rows])
    if len(vectors) != len(rows):
        raise ChainkitError(f"the model gave {len(vectors)} vectors for {len(rows)} texts")
    return vectors
