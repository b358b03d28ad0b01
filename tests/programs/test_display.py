"""What people see of a run: HTML, a growing text in a terminal, a picture in a notebook."""

from __future__ import annotations

import io
import sys
from html.parser import HTMLParser
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import chainkit
from chainkit.programs import Run
from chainkit.programs.run.display import Screen, live
from chainkit.testing import Scripted, ScriptedChat

CHAT = "{{#user}}<b> {{v}}{{/user}}\n{{#assistant}}{{gen 'x'}}!{{gen 'h' hidden=True}}{{/assistant}}"


class Reader(HTMLParser):
    """Text, titles, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.parts: list[str] = []
        self.titles: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.titles += [value for name, value in attrs if name == "title"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def run() -> Run:
    return chainkit.program(CHAT, Scripted("a & b"), v="<script>")()


def test_html_shows_what_came_from_where_and_lets_nothing_through() -> None:
    html = run()._repr_html_()
    page = Reader(html)
    assert not page.open
    assert "<script>" not in html
    assert page.parts == ["user", "<b> ", "<script>", "\n", "assistant", "a & b", "!"]
    assert page.titles == ["x"]


def test_html_shows_the_other_answers_and_what_is_waited_for() -> None:
    result = chainkit.program("{{gen 'x' n=2}}{{await 'more'}}", Scripted(["one", "one"]))()
    page = Reader(result._repr_html_())
    assert page.titles == ["x\n---\none"]
    assert page.parts[-1] == "waiting for more"


def test_a_program_is_shown_with_its_tags_in_colour() -> None:
    page = Reader(chainkit.program("a<b {{! c }}{{gen 'x'}} z")._repr_html_())
    assert page.parts == ["a<b ", "{{! c }}", "{{gen 'x'}}", " z"]
    assert repr(chainkit.program("a" * 100)) == f"<Program '{'a' * 57}...' on no model>"


def test_a_terminal_shows_the_text_once_with_roles_as_headings() -> None:
    told = io.StringIO()
    screen = Screen(Console(file=told, force_terminal=True, color_system="standard", width=40, highlight=False))
    text = CHAT.replace("{{gen 'h' hidden=True}}", "")
    program = chainkit.program(text, ScriptedChat("a \x1b[31m[bold]b"), v="value")
    for growing in program.stream({}):
        for event in growing.events:
            screen.tell(event)
    screen.end()
    plain = (
        told.getvalue().replace("\x1b[1m", "").replace("\x1b[34m", "").replace("\x1b[32m", "").replace("\x1b[0m", "")
    )
    assert plain == "[user]\n<b> value\n[assistant]\na [31m[bold]b!\n"  # no control characters, no markup


def test_a_run_that_goes_on_is_shown_from_where_it_waited(capsys: pytest.CaptureFixture[str]) -> None:
    text = "{{#user}}{{await 'q'}}{{/user}}{{#assistant}}{{gen 'x'}}{{/assistant}}"
    first = chainkit.program(text, ScriptedChat("fine"))()
    live(first.stream(q="Well?"))
    assert capsys.readouterr().out == "Well?\n[assistant]\nfine\n"


def test_show_prints_plain_text_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    result = chainkit.program("Hi {{gen 'x'}}", Scripted("two words")).show()
    assert capsys.readouterr().out == "Hi two words\n"
    assert result["x"] == "two words"


def test_a_notebook_shows_one_picture_that_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: list[str] = []
    handle = SimpleNamespace(update=pictures.append)

    def display(html: str, display_id: bool) -> Any:
        pictures.append(html)
        return handle

    notebook, shown = ModuleType("IPython"), ModuleType("IPython.display")
    notebook.get_ipython = lambda: SimpleNamespace(kernel=1)  # type: ignore[attr-defined]
    shown.HTML, shown.display = str, display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    chainkit.program("Hi {{gen 'x'}}", Scripted("two words")).show()
    assert len(pictures) >= 2
    assert "two words" in pictures[-1]


def test_importing_the_package_imports_nothing_heavy() -> None:
    import subprocess

    code = "import sys, chainkit.programs; print({'torch', 'langchain_core', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
