"""`chainkit search`: the passages that fit a question best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.indexes import chosen_index, filter_option, index_option, tell_remarks, wanted
from chainkit.cli.options import debug_option, embeddings_option, json_option
from chainkit.cli.screen import note, say, say_json

if TYPE_CHECKING:
    from chainkit.knowledge import Hit

_SHOWN_CHARACTERS = 400


@click.command()
@click.argument("query")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@index_option
@embeddings_option
@click.option(
    "-k", "--passages", type=click.IntRange(min=1), metavar="N", default=6, show_default=True, help="How many to show."
)
@filter_option
@click.option(
    "--min-similarity", type=click.FloatRange(-1, 1), default=-1.0, metavar="COSINE", help="Leave out lower ones."
)
@click.option(
    "--dense-weight",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="1 searches by meaning alone, 0 by words alone; by default each question decides.",
)
@click.option("--rerank", metavar="SPEC", help="Language model that puts the passages in order.")
@click.option("--full", is_flag=True, help="Show the whole text of each passage.")
@json_option
@debug_option
def search(
    query: str,
    paths: tuple[str, ...],
    index_spec: str | None,
    embeddings_spec: str,
    passages: int,
    filters: tuple[str, ...],
    min_similarity: float,
    dense_weight: float | None,
    rerank: str | None,
    full: bool,
    as_json: bool,
) -> None:
    """Show the passages that fit QUERY best, from files, folders and patterns, or from an index.

    Hybrid search: by embeddings and by words (BM25). The index is kept in the cache folder, as by 'chainkit ask'.
    """
    if not query.strip():
        raise ChainkitError("the query is empty")
    with chosen_index(paths, index_spec, embeddings_spec) as (index, report, bar):
        bar.to(0, doing="searching")
        hits = index.find(
            query,
            passages,
            filter=wanted(filters),
            dense_weight=dense_weight,
            min_similarity=min_similarity,
            join_adjacent=True,
            reranker=_reranker(rerank),
        )
    if as_json:
        say_json([_as_json(hit) for hit in hits])
    for number, hit in enumerate(() if as_json else hits, 1):
        _show(number, hit, full)
    if not hits and not as_json:
        note("nothing fits")
    tell_remarks(report)


def _reranker(spec: str | None) -> Any:
    if spec is None:
        return None
    from chainkit.knowledge import ModelReranker
    from chainkit.registry import chat_model

    return ModelReranker(model=chat_model(spec))


def _show(number: int, hit: Hit, full: bool) -> None:
    passage = hit.passage
    headings = f"  {' > '.join(passage.headings)}" if passage.headings else ""
    say(f"{number}. {passage.place}  {hit.score:.2f}{headings}")
    text = passage.text if full else " ".join(passage.text.split())
    say(text if full or len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}...")
    say("")


def _as_json(hit: Hit) -> dict[str, Any]:
    passage = hit.passage
    return {
        "path": passage.path,
        "page": passage.page,
        "first_line": passage.first_line,
        "last_line": passage.last_line,
        "headings": list(passage.headings),
        "text": passage.text,
        "score": round(hit.score, 6),
        "meaning": round(hit.meaning, 6),
        "words": round(hit.words, 6),
        "metadata": dict(hit.metadata),
    }
