"""Examples to learn from: pairs of a prompt and its answer, from files or from Python."""

from __future__ import annotations

import csv
import io
import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from chainkit.base import tables
from chainkit.base.errors import BadExamples, nearest, of_system

# columns that people use, in the order of preference
_PROMPTS = ("prompt", "input", "question", "instruction", "act", "source")
_ANSWERS = ("answer", "completion", "output", "response", "prompt", "target", "label")
_TEXTS = ("text", "content")
_SHOWN = 6
_FEWEST = 4


class Example(NamedTuple):
    """A prompt, and the answer the model should write."""

    prompt: str
    answer: str


Given = str | os.PathLike[str] | Iterable[Any]


def read_examples(given: Given, prompt: str | None = None, answer: str | None = None) -> list[Example]:
    """Examples from a CSV or JSONL file, a datasets object, or pairs.

    >>> read_examples([("2 + 2 =", " 4"), {"question": "3 + 3 =", "answer": " 6"}])
    [Example(prompt='2 + 2 =', answer=' 4'), Example(prompt='3 + 3 =', answer=' 6')]

    Args:
        given: Path of a .csv, .tsv or .jsonl file; or pairs, or mappings as a dataset gives them.
        prompt: The column of prompts; found by usual names by default.
        answer: The column of answers.

    Raises:
        BadExamples: Something else was given, a text is missing or blank, or there are no examples.
    """
    rows = _file_rows(Path(given)) if isinstance(given, str | os.PathLike) else _numbered(given)
    examples: list[Example] = []
    columns: tuple[str, str] | None = None
    for place, row in rows:
        if isinstance(row, Mapping):
            columns = columns or _columns(list(map(str, row)), prompt, answer)
            row = tuple(row.get(name) for name in columns)
        examples.append(_example(place, row))
    if not examples:
        raise BadExamples(f"{_name(given)} holds no examples")
    return examples


def read_texts(given: Given, column: str | None = None) -> list[str]:
    """Texts to train on, from a .txt file (paragraphs between blank lines), a CSV or JSONL file, or Python.

    Raises:
        BadExamples: Something else was given, or there are no texts.
    """
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        if path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".ndjson"):
            texts = [_field(place, row, column) for place, row in _file_rows(path)]
        else:
            texts = _text_of(path).split("\n\n")
    else:
        texts = [row if isinstance(row, str) else _field(place, row, column) for place, row in _numbered(given)]
    found = [text.strip() for text in texts if text.strip()]
    if not found:
        raise BadExamples(f"{_name(given)} holds no text")
    return found


def held_out_apart(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Those to train on and those to measure with; prompts that are alike stay on one side.

    Raises:
        BadExamples: There are too few.
    """
    prompts = sorted({example.prompt for example in examples})
    if len(prompts) < _FEWEST:
        raise BadExamples(
            f"{len(prompts)} different prompts are too few: at least {_FEWEST} are needed, so that one can be kept to "
            "measure with; 50 make a good start"
        )
    random.Random(seed).shuffle(prompts)  # noqa: S311 - no secret
    apart = set(prompts[: max(1, round(len(prompts) * share))])
    held = [example for example in examples if example.prompt in apart]
    return [example for example in examples if example.prompt not in apart], held


def _numbered(given: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise BadExamples(f"examples are a file, a dataset or pairs (prompt, answer), not a {type(given).__name__}")
    return ((f"example {number}", row) for number, row in enumerate(given, 1))


def _example(place: str, row: Any) -> Example:
    if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != 2:
        raise BadExamples(f"{place} is not a pair (prompt, answer): {str(row)[:60]!r}")
    for word, text in zip(("prompt", "answer"), row, strict=True):
        if not isinstance(text, str):
            raise BadExamples(f"{place}: the {word} is {text!r:.60} and no text")
    if not row[1].strip():
        raise BadExamples(f"{place} has no answer, so there is nothing to learn from it")
    return Example(*row)


def _columns(names: Sequence[str], prompt: str | None, answer: str | None) -> tuple[str, str]:
    asked = prompt or next((name for name in _PROMPTS if name in names), None)
    replied = answer or next((name for name in _ANSWERS if name in names and name != asked), None)
    if set(names) == {"act", "prompt"} and prompt is answer is None:
        asked, replied = "act", "prompt"  # awesome-chatgpt-prompts
    for wish, found in ((prompt, asked), (answer, replied)):
        if found is None or found not in names:
            hint = nearest(wish, names) if wish else None
            advice = f"did you mean '{hint}'?" if hint else f"columns: {', '.join(names[:_SHOWN])}"
            missing = f"no column '{wish}'" if wish else "no columns that look like prompt and answer"
            raise BadExamples(f"{missing}; {advice}")
    assert asked is not None
    assert replied is not None
    return asked, replied


def _field(place: str, row: Any, column: str | None) -> str:
    if not isinstance(row, Mapping):
        raise BadExamples(f"{place} is a {type(row).__name__} and no text")
    name = column or next((name for name in _TEXTS if name in row), None)
    if name is None or not isinstance(row.get(name), str):
        raise BadExamples(f"{place} has no text in a column '{name or 'text'}'; columns: {', '.join(row)[:200]}")
    return row[name]


def _file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    path = path.expanduser()
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        return _table_rows(path, "\t" if kind == ".tsv" else None)
    if kind in (".jsonl", ".ndjson"):
        return _json_rows(path)
    raise BadExamples(f"{path}: examples are read from .csv, .tsv and .jsonl files")


def _table_rows(path: Path, delimiter: str | None) -> Iterator[tuple[str, Any]]:
    text = _text_of(path)
    rows = tables.records(io.StringIO(text, newline=""), tables.dialect(text, delimiter), strict=True)
    try:
        header = next(rows, None)
        for row in rows:
            assert header is not None
            if len(row.cells) != len(header.cells):
                raise BadExamples(f"{path}, line {row.last_line}: not as many cells as the first line has")
            yield f"{path}, line {row.last_line}", dict(zip(header.cells, row.cells, strict=True))
    except csv.Error as error:
        raise BadExamples(f"{path}, {error}") from error


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    # not splitlines(): that cuts at form feeds and other characters that belong to a text
    for number, line in enumerate(_text_of(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"{path}, line {number}", json.loads(line)
        except ValueError as error:
            raise BadExamples(f"{path}, line {number} is not JSON: {error}") from error


def _text_of(path: Path) -> str:
    try:
        return path.expanduser().read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadExamples(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise BadExamples(f"{path}: {of_system(error)}") from error


def _name(given: Any) -> str:
    return str(given) if isinstance(given, str | os.PathLike) else "what was given"
