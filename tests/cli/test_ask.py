from __future__ import annotations

import json
from pathlib import Path

import pytest

FAKE = ["--embeddings", "fake:"]


@pytest.fixture(autouse=True)
def documents() -> None:
    Path("docs").mkdir()
    Path("docs/apples.md").write_text(
        "# Apples\n\nThe apple of this garden has a deep red colour.\n\nIt was planted in 1912.\n"
    )
    Path("docs/sky.txt").write_text("The sky above the hills is mostly blue in summer.\nIt rains in spring.\n")


def ask(run, *arguments: str):
    return run("ask", "What colour is the apple of this garden?", *arguments, *FAKE)


def test_without_a_model_the_nearest_sentences_are_shown_and_the_way_to_a_model(run) -> None:
    result = ask(run, "docs")
    assert result.exit_code == 0, result.stderr
    assert "The apple of this garden has a deep red colour. [1]" in result.stdout
    assert "docs/apples.md" in result.stdout
    assert "no language model is set up" in result.stderr


def test_a_model_writes_the_answer_with_its_sources(run) -> None:
    result = ask(run, "docs", "--model", "fake:?reply=The apple is red [1].")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("The apple is red [1].\n\n[1] ")
    assert "apples.md" in result.stdout
    assert "The apple of this garden has a deep red colour." in result.stdout
    assert result.stderr == ""


def test_json_has_the_answer_and_what_it_rests_on(run) -> None:
    found = json.loads(
        ask(run, "docs", "--model", "fake:?reply=The apple is deep red [1]. So it is [9].", "--json").stdout
    )
    assert found["text"] == "The apple is deep red [1]. So it is."
    assert found["model"] == "fake:?reply=The apple is deep red [1]. So it is [9]."
    assert found["answered"] is True
    assert found["removed_citations"] == 1
    assert found["usage"]["output_tokens"] > 0
    (citation,) = found["citations"]
    assert citation["number"] == 1
    assert citation["path"].endswith("apples.md")
    assert (citation["first_line"], citation["last_line"], citation["page"]) == (3, 3, None)
    assert citation["quote"] == "The apple of this garden has a deep red colour."
    assert json.loads(ask(run, "docs", "--json").stdout)["model"] is None


def test_what_is_wrong_with_an_answer_is_told(run) -> None:
    result = ask(run, "docs", "--model", "fake:?reply=Bananas taste wonderful [9].")
    assert "citations of passages that do not exist were taken out: 1" in result.stderr
    assert "not in the sources (1 of 1): Bananas taste wonderful." in result.stderr


def test_extract_asks_no_model_although_there_is_one(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINKIT_MODEL", "fake:?reply=from the model")
    assert ask(run, "docs").stdout.startswith("from the model")
    result = ask(run, "docs", "--extract")
    assert "The apple of this garden has a deep red colour. [1]" in result.stdout
    assert result.stderr == ""


def test_a_named_model_that_fails_is_an_error(run) -> None:
    result = ask(run, "docs", "--model", "openai:gpt-4o-mini")
    assert result.exit_code == 1
    assert "OPENAI_API_KEY" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("paths", [["absent"], ["absent.txt", "nor/this"]])
def test_paths_without_documents_are_an_error(run, paths: list[str]) -> None:
    result = ask(run, *paths)
    assert result.exit_code == 1
    assert paths[0] in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_that_cannot_be_read_is_told_and_the_rest_is_used(run) -> None:
    Path("docs/broken.pdf").write_bytes(b"%PDF-1.4 broken")
    result = ask(run, "docs")
    assert result.exit_code == 0
    assert "broken.pdf" in result.stderr
    assert "The apple of this garden has a deep red colour." in result.stdout


def test_an_empty_question_is_an_error_and_no_path_a_usage_error(run) -> None:
    assert run("ask", " ", "docs").exit_code == 1
    assert run("ask", "What?").exit_code == 2


def test_the_second_question_reads_nothing_anew(run, tmp_path_factory: pytest.TempPathFactory) -> None:
    from chainkit.base.paths import cache_dir

    ask(run, "docs", "--no-cache")
    assert not list(cache_dir().glob("**/*.sqlite"))
    ask(run, "docs")
    assert len(list(cache_dir().glob("**/*.sqlite"))) == 1
    assert "red" in ask(run, "docs").stdout
