"""What --trace keeps, chainkit log shows."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chainkit.observe import log
from chainkit.observe.step import Step

NOW = datetime.now(UTC)


def step(number: int, days: float, **values: object) -> Step:
    model = {"kind": "model", "name": "M", "provider": "openai", "model": "gpt-4o", "messages": (("human", "why?"),)}
    fields = {**model, "answer": "so", "seconds": 1.5, "input_tokens": 10, "output_tokens": 4, "cost": 0.25, **values}
    return Step(id=f"{number:032x}", started=NOW - timedelta(days=days), **fields)  # type: ignore[arg-type]


@pytest.fixture
def kept() -> None:
    """Three runs: today's, a failed one of last week, and a chain with two models of last month."""
    inner = (step(4, 30), step(5, 30, provider="mistral", model="small", input_tokens=None, cost=None))
    chain = step(3, 30, kind="chain", name="RunnableSequence", provider="", model="", children=inner, messages=())
    failed = step(2, 7, error="RateLimited('later')", messages=(("human", "50% off?"),))
    log.write("own.sqlite", [chain, failed, step(1, 0)])


def ids(run, *options: str) -> list[int]:
    result = run("log", *options, "--json", "--file", "own.sqlite")
    assert result.exit_code == 0, result.stderr
    return [int(row["id"].replace("-", ""), 16) for row in json.loads(result.stdout)]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], [1, 2, 3]),
        (["list"], [1, 2, 3]),
        (["-n", "2"], [1, 2]),
        (["--errors"], [2]),
        (["--text", "50%"], [2]),
        (["--text", "50_"], []),
        (["--model", "mistral:small"], [3]),
        (["--model", "gpt"], [1, 2, 3]),
        (["--since", "8d"], [1, 2]),
        (["--before", "1d"], [2, 3]),
        (["--since", "8d", "--before", "1d", "--model", "gpt"], [2]),
        (["--since", (NOW - timedelta(days=8)).isoformat()], [1, 2]),
        (["--since", (NOW - timedelta(days=8)).astimezone().strftime("%Y-%m-%d")], [1, 2]),
    ],
)
def test_runs_are_found_by_text_model_date_and_error(run, kept: None, options: list[str], found: list[int]) -> None:
    assert ids(run, *options) == found


def test_the_list_has_a_line_for_each_run(run, kept: None) -> None:
    lines = run("log", "--file", "own.sqlite").stdout.splitlines()
    assert lines[0].split() == ["id", "began", "run", "models", "tokens", "cost", "seconds", "asked"]
    assert "M (failed)" in lines[3]
    assert "50% off?" in lines[3]
    assert "openai:gpt-4o, mistral:small" in lines[4]
    assert "unknown" in lines[4]
    assert len(lines) == 5


def test_one_run_is_shown_as_a_tree_or_as_json(run, kept: None) -> None:
    shown = run("log", "show", "0003", "--file", "own.sqlite")
    assert shown.exit_code == 0
    assert [line for line in shown.stdout.splitlines() if "─ M" in line] != []
    assert "[human] why?" in shown.stdout
    value = json.loads(run("log", "show", "0003", "--file", "own.sqlite", "--json").stdout)
    assert [child["model"] for child in value["children"]] == ["gpt-4o", "small"]
    assert run("log", "show", "7", "--file", "own.sqlite").stderr == (
        "chainkit: own.sqlite: no traces have an id that begins or ends with '7'\n"
    )


def test_totals_add_up_by_model(run, kept: None) -> None:
    rows = json.loads(run("log", "totals", "--json", "--file", "own.sqlite").stdout)
    assert [(row["model"], row["calls"], row["failed"], row["input_tokens"], row["cost"]) for row in rows] == [
        ("gpt-4o", 3, 1, 30, 0.75),
        ("small", 1, 0, 0, 0.0),
    ]
    table = run("log", "totals", "--file", "own.sqlite").stdout
    assert "all" in table.splitlines()[-1]
    assert "$0.7500 without 1 calls" in table.splitlines()[-1]
    only = json.loads(run("log", "totals", "--since", "1d", "--json", "--file", "own.sqlite").stdout)
    assert [row["calls"] for row in only] == [1]


def test_old_runs_are_deleted_and_nothing_else(run, kept: None) -> None:
    assert run("log", "forget", "--older-than", "20d", "--file", "own.sqlite").stdout == "deleted 1 run\n"
    assert ids(run) == [1, 2]
    assert run("log", "forget", "--all", "--file", "own.sqlite").stdout == "deleted 2 runs\n"
    assert ids(run) == []


