"""`chainkit index`: documents embedded once and kept, or moved to a vector store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.faults import keeps
from chainkit.cli.indexes import index_option, tell_remarks
from chainkit.cli.options import debug_option, embeddings_option, json_option, require_folder_of
from chainkit.cli.screen import say, say_json, waiting

if TYPE_CHECKING:
    from chainkit.knowledge import Report

_COUNTED = ("indexed", "unchanged", "removed", "skipped")


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@index_option
@embeddings_option
@click.option("--target-tokens", type=click.IntRange(min=10), metavar="N", help="Size of a passage; 100 by default.")
@click.option(
    "--follow-links/--no-follow-links",
    default=None,
    help="Whether links that lead out of a folder are followed; kept for the next updates. They are not by default.",
)
@click.option("--to", "target", metavar="SPEC", help="Copy the index to a vector store, like qdrant://host:6333/notes.")
@click.option("--strict", is_flag=True, help="End with status 1 if a file could not be read.")
@json_option
@debug_option
def index(
    paths: tuple[str, ...],
    index_spec: str | None,
    embeddings_spec: str,
    target_tokens: int | None,
    follow_links: bool | None,
    target: str | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Read files, folders, patterns and web pages into an index, or bring an index up to date.

    Without --index the index is the one that 'chainkit ask' and 'chainkit search' keep of these paths. With --index
    FILE the paths are added to those that it follows. Unchanged files are not read again. --to copies the index to a
    vector store; only passages new since the last time are sent.
    """
    if not paths and not index_spec:
        raise click.UsageError("name files or folders, or an index with --index")
    if "://" in (index_spec or ""):
        raise ChainkitError("--index is a file here; --to names the vector store that it is copied to")
    from chainkit.knowledge import Index
    from chainkit.knowledge.answer.asking import index_file
    from chainkit.registry import embeddings

    started = time.perf_counter()
    with waiting("loading") as bar:
        model = embeddings(embeddings_spec)
        file = Path(index_spec) if index_spec else index_file(list(paths), model)
        if not index_spec:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        require_folder_of(file)
        settings: dict[str, Any] = {"target_tokens": target_tokens} if target_tokens else {}
        if not paths and not file.is_file():
            raise ChainkitError(f"{file}: there is no such index; name files or folders to make it from")
        new = not file.exists()
        keeps(lambda: f"the files read so far are in {file}; run the same command again to continue")
        with Index(file, model, follow_links=follow_links, **settings) as made:

            def tell(stage: str, done: int, total: int) -> None:
                bar.to(done, total, stage)

            report = made.add(list(paths), progress=tell) if paths else made.update(progress=tell)
            moved = made.copy_to(target, progress=tell) if target else None
            size = len(made)
        if new and not size:  # else it would go on looking for a misspelt path
            for ending in ("", "-lock"):
                Path(f"{file}{ending}").unlink(missing_ok=True)
    facts = {
        "index": str(file),
        "passages": size,
        **{name: len(getattr(report, name)) for name in _COUNTED},
        **({"sent": moved.sent, "taken_back": moved.removed} if moved else {}),
        "seconds": round(time.perf_counter() - started, 3),
    }
    _tell(report, facts, as_json)
    if not size or (strict and report.skipped):
        raise ChainkitError(
            "nothing was indexed" if not size else f"files that could not be read: {len(report.skipped)}"
        )


def _tell(report: Report, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say_json(facts | {"remarks": [str(remark) for remark in (*report.skipped, *report.notes)]})
        return
    tell_remarks(report)
    words = ", ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in ("indexed", "unchanged", "removed"))
    say(f"{facts['passages']} passages: files {words}, could not be read {facts['skipped']}")
    if "sent" in facts:
        say(f"copied: sent {facts['sent']}, taken back {facts['taken_back']}")
    if facts["passages"]:
        say(f"index: {facts['index']}")
