from __future__ import annotations

import json
from pathlib import Path


def test_a_python_function_is_mapped_and_goes_on(run) -> None:
    Path("mine.py").write_text("def up(row):\n    return row['text'].upper()\n")
    Path("in.jsonl").write_text('{"text": "a"}\n{"text": 1}\n')
    done = run("map", "mine.py:up", "in.jsonl", "out.jsonl")
    assert done.exit_code == 0
    assert "1 rows failed: out.jsonl.failed.jsonl" in done.stderr
    assert json.loads(Path("out.jsonl").read_text("utf-8")) == {"_row": 1, "text": "a", "output": "A"}
    assert "by earlier runs" in run("map", "mine.py:up", "in.jsonl", "out.jsonl").stderr


def test_a_model_is_asked_with_a_prompt_of_the_columns(run) -> None:
    Path("in.csv").write_text("name,place\nAda,Ulm\n")
    done = run("map", "fake:", "in.csv", "out.csv", "--prompt", "{name} of {place}", "--into", "said", "--json")
    assert json.loads(done.stdout)["tokens"] == 6
    assert Path("out.csv").read_text("utf-8") == "_row,name,place,said\n1,Ada,Ulm,Ada of Ulm\n"


def test_a_program_runs_on_each_row(run) -> None:
    Path("p.ck").write_text("{{name}}!{{gen 'rest' max_tokens=3}}")
    Path("in.jsonl").write_text('{"name": "Ada"}\n')
    done = run("map", "p.ck", "in.jsonl", "out.jsonl", "--model", "fake:?reply=yes", "--results-only")
    assert done.exit_code == 0, done.stderr
    assert json.loads(Path("out.jsonl").read_text("utf-8")) == {"_row": 1, "output": {"rest": "yes"}}


def test_embeddings_are_named_as_such(run) -> None:
    Path("in.jsonl").write_text('"a"\n"b"\n')
    assert run("map", "embeddings:fake:?dimensions=8", "in.jsonl", "out.jsonl").exit_code == 0
    assert len(json.loads(Path("out.jsonl").read_text("utf-8").splitlines()[1])["output"]) == 8


def test_a_budget_that_is_spent_is_told(run) -> None:
    Path("in.jsonl").write_text('{"text": "one two three"}\n' * 30)
    done = run("map", "fake:", "in.jsonl", "out.jsonl", "--column", "text", "--max-total-tokens", "20")
    assert "stopped: max_tokens of 20 is spent" in done.stderr


def test_a_name_that_a_file_lacks_is_a_named_error(run) -> None:
    Path("mine.py").write_text("x = 1\n")
    Path("in.jsonl").write_text("1\n")
    assert "has no 'y'" in run("map", "mine.py:y", "in.jsonl", "out.jsonl").stderr
    assert "no such file" in run("map", "other.py:y", "in.jsonl", "out.jsonl").stderr
