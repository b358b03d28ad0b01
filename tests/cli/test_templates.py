from __future__ import annotations

import json

import pytest

from chainkit.base.settings import user_settings


def test_a_template_is_used_by_its_name_with_variables_and_what_is_typed(run) -> None:
    saved = run("templates", "save", "translate", "-s", "Be brief.", "-p", "Into {language}: {input}!")
    assert saved.stdout == "saved; to use it: chainkit chat -t translate --var language=...\n"
    result = run("chat", "-t", "translate", "--var", "language=French", "-m", "fake:", "Good", "day")
    assert result.stdout == "Into French: Good day!\n"
    shown = run("chats", "show").stdout
    assert "system: Be brief." in shown


def test_what_is_piped_follows_a_prompt_without_a_place_for_it(run) -> None:
    run("templates", "save", "short", "-p", "Summarise:")
    assert run("chat", "-t", "short", "-m", "fake:", input="a text\n").stdout == "Summarise:\n\na text\n"
    assert run("chat", "-t", "short", "-m", "fake:").stdout == "Summarise:\n"


def test_all_missing_variables_are_named_at_once(run) -> None:
    run("templates", "save", "t", "-s", "In {language}.", "-p", "{tone} {input} {language}")
    result = run("chat", "-t", "t", "-m", "fake:")
    assert result.exit_code == 1
    told = "needs language, input, tone: --var language=..., --var tone=..., type or pipe the text for {input}"
    assert f"the template 't' {told}" in result.stderr


def test_a_template_brings_its_model_and_the_command_line_wins(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINKIT_MODEL", "fake:?reply=variable")
    run("templates", "save", "t", "-s", "x", "-m", "fake:?reply=own")
    assert run("chat", "-t", "t", "hello").stdout == "own\n"
    assert run("chat", "-t", "t", "-m", "fake:?reply=named", "hello").stdout == "named\n"
    run("chat", "-t", "t", "-s", "y", "hello")
    assert json.loads(run("chats", "show", "--json").stdout)["system"] == "y"


def test_templates_are_listed_shown_replaced_and_forgotten(run) -> None:
    assert "no template is saved yet" in run("templates").stderr
    run("templates", "save", "one", "-p", "{a} {{b}} {input}")
    assert json.loads(run("templates", "--json").stdout) == {
        "one": {"prompt": "{a} {{b}} {input}", "variables": ["a", "input"]}
    }
    assert run("templates").stdout.splitlines()[2].split() == ["one", "a,", "input", "{a}", "{{b}}", "{input}"]
    assert "there is a template 'one'; --overwrite replaces it" in run("templates", "save", "one", "-p", "x").stderr
    assert run("templates", "save", "one", "-p", "x", "--overwrite").exit_code == 0
    assert run("templates", "show", "one").stdout == "prompt: x\n"
    run("templates", "forget", "one")
    assert user_settings().templates == {}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["templates", "save", "a b", "-p", "x"], "letters, digits and the signs"),
        (["templates", "save", "a"], "a template needs a text"),
        (["templates", "save", "a", "-p", "{a"], "the prompt text of a template cannot be read"),
        (["templates", "save", "a", "-s", "{a.__class__}"], "the system text of a template cannot be read"),
        (["templates", "show", "on"], "no template is named 'on'; did you mean 'one'?"),
        (["chat", "-t", "xyz", "x"], "'chainkit templates' lists them"),
        (["chat", "-t", "one", "--var", "q=x", "x"], "the template 'one' has no variable q; it has a"),
        (["chat", "--var", "q=x", "x"], "--var gives a variable to a template; name it with -t"),
        (["chat", "--docs", ".", "-t", "one", "x"], "--template and --docs do not go together"),
    ],
)
def test_what_cannot_be_is_refused(run, arguments: list[str], told: str) -> None:
    run("templates", "save", "one", "-p", "{a}")
    result = run(*arguments)
    assert result.exit_code == 1
    assert told in result.stderr
    assert list(user_settings().templates) == ["one"]
