"""`chainkit bench`, and what `chainkit size` makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

import chainkit
from chainkit.backends.llama_cpp.contexts import threads
from chainkit.sizing.machines import usable_cpus
from chainkit.sizing.speed import keep, kept
from tests.cli.conftest import Run
from tests.sizing.test_speed import DEMO

pytest.importorskip("xllamacpp")


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINKIT_HOME", str(tmp_path / "home"))


def test_each_engine_is_measured_and_size_uses_the_figures(run: Run) -> None:
    options = ("--tokens", "32", "--decode", "4", "--threads", "1")
    found = json.loads(run("bench", str(DEMO), "--json", *options).stdout)
    assert "xllamacpp" in [row["engine"] for row in found["engines"]]
    for row in found["engines"]:
        assert row["threads"] == 1
        assert row["prompt"] > 0
        assert set(row["passes"]) == {"1", "2", "4", "8", "16", "32"}
        # the promise holds for the program, too: a process on this machine
        assert row["peak_bytes"] is None or row["peak_bytes"] < 1.25 * found["promised"]
    best = max(row["decode"] for row in found["engines"])
    sized = json.loads(run("size", str(DEMO), "--json", "--device", "this", "--device", "pi5-8gb").stdout)
    here, board = (verdict["speed"] for verdict in sized["verdicts"])
    assert here["decode"] == pytest.approx(best)
    assert here["source"].startswith("measured with")
    assert board["source"] == "from TinyLlama 1.1B with llamafile, 4 threads"


def test_threads_are_chosen_apart_for_prompts_and_single_tokens_where_they_were_measured(run: Run) -> None:
    cpus = usable_cpus()
    found = json.loads(run("bench", str(DEMO), "--json", "--tokens", "16", "--decode", "2", "--threads", "all").stdout)
    counts = {row["threads"] for row in found["engines"]}
    assert {1, cpus} <= counts
    rows = [replace(row, decode=1.0 + (row.threads == 1), prompt=1.0 + (row.threads == cpus)) for row in kept()]
    keep(rows)
    specs = {"": (1, cpus), "&n_threads=1&n_threads_batch=2": (1, 2), "&n_threads=1": (1, 1)}
    for settings, expected in specs.items():
        model: Any = chainkit.llm(f"gguf:{DEMO}?engine=xllamacpp{settings}")
        assert threads(model.runtime.weights, model.runtime.settings) == expected
        assert model.invoke("name: Ada", max_tokens=1)
        model.unload()


@pytest.mark.parametrize("value", ["0", "many", "1025", "-1"])
def test_a_number_of_threads_that_is_none_is_named(run: Run, value: str) -> None:
    result = run("bench", str(DEMO), "--threads", value)
    assert result.exit_code == 2
    assert f"{value!r} is neither 'all' nor a number" in result.stderr


def test_the_table_can_be_pasted(run: Run) -> None:
    shown = run("bench", str(DEMO), "--tokens", "16", "--decode", "2").stdout
    for word in ("read tok/s", "write tok/s", "peak memory", "ms for a pass over", "xllamacpp", "GB/s"):
        assert word in shown


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [("openai:gpt-4o-mini", "openai runs elsewhere"), ("nowhere.gguf", "there is no such file")],
)
def test_what_cannot_be_measured_is_named(run: Run, spec: str, complaint: str) -> None:
    result = run("bench", spec)
    assert result.exit_code == 1
    assert complaint in result.stderr


def test_an_engine_that_fails_says_why_and_nothing_is_kept(run: Run, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CHAINKIT_LLAMA_LIBRARY", str(tmp_path / "none.so"))
    result = run("bench", str(DEMO))
    assert result.exit_code == 1
    assert "none.so" in result.stderr
    assert "no engine could run it" in result.stderr
    assert not list((tmp_path / "home").rglob("speeds.json"))
