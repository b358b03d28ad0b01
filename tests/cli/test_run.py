"""`chainkit run` and `chainkit check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from chainkit.cli.main import cli

ROOT = Path(__file__).parents[2]
DEMO = f"gguf:{ROOT / 'examples' / 'demo_model' / 'demo-q8_0.gguf'}"


def chainkit(*arguments: str, text: str | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, list(arguments), input=text)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "hello.ck"
    path.write_text("Hello {{name}}: {{gen 'x'}}", "utf-8")
    return str(path)


def test_a_program_is_run_with_variables_on_a_model(program: str) -> None:
    status, out, _ = chainkit("run", program, "--var", "name=Ada", "--model", "fake:?reply=fine")
    assert (status, out) == (0, "Hello Ada: fine\n")


def test_the_text_is_shown_while_it_grows(program: str) -> None:
    status, out, _ = chainkit("run", program, "--var", "name=Ada", "--model", "fake:?reply=fine", "--show")
    assert (status, out) == (0, "Hello Ada: fine\n")


def test_json_has_the_variables_and_what_it_cost(program: str, tmp_path: Path) -> None:
    variables = tmp_path / "v.json"
    variables.write_text('{"name": [1, {"a": null}]}', "utf-8")
    status, out, _ = chainkit("run", program, "--vars", str(variables), "--model", "fake:?reply=fine", "--json")
    result = json.loads(out)
    assert status == 0
    assert result["variables"] == {"name": [1, {"a": None}], "x": "fine"}
    assert (result["finished"], result["waiting"], result["usage"]["calls"]) == (True, None, 1)


def test_roles_take_a_chat_model_and_their_absence_one_that_continues() -> None:
    chat = "{{#user}}Say hello{{/user}}{{#assistant}}{{gen 'x' max_tokens=5}}{{/assistant}}"
    for text in (chat, "The cat {{gen 'x' max_tokens=5}}"):
        status, out, err = chainkit("run", "-", "--model", DEMO, "--seed", "1", text=text)
        assert status == 0, err
        assert out.strip()


def test_a_program_without_slots_needs_no_model() -> None:
    assert chainkit("run", "-", "--var", "a=1", text="[{{a}}]")[:2] == (0, "[1]\n")


def test_variables_may_be_json() -> None:
    arguments = ["--var", "l:=[1, 2]", "--var", "t=a=b"]
    assert chainkit("run", "-", *arguments, text="{{#each l}}{{this + 1}}{{/each}}{{t}}")[1] == "23a=b\n"


def test_a_mistake_is_shown_with_its_place(program: str) -> None:
    status, out, err = chainkit("run", program, "--var", "nam=Ada", "--model", "fake:")
    assert (status, out) == (1, "")
    assert "hello.ck: line 1, column 9: the variable 'name' is missing; did you mean 'nam'?" in err
    assert "\n            ^" in err


def test_all_missing_variables_are_named_at_once() -> None:
    text = "{{a}} {{#if b}}{{c}}{{/if}} {{#each d}}{{this}}{{/each}} {{a}} {{gen 'x'}}"
    status, _, err = chainkit("run", "-", "--model", "fake:", "--var", "bb=1", text=text)
    assert status == 1
    assert "line 1, column 3: 3 variables are missing: 'a', 'b' (did you mean 'bb'?), 'd'" in err
    assert "variables are given with --var a=... --var b=... --var d=..." in err
    status, _, err = chainkit("run", "-", "--model", "fake:", text="{{a}} {{gen 'x'}}")
    assert "the variable 'a' is missing; no variables were given" in err
    assert "variables are given with --var a=..." in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--var", "name"], "write NAME=TEXT or NAME:=JSON"),
        (["--var", "a b=1"], "write NAME=TEXT or NAME:=JSON"),
        (["--var", "name:=[1"], "what follows := is not JSON"),
        (["--vars", "missing.json"], "missing.json: there is no such file"),
        (["--var", "name=x", "--model", "opnai:x"], "did you mean 'openai'"),
    ],
)
def test_what_is_given_wrongly_is_told(program: str, arguments: list[str], message: str) -> None:
    status, _, err = chainkit("run", program, *arguments)
    assert status == 1
    assert message in err


def test_a_model_in_the_place_of_a_program_is_told_how_to_ask_it() -> None:
    status, _, err = chainkit("run", "smollm2", "Why is", "it so?")
    assert status == 1
    assert "to ask a model: chainkit chat -m smollm2 'Why is it so?'" in err
    assert "to ask a model: chainkit chat -m openai:x\n" in chainkit("run", "openai:x")[2]
    assert chainkit("run", "no.ck", "more")[0] == 2


@pytest.mark.parametrize("command", ["run", "check"])
def test_an_empty_file_is_no_program(command: str) -> None:
    assert chainkit(command, "-", text=" \n")[::2] == (1, "chainkit: standard input: holds no program\n")


def test_what_the_program_waits_for_is_told() -> None:
    status, out, err = chainkit("run", "-", text="Hi {{await 'who'}}")
    assert (status, out.strip()) == (1, "Hi")
    assert "waits for 'who'; give it with --var who=..." in err
    assert chainkit("run", "-", "--var", "who=Bo", text="Hi {{await 'who'}}")[:2] == (0, "Hi Bo\n")


def test_shell_needs_to_be_allowed() -> None:
    assert "shell is not allowed" in chainkit("run", "-", text="{{shell 'echo a'}}")[2]
    assert chainkit("run", "-", "--allow-shell", text="{{shell 'echo a'}}")[1] == "a\n\n"


def test_check_says_what_a_program_needs(program: str) -> None:
    assert chainkit("check", program)[:2] == (0, f"{program}: right; needs name\n")


def test_check_shows_mistakes_and_fails(program: str) -> None:
    status, out, _ = chainkit("check", program, "-", text="a\n{{#if b}}")
    assert status == 1
    assert f"{program}: right" in out
    assert "-: line 2, column 1: this if is not closed: {{/if}} is missing\n    {{#if b}}\n    ^" in out
    status, out, _ = chainkit("check", "-", "--json", text="{{gne 'x'}}")
    assert status == 1
    assert json.loads(out)["column"] == 3
