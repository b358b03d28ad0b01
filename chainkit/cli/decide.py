"""`chainkit decide`: typed questions about each text of a file, answered with probabilities."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import click

from chainkit.base.errors import ChainkitError, DocumentError
from chainkit.cli.faults import without_keys
from chainkit.cli.options import debug_option, json_option, model_options, trace_option
from chainkit.cli.rows import read_rows, read_text
from chainkit.cli.screen import load, say, say_json, waiting


@click.command()
@click.argument("file")
@model_options
@trace_option
@click.option("--yes-no", "nouls", multiple=True, metavar="NAME=QUESTION", help="A question for yes or no.")
@click.option("--choice", "choices", multiple=True, metavar="NAME=QUESTION: A, B, C", help="A question with labels.")
@click.option(
    "--score", "scores", multiple=True, metavar="NAME=QUESTION: LOW, ..., HIGH", help="One with levels from 0."
)
@click.option("--column", metavar="NAME", help="The column or field that holds the text.")
@click.option("--format", "kind", type=click.Choice(["lines", "csv", "tsv", "jsonl"]), help="How FILE is read.")
@click.option(
    "--calibration", metavar="PATH", help="Probabilities fitted before; with --calibrate, where to keep them."
)
@click.option("--calibrate", is_flag=True, help="Fit to FILE, whose columns named as the questions hold the answers.")
@json_option
@debug_option
def decide(
    file: str,
    model_spec: str | None,
    temperature: float | None,
    max_tokens: int | None,
    nouls: tuple[str, ...],
    choices: tuple[str, ...],
    scores: tuple[str, ...],
    column: str | None,
    kind: str | None,
    calibration: str | None,
    calibrate: bool,
    as_json: bool,
) -> None:
    """Answer questions about each text of FILE: a line, or a row of CSV or JSONL; '-' reads standard input.

    The answers are written as CSV, or with --json as one JSON object a line.
    """
    questions = _questions(nouls, choices, scores)
    from chainkit.decisions.model import decision_model
    from chainkit.registry import answering, default_spec

    spec = model_spec or default_spec()
    with waiting("loading the model") as bar:
        model = answering(spec)
        load(model, bar)
    decides = decision_model(model, calibration=None if calibrate else calibration)
    if calibrate:
        _calibrate(decides, file, column, kind, questions, calibration)
        return
    texts = read_rows(file, column=column, kind=kind).texts
    with waiting("deciding"):
        answers = decides.batch([{"state": text, "questions": questions} for text in texts])
    rows = [_row(text, found) for text, found in zip(texts, answers, strict=True)]
    if as_json:
        for row in rows:
            say_json({"model": without_keys(spec), **row})
        return
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    say(table.getvalue(), end="")


def _questions(nouls: tuple[str, ...], choices: tuple[str, ...], scores: tuple[str, ...]) -> dict[str, Any]:
    from chainkit.decisions import choice, score, yes_no

    found: dict[str, Any] = {}
    for given in nouls:
        name, question = _named(given)
        found[name] = yes_no(question)
    for make, all_given in ((choice, choices), (score, scores)):
        for given in all_given:
            name, question = _named(given)
            text, colon, listed = question.rpartition(":")
            options = [option.strip() for option in listed.split(",") if option.strip()]
            if not colon or len(options) < 2:
                raise ChainkitError(f"'{given}' names no options; write NAME=QUESTION: FIRST, SECOND")
            found[name] = make(text.strip(), options)
    if not found:
        raise ChainkitError("there is no question; give --yes-no, --choice or --score")
    return found


def _named(given: str) -> tuple[str, str]:
    name, sign, question = given.partition("=")
    if not sign or not name.strip() or not question.strip():
        raise ChainkitError(f"'{given}' has no name; write NAME=QUESTION")
    return name.strip(), question.strip()


def _row(text: str, found: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"text": text}
    for name, answer in found.answers.items():
        match answer.type:
            case "noul":
                row[name] = round(answer.noul, 4)
            case "choice":
                row |= {name: answer.choice, f"{name}_confidence": round(answer.confidence, 4)}
            case _:
                row |= {name: round(answer.score, 4), f"{name}_confidence": round(answer.confidence, 4)}
    return row


def _calibrate(
    decides: Any, file: str, column: str | None, kind: str | None, questions: dict[str, Any], path: str | None
) -> None:
    if path is None:
        raise ChainkitError("say with --calibration where the fitted probabilities are to be kept")
    with waiting("deciding"):
        fitted, reports = decides.calibrate(_examples(file, column, kind, questions), questions)
    fitted.save(path)
    for name, report in reports.items():
        say(f"{name}\n{report}\n")
    say(f"kept in {path}")


def _examples(file: str, column: str | None, kind: str | None, questions: dict[str, Any]) -> list[Any]:
    kind = kind or Path(file).suffix.lower().lstrip(".")
    text = read_text(file)
    if kind in ("jsonl", "ndjson"):
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    elif kind in ("csv", "tsv"):
        rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if kind == "tsv" else ","))
    else:
        raise DocumentError(file, "lines have no answers; calibrate on a CSV or JSONL file")
    column = column or "text"
    if not rows or column not in rows[0]:
        raise DocumentError(file, f"has no column '{column}'; name the one with the text by --column")
    return [(row[column], {name: row[name] for name in questions if row.get(name) not in (None, "")}) for row in rows]
