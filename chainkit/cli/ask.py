"""`chainkit ask`: a question answered from files, with citations."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError, NoModel
from chainkit.cli.faults import without_keys
from chainkit.cli.indexes import index_option, named_index
from chainkit.cli.options import (
    chosen,
    debug_option,
    embeddings_option,
    json_option,
    model_options,
    style_option,
    trace_option,
)
from chainkit.cli.screen import note, say, say_json, waiting

if TYPE_CHECKING:
    from chainkit.knowledge import Answer, AnswerStream
    from chainkit.knowledge.answer.ways import Style


@click.command()
@click.argument("question")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@model_options
@trace_option
@index_option
@embeddings_option
@click.option(
    "-k",
    "--passages",
    type=click.IntRange(min=1),
    metavar="N",
    default=6,
    show_default=True,
    help="How many the answer rests on.",
)
@click.option("--extract", is_flag=True, help="The same as --style extract: ask no language model.")
@style_option
@click.option("--no-cache", is_flag=True, help="Read all files anew and keep nothing of them in the cache folder.")
@json_option
@debug_option
def ask(
    question: str,
    paths: tuple[str, ...],
    model_spec: str | None,
    temperature: float | None,
    max_tokens: int | None,
    index_spec: str | None,
    embeddings_spec: str,
    passages: int,
    extract: bool,
    style: Style | None,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Answer QUESTION from text, Markdown, HTML, PDF, DOCX and other files, folders, or patterns like 'docs/**/*.md',
    or from an index.

    The answer cites its sources by file and line or page. Without a language model the sentences that come nearest
    to the question are shown; a small one says them in one sentence, a large one writes in full. If the documents do
    not hold the answer, it says so. The index is kept in the cache folder, so that the next question is quick.
    """
    if not question.strip():
        raise ChainkitError("the question is empty")
    index_spec = named_index(paths, index_spec)
    from chainkit.knowledge import Index, ask_stream
    from chainkit.registry import answering, embeddings

    extract = extract or style == "extract"
    spec = None if extract else _spec(model_spec)
    with waiting("loading") as bar, ExitStack() as opened:
        vectors = embeddings(embeddings_spec)
        model = answering(spec, **chosen(temperature=temperature, max_tokens=max_tokens)) if spec else None
        stream = ask_stream(
            question,
            opened.enter_context(Index.open(index_spec, vectors)) if index_spec else list(paths),
            model=model,
            embeddings=vectors,
            k=passages,
            keep_index=not no_cache,
            progress=lambda stage, done, total: bar.to(done, total, stage),
            style=style if spec else None,
            **chosen(answer_tokens=max_tokens),
        )
        bar.to(0, doing="thinking")
        if as_json:
            say_json(_as_json(stream.answer, spec))
            return
        _write(stream, bar.stop)
    _tell(stream.answer, extract)


def _spec(named: str | None) -> str | None:
    from chainkit.registry import default_spec

    try:
        return named or default_spec()
    except NoModel:
        return None


def _write(stream: AnswerStream, begin: Any) -> None:
    for piece in stream:
        begin()
        say(piece, end="")
    say("")
    answer = stream.answer
    shown = {str(citation): citation.quote for citation in answer.citations}
    if shown:
        say("")
    for place, quote in shown.items():
        say(place if answer.style != "full" else f"{place}: {_shortened(quote)}")


def _tell(answer: Answer, extract: bool) -> None:
    """Notes for the reader beside the answer."""
    if answer.notice and not extract:
        note(answer.notice)
    for remark in (*answer.skipped, *answer.notes):
        note(str(remark))
    if answer.left_out:
        note(f"passages that did not fit into the model's context: {answer.left_out}")
    if answer.removed_citations:
        note(f"citations of passages that do not exist were taken out: {answer.removed_citations}")
    tell_faults(answer)


def tell_faults(answer: Answer) -> None:
    """Print each fault in the text of a model, one a line."""
    if answer.repeated:
        note("the model was stopped: it repeats itself")
    if answer.unsupported:
        total = answer.sentences
        note(f"not in the sources ({len(answer.unsupported)} of {total}): {_shortened('; '.join(answer.unsupported))}")


def _shortened(text: str, most: int = 160) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 3]}..."


def _as_json(answer: Answer, spec: str | None) -> dict[str, Any]:
    return {
        "question": answer.question,
        "text": answer.text,
        "answered": answer.answered,
        "outcome": answer.outcome,
        "confidence": round(answer.confidence, 3),
        "style": answer.style,
        "model": without_keys(spec) if spec else None,
        "citations": [asdict(citation) for citation in answer.citations],
        "usage": answer.usage,
        "unsupported": list(answer.unsupported),
        "repeated": answer.repeated,
        "removed_citations": answer.removed_citations,
        "left_out": answer.left_out,
        "skipped": [str(remark) for remark in answer.skipped],
        "notes": [str(remark) for remark in answer.notes],
        "notice": answer.notice,
    }
