"""The index that a command works on: a file of the user's own, or the one that is kept of some paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from chainkit.cli.screen import note, waiting

if TYPE_CHECKING:
    from chainkit.cli.screen import Silence, Waiting
    from chainkit.knowledge import Index, Report, VectorStoreIndex

index_option = click.option(
    "--index",
    "index_spec",
    metavar="FILE",
    envvar="CHAINKIT_INDEX",
    show_envvar=True,
    help="An index of your own: a file, or a vector store like qdrant://localhost:6333/notes.",
)

filter_option = click.option(
    "--filter", "filters", multiple=True, metavar="NAME=VALUE", help="Only passages with this path, page or metadata."
)


def named_index(paths: Sequence[str], index_spec: str | None) -> str | None:
    """The index to open, or None where paths are to be read; paths win over an index of the environment.

    Raises:
        UsageError: Neither is given, or both are.
    """
    context = click.get_current_context()
    if paths and context.get_parameter_source("index_spec") is ParameterSource.ENVIRONMENT:
        return None
    if bool(paths) == bool(index_spec):
        beside = "" if paths else '; to ask a model without documents: chainkit chat "..."'
        raise click.UsageError(f"name either files and folders to look in, or an index with --index{beside}")
    return index_spec


@contextmanager
def chosen_index(
    paths: Sequence[str], index_spec: str | None, embeddings_spec: str
) -> Iterator[tuple[Index | VectorStoreIndex, Report, Waiting | Silence]]:
    """The index of these paths, up to date, or the one named; and a bar that is still to be used.

    Raises:
        UsageError: Neither is given, or both are.
    """
    index_spec = named_index(paths, index_spec)
    from chainkit.knowledge import Index, Report
    from chainkit.knowledge.answer.asking import kept_index
    from chainkit.registry import embeddings

    with waiting("loading") as bar:
        model = embeddings(embeddings_spec)
        if index_spec:
            index, report = Index.open(index_spec, model), Report()
        else:
            index, report = kept_index(list(paths), model, progress=lambda stage, done, all_: bar.to(done, all_, stage))
        try:
            yield index, report, bar
        finally:
            index.close()


def wanted(filters: Sequence[str]) -> dict[str, Any] | None:
    """Options like `page=3` as a filter; a name that comes twice means any of its values.

    >>> wanted(["page=3", "path=docs", "path=notes"])
    {'page': 3, 'path': ['docs', 'notes']}
    """
    found: dict[str, list[str | int]] = {}
    for one in filters:
        name, sign, value = one.partition("=")
        if not name.strip() or not sign:
            raise click.UsageError(f"--filter takes NAME=VALUE, not '{one}'")
        found.setdefault(name.strip(), []).append(int(value) if value.isascii() and value.isdecimal() else value)
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()} or None


def tell_remarks(report: Report) -> None:
    """Name the files that were skipped, or read with a reservation."""
    for remark in (*report.skipped, *report.notes):
        note(str(remark))
