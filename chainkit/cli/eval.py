"""`chainkit eval`: how well questions with known answers are answered."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.faults import without_keys
from chainkit.cli.indexes import chosen_index, index_option, tell_remarks
from chainkit.cli.options import chosen, debug_option, embeddings_option, json_option, model_options, trace_option
from chainkit.cli.screen import say, say_json, table, waiting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.language_models import BaseChatModel


@click.command("eval")
@click.argument("questions")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@model_options
@trace_option
@index_option
@embeddings_option
@click.option(
    "-k",
    "--passages",
    multiple=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="How many to find; may be given several times.",
)
@click.option("--least", type=click.FloatRange(0, 1), metavar="RECALL", help="End with status 1 if recall is lower.")
@json_option
@debug_option
def evaluate(
    questions: str,
    paths: tuple[str, ...],
    model_spec: str | None,
    temperature: float | None,
    max_tokens: int | None,
    index_spec: str | None,
    embeddings_spec: str,
    passages: tuple[int, ...],
    least: float | None,
    as_json: bool,
) -> None:
    """Ask QUESTIONS of files, folders or an index, and score retrieval and answers.

    QUESTIONS is a JSON lines file with "question", "places" (where the answer is, as "docs/bees.md:3" or
    "paper.pdf, page 2"), "answer" and "answerable" in each line. Without a model the nearest sentences are scored.
    Where some questions have no answer, a second table tells what each least confidence would refuse.

    Or it is a public set, which brings its own documents: a folder in the format of BEIR, Cranfield or CACM, or a
    JSON file like SQuAD's.
    """
    from chainkit.knowledge.evaluation import evaluate as scored
    from chainkit.knowledge.evaluation import read_questions
    from chainkit.knowledge.public import is_public_set

    if is_public_set(Path(questions)):
        if paths or index_spec:
            raise ChainkitError("a public set brings its own documents; leave out the paths and the index")
        return _public(Path(questions), embeddings_spec, as_json)
    asked = read_questions(questions)
    if not asked:
        raise ChainkitError(f"{questions}: holds no question")
    with chosen_index(paths, index_spec, embeddings_spec) as (index, report, bar):
        model = _model(model_spec, temperature, max_tokens)
        results = []
        for k in passages or (6,):
            bar.to(0, doing=f"asking {len(asked)} questions")
            results.append({"k": k} | asdict(scored(asked, index, model=model, k=k)))
    if as_json:
        say_json(
            {
                "model": without_keys(model_spec) if model_spec else None,
                "embeddings": embeddings_spec,
                "scores": results,
            }
        )
    else:
        names = [name for name in results[0] if name not in ("k", "curve")]
        table(
            ["", *(str(one["k"]) for one in results)],
            [[_named(n), *(_shown(r[n]) for r in results)] for n in names],
        )
        if not all(one.answerable for one in asked):
            _tell_curve(results)
    tell_remarks(report)
    if least is not None and (results[0]["recall"] or 0.0) < least:
        raise ChainkitError(f"recall is {_shown(results[0]['recall'])}, below {least}")
    return None


def _tell_curve(results: Sequence[Mapping[str, Any]]) -> None:
    """What other thresholds of confidence would refuse, of the questions without an answer and of the others."""
    ks = [one["k"] for one in results]
    columns = [f"{_named(name)}, {k}" for k in ks for name in ("refused", "wrongly_refused")]
    rows = [
        [
            f"{same[0]['confidence']:.1f}",
            *(_shown(one[name]) for one in same for name in ("refused", "wrongly_refused")),
        ]
        for same in zip(*(one["curve"] for one in results), strict=True)
    ]
    say("")
    table(["min confidence", *columns], rows)


def _public(path: Path, embeddings_spec: str, as_json: bool) -> None:
    from chainkit.knowledge.public import measured, read_public_set
    from chainkit.registry import embeddings

    with waiting("loading") as bar:
        found = read_public_set(path)
        rows = measured(
            found, embeddings(embeddings_spec), progress=lambda stage, done, all_: bar.to(done, all_, stage)
        )
    if as_json:
        say_json({"documents": len(found.documents), "questions": len(found.questions), "scores": rows})
        return
    columns = ["", "nDCG@10", "recall@10", "MRR"]
    table(columns, [[name, *(_shown(row[score]) for score in ("ndcg", "recall", "mrr"))] for name, row in rows.items()])


def _model(spec: str | None, temperature: float | None, max_tokens: int | None) -> BaseChatModel | None:
    from chainkit.registry import chat_model

    return chat_model(spec, **chosen(temperature=temperature, max_tokens=max_tokens)) if spec else None


def _named(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
