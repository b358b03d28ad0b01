"""`chainkit cache`: what is kept of answers and prefixes, and how to be rid of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from chainkit.cli.options import debug_option, json_option
from chainkit.cli.screen import amount, note, say, say_json, table

if TYPE_CHECKING:
    from chainkit.base.answer_store import AnswerCounts

KINDS = ("answer", "program")
_MEANING = {"answer": "answers of models", "program": "slots of programs"}


@click.group()
@debug_option
def cache() -> None:
    """Show or clear what is kept of answers, so that they need not be computed again."""


@cache.command("show")
@json_option
@debug_option
def show(as_json: bool) -> None:
    """Show how much is kept and how often it was of use."""
    from chainkit.base.answer_store import answers_path
    from chainkit.scale.answer_cache import open_store

    path = answers_path()
    counts: dict[str, AnswerCounts] = {}
    if path.exists():
        store = open_store(path)
        try:
            counts = store.counts()
        finally:
            store.close()
    if as_json:
        say_json({"path": str(path), "kinds": {kind: asdict(one) for kind, one in counts.items()}})
        return
    if not counts:
        say(f"nothing is kept in {path}")
        return
    rows = [[_MEANING.get(kind, kind), *_told(one)] for kind, one in counts.items()]
    table(["kind", "kept", "size", "hits", "misses", "evicted"], rows)
    say(str(path))


def _told(counts: AnswerCounts) -> list[str]:
    numbers = (counts.hits, counts.misses, counts.evicted)
    return [f"{counts.entries:,}", amount(counts.bytes), *(f"{number:,}" for number in numbers)]


@cache.command("clear")
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS), metavar="[answer|program]...")
@debug_option
def clear(kinds: tuple[str, ...]) -> None:
    """Forget answers of these kinds, or of all."""
    from chainkit.base.answer_store import answers_path
    from chainkit.scale.answer_cache import open_store

    path = answers_path()
    if path.exists():
        store = open_store(path)
        try:
            store.clear(kinds or None)
        finally:
            store.close()
    note(f"cleared: {', '.join(kinds) or 'all that is kept of answers'}")
