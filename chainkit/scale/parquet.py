"""From lines of JSON to a Parquet file, a few thousand rows at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from chainkit.base.copying import put
from chainkit.base.errors import ChainkitError
from chainkit.scale.sources import arrow_parquet

_ROWS = 4096  # of a group


def write_parquet(rows: Path, output: Path) -> None:
    """Write a Parquet file of the rows of a JSONL file.

    A first pass finds the columns and their types over all rows, a second one writes.

    Raises:
        ChainkitError: A column holds values of types that have nothing in common.
        MissingLibrary: pyarrow is not installed.
    """
    parquet = arrow_parquet()
    import pyarrow

    part = output.with_name(output.name + ".part")
    try:
        schema = _schema(pyarrow, rows)
        with parquet.ParquetWriter(part, schema, compression="zstd") as writer:
            for group in _groups(rows):
                writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
    except pyarrow.ArrowException as error:
        raise ChainkitError(
            f"{output}: a column holds values of several types ({error}); all rows are in {rows.name}"
        ) from error
    put(part, output)


def _schema(pyarrow: Any, rows: Path) -> Any:
    schema = None
    for group in _groups(rows):
        here = pyarrow.Table.from_pylist(_with_all_names(group)).schema
        schema = here if schema is None else pyarrow.unify_schemas([schema, here], promote_options="permissive")
    return pyarrow.schema([]) if schema is None else schema


def _with_all_names(group: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """pyarrow takes the columns of the first row for all there are."""
    names = dict.fromkeys(name for row in group for name in row)
    return [dict.fromkeys(names), *group] if any(len(row) < len(names) for row in group) else group


def _groups(rows: Path) -> Iterator[list[dict[str, Any]]]:
    if not rows.exists():
        return
    with rows.open("rb") as file:
        while group := [json.loads(line) for line in islice(file, _ROWS)]:
            yield group