@pytest.mark.parametrize(
    "options",
    [
        ["forget"],
        ["forget", "--all", "--older-than", "1d"],
        ["--since", "yesterday"],
        ["--since", "999999w"],
        ["-n", "0"],
        ["show"],
    ],
)
def test_wrong_options_are_usage_errors(run, kept: None, options: list[str]) -> None:
    assert run("log", *options, "--file", "own.sqlite").exit_code == 2


def test_an_empty_place_says_how_to_fill_it(run) -> None:
    told = "chainkit: nothing is kept yet: run a command with --trace=log, or name a --file\n"
    for arguments, status, shown, said in (
        (["log"], 0, "", told),
        (["log", "--json"], 0, "[]\n", ""),
        (["log", "totals"], 0, "", told),
        (["log", "totals", "--json"], 0, "[]\n", ""),
        (["log", "forget", "--all"], 0, "deleted 0 runs\n", ""),
        (["log", "show", "x"], 1, "", told),
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stdout, result.stderr) == (status, shown, said), arguments
    assert "absent.sqlite: there is no such file" in run("log", "--file", "absent.sqlite").stderr
    assert "is a folder; name a file in it" in run("log", "--file", ".").stderr
    Path("text.txt").write_text("no database, but a text that somebody wants to keep")
    assert run("log", "forget", "--all", "--file", "text.txt").exit_code == 1
    assert Path("text.txt").read_text("utf-8").startswith("no database")


CALLS = {
    "complete": (["complete", "Once upon", "--model", "fake:"], None, "Once upon\n"),
    "complete --json": (["complete", "Once upon", "--model", "fake:", "--json"], None, '"text": "Once upon"'),
    "chat": (["chat", "--model", "fake:"], "Once upon\n", "Once upon\n"),
    "ask": (
        ["ask", "Who was Once upon?", "in.txt", "--embeddings", "fake:", "--model", "fake:?reply=Nobody [1]."],
        None,
        "Nobody [1].",
    ),
}


@pytest.mark.parametrize("command", CALLS)
def test_a_trace_goes_to_standard_error_and_the_answer_stays_alone(run, command: str) -> None:
    Path("in.txt").write_text("Once upon a time there was nobody.\n")
    arguments, stdin, out = CALLS[command]
    plain, traced = (run(*more, *arguments[1:], input=stdin) for more in ([arguments[0]], [arguments[0], "--trace"]))
    assert traced.exit_code == 0, traced.stderr
    assert traced.stdout == plain.stdout
    assert out in traced.stdout
    assert "Once upon" in traced.stderr
    assert "1 call, " in traced.stderr
    assert "call, " not in plain.stderr


@pytest.mark.parametrize("command", CALLS)
def test_a_trace_in_a_file_is_browsed(run, command: str) -> None:
    Path("in.txt").write_text("Once upon a time there was nobody.\n")
    arguments, stdin, _ = CALLS[command]
    result = run(arguments[0], "--trace=own.sqlite", *arguments[1:], input=stdin)
    assert result.exit_code == 0
    assert "call, " not in result.stderr
    assert ids(run, "--text", "Once upon")
    calls = [row["calls"] for row in json.loads(run("log", "totals", "--json", "--file", "own.sqlite").stdout)]
    assert calls == [1]
    assert stat.S_IMODE(Path("own.sqlite").stat().st_mode) == 0o600


def test_the_usual_log_is_found_again(run) -> None:
    run("complete", "Once", "--model", "fake:", "--trace=log")
    run("complete", "upon", "--model", "fake:", "--trace-file", "log", "--trace")
    assert len(json.loads(run("log", "--json").stdout)) == 2


def test_a_failed_call_is_in_the_trace(run) -> None:
    model = "openai:gpt-3.5-turbo-instruct?base_url=http://127.0.0.1:9/v1&max_retries=0&api_key=sk-secret-0123456789"
    result = run("complete", "x", "--model", model, "--trace")
    assert result.exit_code == 1
    assert "error: ConnectionFailed" in result.stderr
    run("complete", "x", "--model", model, "--trace=own.sqlite")
    assert len(ids(run, "--errors")) == 1
    assert "sk-secret" not in result.output
    assert b"sk-secret" not in Path("own.sqlite").read_bytes()


def test_a_file_that_cannot_be_written_is_told_before_any_call(run) -> None:
    Path("text.txt").write_text("a text that somebody wants to keep, not a database")
    result = run("complete", "x", "--model", "fake:", "--trace=text.txt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not a log of chainkit" in result.stderr or "cannot be used as a log" in result.stderr


def test_a_text_after_trace_is_no_file(run) -> None:
    assert run("complete", "--trace", "Once", "--model", "fake:").stdout == "Once\n"
    assert not Path("Once").exists()
    assert run("complete", "--model", "fake:", "--", "--trace=x").stdout == "--trace=x\n"
