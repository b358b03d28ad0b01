from __future__ import annotations

import json

import pytest


def test_a_text_is_continued(run) -> None:
    result = run("complete", "Once", "--model", "fake:?reply=upon a time")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "upon a time\n", "")


def test_a_dash_reads_standard_input(run) -> None:
    assert run("complete", "-", "--model", "fake:", input="from a pipe").stdout == "from a pipe\n"


def test_words_without_quotes_are_one_text_and_without_any_it_comes_from_a_pipe(run) -> None:
    assert run("complete", "-m", "fake:", "Once", "upon").stdout == "Once upon\n"
    assert run("complete", "-m", "fake:", input="from a pipe").stdout == "from a pipe\n"


def test_a_model_that_ends_at_once_is_an_error_that_names_chat(run) -> None:
    result = run("complete", "x", "-m", "fake:?reply=")
    assert (result.exit_code, result.stdout) == (1, "\n")
    assert "fake:?reply= ended at once and wrote nothing" in result.stderr
    assert "chainkit chat" in result.stderr
    assert json.loads(run("complete", "x", "-m", "fake:?reply=", "--json").stdout)["text"] == ""


def test_the_model_may_come_from_the_environment(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINKIT_MODEL", "fake:?reply=here")
    assert run("complete", "x").stdout == "here\n"


def test_json_has_model_prompt_and_text(run) -> None:
    result = run("complete", "x", "--model", "fake:?reply=y", "--json")
    assert json.loads(result.stdout) == {"model": "fake:?reply=y", "prompt": "x", "text": "y"}


def test_it_ends_before_a_stop_text(run) -> None:
    arguments = ["complete", "one two three", "--model", "fake:", "--stop", " three", "--stop", "zzz"]
    assert run(*arguments).stdout == "one two\n"
    assert json.loads(run(*arguments, "--json").stdout)["text"] == "one two"


def test_nothing_to_continue_is_an_error(run) -> None:
    result = run("complete", "-", "--model", "fake:", input=" \n")
    assert result.exit_code == 1
    assert "no text to continue" in result.stderr


def test_standard_input_that_is_not_utf8_is_an_error(run) -> None:
    assert "standard input: line 2 is not UTF-8" in run("complete", "-", "--model", "fake:", input=b"a\n\xff").stderr


@pytest.mark.parametrize("option", [["--temperature", "-1"], ["--temperature", "hot"], ["--max-tokens", "0"]])
def test_settings_out_of_range_are_usage_errors(run, option: list[str]) -> None:
    assert run("complete", "x", "--model", "fake:", *option).exit_code == 2


def test_settings_reach_the_model(run) -> None:
    assert run("complete", "one two three", "--model", "fake:", "--max-tokens", "2").stdout == "one two\n"


def test_without_any_model_the_ways_to_get_one_are_told(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainkit.backends.llama_cpp.smollm2.ready", lambda: False)
    result = run("complete", "x")
    assert result.exit_code == 1
    assert "no language model is set up" in result.stderr
    assert "OPENAI_API_KEY=..." in result.stderr
