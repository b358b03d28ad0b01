"""`chainkit cache`: show and clear the caches of answers and prompt prefixes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from chainkit.cli.options import debug_option, json_option
from chainkit.cli.screen import amount, note, say, say_json, table

if TYPE_CHECKING:
    from chainkit.base.answer_store import AnswerCounts

KINDS = ("answer", "program", "prefix")
_MEANING = {"answer": "answers of models", "program": "slots of programs", "prefix": "beginnings, 64 tokens each"}


@click.group()
@debug_option
def cache() -> None:
    """Show or clear the caches of answers and prompt prefixes."""


@cache.command("show")
@json_option
@debug_option
def show(as_json: bool) -> None:
    """Show how much is kept and how often it was of use."""
    from chainkit.base.answer_store import answers_path
    from chainkit.local.prefix_files import kept_prefixes
    from chainkit.scale.answer_cache import open_store

    path, prefixes = answers_path(), kept_prefixes()
    counts: dict[str, AnswerCounts] = {}
    if path.exists():
        store = open_store(path)
        try:
            counts = store.counts()
        finally:
            store.close()
    blocks, nbytes = prefixes.size()
    if as_json:
        kept = {"folder": str(prefixes.folder), "entries": blocks, "bytes": nbytes}
        kinds = {kind: asdict(one) for kind, one in counts.items()}
        say_json({"path": str(path), "kinds": kinds, "prefixes": kept})
        return
    rows = [[_MEANING.get(kind, kind), *_cells(one)] for kind, one in counts.items()]
    if blocks:
        rows.append([_MEANING["prefix"], f"{blocks:,}", amount(nbytes), "", "", ""])
    if not rows:
        say(f"nothing is kept in {path} or {prefixes.folder}")
        return
    table(["kind", "kept", "size", "hits", "misses", "evicted"], rows)
    say(str(path) if counts else str(prefixes.folder))


def _cells(counts: AnswerCounts) -> list[str]:
    numbers = (counts.hits, counts.misses, counts.evicted)
    return [f"{counts.entries:,}", amount(counts.bytes), *(f"{number:,}" for number in numbers)]


@cache.command("clear")
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS), metavar="[answer|program|prefix]...")
@debug_option
def clear(kinds: tuple[str, ...]) -> None:
    """Clear the caches of these kinds, or all."""
    from chainkit.base.answer_store import answers_path
    from chainkit.local.prefix_files import kept_prefixes
    from chainkit.scale.answer_cache import open_store

    path, answers = answers_path(), [kind for kind in kinds if kind != "prefix"]
    if path.exists() and (answers or not kinds):
        store = open_store(path)
        try:
            store.clear(answers or None)
        finally:
            store.close()
    if "prefix" in kinds or not kinds:
        kept_prefixes().clear()
    note(f"cleared: {', '.join(kinds) or 'all that is kept of answers and prompts'}")
