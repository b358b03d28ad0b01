from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class

from chainkit.base.settings import change_settings
from chainkit.cli.completion import SHELLS, VARIABLE, register
from chainkit.cli.main import COMMANDS, cli

START = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}
RUN_COMMANDS = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/conf.d/chainkit.fish"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch):
    """What bash is told to offer for a line."""
    register()
    bash = get_completion_class("bash")
    assert bash is not None

    def ask(line: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", line)
        return bash(cli, {}, "chainkit", VARIABLE).complete().split()

    return ask


def test_a_shell_that_asks_gets_what_is_offered(spawn, asked) -> None:
    environment = {VARIABLE: "bash_complete", "COMP_WORDS": "chainkit chat -m smo"}
    assert spawn(environment=environment).stdout.decode().split() == asked("chainkit chat -m smo") == ["plain,smollm2:"]


def test_commands_options_and_choices_are_offered(asked) -> None:
    assert asked("chainkit ") == [f"plain,{name}" for name in COMMANDS]
    assert asked("chainkit chat --conv") == ["plain,--conversation"]
    assert asked("chainkit chats export --format m") == ["plain,markdown"]
    assert asked("chainkit completion show z") == ["plain,zsh"]


def test_models_are_aliases_providers_and_files(asked) -> None:
    change_settings(aliases={"small": "fake:"})
    Path("models").mkdir()
    for name in ("models/a.gguf", "models/b.txt", "c.gguf"):
        Path(name).touch()
    assert asked("chainkit chat -m sm") == ["plain,small", "plain,smollm2:"]
    assert asked("chainkit chat -m open") == ["plain,openai:", "plain,openrouter:"]
    assert asked("chainkit chat --model gguf:") == ["plain,gguf:c.gguf", "plain,gguf:models/"]
    assert asked("chainkit run x.ck -m gguf:models/") == ["plain,gguf:models/a.gguf"]
    assert asked("chainkit models default ./") == ["plain,./c.gguf", "plain,./models/"]
    assert asked("chainkit embed a --embeddings min") == ["plain,minilm:"]
    assert asked("chainkit -m smo") == ["plain,smollm2:"]


def test_templates_conversations_and_aliases_are_offered_by_their_names(asked, run) -> None:
    change_settings(templates={"translate": {"prompt": "x"}}, aliases={"small": "fake:"})
    run("chat", "-m", "fake:", "hello")
    assert asked("chainkit chat -t ") == ["plain,translate"]
    assert asked("chainkit models alias --forget ") == ["plain,small"]
    (one,) = asked("chainkit chats show ")
    assert one in run("chats", "list").stdout.replace("\n", "\nplain,")


def test_everything_else_is_a_file(asked) -> None:
    assert asked("chainkit embed no") == ["file,no"]
    assert asked("chainkit chat --docs ") == ["file,"]


def test_a_broken_file_of_settings_stops_no_completion(asked) -> None:
    path = change_settings(model="fake:")
    path.write_text("{")
    assert asked("chainkit chat -m openr") == ["plain,openrouter:"]
    assert asked("chainkit chat -t ") == ["file,"]


@pytest.mark.parametrize("shell", SHELLS)
def test_installing_twice_is_installing_once_and_can_be_taken_back(
    run, shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    monkeypatch.delenv("ZDOTDIR", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    start = tmp_path / RUN_COMMANDS[shell]
    if shell != "fish":
        start.write_text("alias x=y\n")
    first = run("completion", "install")
    assert (first.exit_code, first.stderr) == (0, "")
    assert "open a new terminal" in first.stdout
    once = start.read_text("utf-8")
    run("completion", "install", shell)
    assert start.read_text("utf-8") == once
    run("completion", "remove")
    assert (start.read_text("utf-8").split() == ["alias", "x=y"]) if shell != "fish" else not start.exists()


def test_an_unknown_shell_is_told(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    result = run("completion", "install")
    assert result.exit_code == 1
    assert "the shell 'tcsh' is not known here; name one of bash, zsh, fish" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")
@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_in_a_real_shell(run, shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pexpect = pytest.importorskip("pexpect")
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", path)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "chainkit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m chainkit "$@"\n')
    (tmp_path / "bin" / "chainkit").chmod(0o755)
    (tmp_path / "tiny.gguf").touch()
    run("completion", "install")
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "$ "}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    child = pexpect.spawn(path, START[shell], env=environment, encoding="utf-8", timeout=30, dimensions=(24, 200))
    try:
        child.sendline(f"cd '{tmp_path}'; . '{tmp_path / RUN_COMMANDS[shell]}'; echo rea''dy")
        child.expect_exact("ready")
        child.send("chainkit templ\t")
        child.expect_exact("templates ")
        child.send("\x15chainkit chat -m gguf:./ti\t")
        child.expect_exact("gguf:./tiny.gguf")
    finally:
        child.close(force=True)
