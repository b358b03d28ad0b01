"""The table of ten tasks in docs/terminal.md: its counts, and that what it says can be typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from benchmarks.keystrokes import FILE, QUESTION, STOP, TASKS, Task, keystrokes, table

PAGE = Path(__file__).parents[2] / "docs" / "terminal.md"


def test_the_page_holds_the_table_as_it_is_counted() -> None:
    assert table() in PAGE.read_text("utf-8")
    assert keystrokes(("ab", STOP)) == 4


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("other", ["llm", "ollama"])
def test_no_task_takes_more_commands_or_keystrokes_than_elsewhere(task: Task, other: str) -> None:
    lines = getattr(task, other)
    if lines:
        assert len(task.chainkit) <= len(lines)
        assert keystrokes(task.chainkit) <= keystrokes(lines)


def test_the_commands_of_the_table_do_what_they_are_for(run) -> None:
    Path(FILE).write_text("some notes")
    run("models", "alias", "model", "fake:")
    run("models", "default", "fake:")
    typed = {task.name: task.chainkit[0].replace("smollm2", "model") for task in TASKS}

    def type_(task: str) -> str:
        command, _, file = typed[task].partition(" < ")
        result = run(*shlex.split(command)[1:], input=Path(file).read_text("utf-8") if file else None)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    asked = QUESTION.strip('"')
    assert type_("ask once") == f"{asked}\n"
    assert type_("pipe a file") == "some notes\n"
    assert type_("change the model") == f"{asked}\n"
    assert type_("go on") == "And at night?\n"
    assert "used without -m from now on: fake (" in type_("set a default")
    assert type_("see what was sent").count("> ") == 2
    assert type_("find an old answer").count(asked) == 2
    assert run("serve", "--help").exit_code == 0
