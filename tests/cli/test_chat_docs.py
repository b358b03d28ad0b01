from __future__ import annotations

import json
from pathlib import Path

import pytest

FAKE = ("--embeddings", "fake:")


@pytest.fixture(autouse=True)
def documents() -> None:
    Path("docs").mkdir()
    Path("docs/apples.md").write_text(
        "# Apples\n\nThe apple of this garden has a deep red colour.\n\nIt was planted in 1912.\n"
    )


def test_answers_cite_documents_and_follow_ups_are_looked_up_in_full(run) -> None:
    # the model says this to every prompt, also when it is to write the follow-up out in full
    reply = "The apple of this garden is red [1], or blue [9]."
    result = run(
        "chat",
        "--docs",
        "docs",
        *FAKE,
        "--model",
        f"fake:?reply={reply}",
        "--lines",
        input="What colour is it?\nAnd why?\n",
    )
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.split("[1] docs/apples.md:3: The apple of this garden has a deep red colour.\n", 1)
    assert first == "The apple of this garden is red [1], or blue.\n\n"
    assert second.startswith("The apple of this garden is red [1], or blue.")
    assert f"looked up: {reply}" in result.stderr


def test_json_holds_the_citations_and_reset_forgets(run) -> None:
    run("index", "docs", "--index", "my.sqlite", *FAKE)
    lines = "What colour has the apple?\n/reset\nAnd when was it planted?\n"
    result = run(
        "chat", "--docs", "my.sqlite", *FAKE, "--model", "fake:?reply=Red [1].", "--json", "--lines", input=lines
    )
    assert result.exit_code == 0, result.stderr
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["answer"], first["model"], first["citations"][0]["number"]) == ("Red [1].", "fake:?reply=Red [1].", 1)
    assert second["looked_up"] == second["question"] == "And when was it planted?"


def test_without_a_model_the_nearest_sentences_are_shown(run) -> None:
    result = run("chat", "--docs", "docs", *FAKE, "--json", input="What colour has the apple of this garden?")
    answer = json.loads(result.stdout)
    assert answer["answer"].startswith("The apple of this garden has a deep red colour. [1]")
    assert answer["model"] is None
    assert "no language model is set up" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--docs", "absent"), "absent"),
        (("--docs", "docs", "--system", "Be short."), "do not go together"),
        (("--docs", "qdrnt://host/x"), "did you mean 'qdrant'"),
    ],
)
def test_documents_that_cannot_be_talked_about_are_an_error(run, arguments, words) -> None:
    result = run("chat", *arguments, *FAKE, "--model", "fake:", input="?")
    assert result.exit_code == 1
    assert words in result.stderr


def test_how_to_answer_cannot_be_changed_on_the_way(run) -> None:
    result = run("chat", "--docs", "docs", *FAKE, "--model", "fake:?reply=x", "--lines", input="/system Be short.\n")
    assert result.exit_code == 1
    assert "how to answer is fixed" in result.stderr
