"""`chainkit embed`: texts in, vectors out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.faults import keeps
from chainkit.cli.options import column_option, debug_option, embeddings_option, format_option, output_path
from chainkit.cli.rows import STDIN, InputRow, InputRows, read_rows
from chainkit.cli.screen import note, say_json


@click.command()
@click.argument("file")
@click.option(
    "-o", "--output", metavar="PATH", help="A .jsonl, .npy or .parquet file; by default JSONL on standard output."
)
@click.option("--overwrite", is_flag=True, help="Start the output file afresh.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), metavar="N", default=64, show_default=True, help="Texts at a time."
)
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

    A line of JSONL is {"line": 1, "text": "...", "model": "...", "vector": [...]}; a .parquet file has the same
    columns; a .npy file holds float32, one row for each text. When -o names the file of an interrupted run, the work
    resumes where it ended.
    """
    rows = read_rows(file, column=column, kind=kind)
    tell_blanks(rows)
    if output is None:
        _to_stdout(rows.rows, embeddings_spec, batch_size)
    else:
        if Path(output).exists() and file != STDIN and Path(output).samefile(file):
            raise ChainkitError(f"{output} is the file that is read; choose another name for the vectors")
        _to_file(rows.rows, embeddings_spec, batch_size, output, overwrite)


def tell_blanks(rows: InputRows) -> None:
    """Say which rows of a table were left out because they hold no text."""
    if rows.blank_lines:
        shown = ", ".join(map(str, rows.blank_lines[:5])) + (", ..." if len(rows.blank_lines) > 5 else "")
        note(f"rows without text were left out: {len(rows.blank_lines)} (line {shown})")


def _to_stdout(rows: Sequence[InputRow], spec: str, batch_size: int) -> None:
    from chainkit.cli.embedding import embedded
    from chainkit.cli.vector_files import jsonl_row

    left = iter(rows)
    texts = [row.text for row in rows]
    bar = not sys.stdout.isatty()  # there the lines themselves show how far it is
    with closing(embedded(texts, spec, batch_size, bar=bar)) as batches:
        for vectors in batches:
            for vector, row in zip(vectors, left, strict=False):
                say_json(jsonl_row(row, spec, vector))


def _to_file(rows: Sequence[InputRow], spec: str, batch_size: int, output: str, overwrite: bool) -> None:
    from chainkit.cli.embedding import embedded
    from chainkit.cli.vector_files import ENDINGS, vector_file

    path = output_path(output, ENDINGS)
    with vector_file(path, rows, spec, overwrite=overwrite) as file:
        keeps(lambda: f"{file.done} of {len(rows)} vectors are saved; run the same command again to continue")
        if file.done == len(rows):
            file.finish()
            note(f"{path} is complete already: {len(rows)} vectors; --overwrite makes it afresh")
            return
        if file.done:
            note(f"going on after {file.done} of {len(rows)} vectors that are in place")
        with closing(embedded([row.text for row in rows], spec, batch_size, file.done)) as batches:
            for vectors in batches:
                file.add(rows[file.done : file.done + len(vectors)], vectors)
        file.finish()
    note(f"wrote {len(rows)} vectors to {path}")
