from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest

from chainkit import __version__
from chainkit.cli.main import COMMANDS, cli
from chainkit.conversations.file import ConversationFile

SLOW = str(Path(__file__).parent / "slow_model.py")
LIGHT = {"chainkit", "click", "colorama", "_distutils_hack", "__main__", "__editable___chainkit_finder"}
LIGHT |= {"sitecustomize", "usercustomize"}  # what a system or a user lets every Python run

WHAT_IS_LOADED = """
import contextlib, io, sys
from chainkit.cli.main import cli
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    cli(sys.argv[1:], prog_name="chainkit")
print(*{name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names)
"""


def loaded(*arguments: str) -> set[str]:
    return set(subprocess.check_output([sys.executable, "-c", WHAT_IS_LOADED, *arguments], text=True).split())


def test_help_imports_nothing_but_click() -> None:
    assert loaded("--help") <= LIGHT


def test_version_imports_nothing_but_click() -> None:
    assert loaded("--version") <= LIGHT


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_nothing_but_click(command: str) -> None:
    assert loaded(command, "--help") <= LIGHT


def test_help_imports_no_command() -> None:
    code = WHAT_IS_LOADED + "\nprint(*sorted(sys.modules))"
    modules = subprocess.check_output([sys.executable, "-c", code, "--help"], text=True).split()
    assert not {row.home.partition(":")[0] for row in COMMANDS.values()} & set(modules)


@pytest.mark.parametrize("command", ["set", "list", "forget"])
def test_help_of_keys_imports_nothing_but_click(command: str) -> None:
    assert loaded("keys", command, "--help") <= LIGHT


# command -> arguments and standard input with which its --json output is read here
JSON_CALLS: dict[str, tuple[list[str], str]] = {
    "ask": (["ask", "What is red?", "in.txt", "--embeddings", "fake:"], ""),
    "chat": (["chat", "--model", "fake:"], "one question"),
    "complete": (["complete", "x", "--model", "fake:"], ""),
    "cluster": (["cluster", "in.txt", "--embeddings", "fake:"], ""),
    "index": (["index", "in.txt", "--embeddings", "fake:"], ""),
    "search": (["search", "What is red?", "in.txt", "--embeddings", "fake:"], ""),
    "cache show": (["cache", "show"], ""),
    "map": (["map", "embeddings:fake:", "in.jsonl", "out.jsonl"], ""),
    "similar": (["similar", "in.txt", "--embeddings", "fake:"], ""),
    "models": (["models"], ""),
    "templates list": (["templates"], ""),
    "keys list": (["keys", "list"], ""),
}


def commands_with_json() -> set[str]:
    context = click.Context(cli)
    found: set[str] = set()
    for name in COMMANDS:
        command = cli.get_command(context, name)
        group = {"": command, **(command.commands if isinstance(command, click.Group) else {})}
        for inner, one in group.items():
            if any("--json" in parameter.opts for parameter in one.params):  # type: ignore[union-attr]
                found.add(f"{name} {inner}".strip())
    return found


def test_every_json_output_is_read_by_a_test() -> None:
    # these need a server, a model file, a file of questions or a log; see their own tests
    elsewhere = {"decide", "doctor", "eval", "log list", "log show", "log totals", "size", "tokens", "pull"}
    elsewhere |= {"convert", "upscale", "tune train", "tune bake", "run", "check"}
    elsewhere |= {"chats list", "chats search", "chats show", "bench"}
    assert commands_with_json() - elsewhere == set(JSON_CALLS)


@pytest.mark.parametrize("command", JSON_CALLS)
def test_every_json_output_parses(run, command: str) -> None:
    Path("in.txt").write_text("The apple is red.\nThe sky is blue.\n")
    Path("in.jsonl").write_text('"The apple is red."\n')
    arguments, stdin = JSON_CALLS[command]
    result = run(*arguments, "--json", input=stdin)
    assert result.exit_code == 0, result.stderr
    json.loads(result.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: chainkit {command} ")
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    assert found.name == command
    assert found.help
    for parameter in found.params:
        assert isinstance(parameter, click.Argument) or parameter.help, parameter.name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments", [["Why is it so?"], ["Why is", "it so?"], ["-m", "fake:", "Why is it so?"], ["-m", "fake:", "Why"]]
)
def test_a_question_without_a_command_goes_to_chat(run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setenv("CHAINKIT_MODEL", "fake:?reply=so")
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (0, f"{arguments[-1]}\n" if "-m" in arguments else "so\n")


def test_a_word_that_is_no_command_is_told_how_to_ask_it(run) -> None:
    result = run("hello")
    assert result.exit_code == 2
    assert "No such command 'hello'. To ask a model: chainkit chat hello" in result.stderr
    assert "Did you mean 'chat'?" in run("chta").stderr
    for typed, meant in (("history", "chats"), ("list", "models"), ("logs", "chats"), ("aliases", "models alias")):
        assert f"Did you mean '{meant}'?" in run(typed).stderr
    assert "to ask a model without documents: chainkit chat" in run("ask", "Why?").stderr


def test_help_lists_every_command_with_its_line(run) -> None:
    output = " ".join(run("--help").output.split())
    for name, row in COMMANDS.items():
        assert f"{name} {row.help}" in output


def test_the_module_and_the_command_are_the_same(spawn) -> None:
    done = spawn("--version")
    assert done.returncode == 0
    assert done.stdout.decode().split() == ["chainkit,", "version", __version__]


def test_an_unknown_command_is_a_usage_error_with_the_nearest_name(run) -> None:
    result = run("modls")
    assert result.exit_code == 2
    assert "No such command 'modls'. Did you mean 'models'?" in result.stderr


def test_an_unknown_option_is_a_usage_error(run) -> None:
    assert run("--frobnicate").exit_code == 2
    assert run("models", "--frobnicate").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["complete", "x", "--model", "opnai:gpt"],
        ["complete", "x", "--model", ""],
        ["complete", "x"],
        ["complete", ""],
        ["embed", "absent.txt"],
        ["embed", "."],
        ["keys", "forget", "openai"],
        ["keys", "set", "nobody"],
        ["complete", "x", "--model", "fake:?reply=a&b"],
    ],
)
def test_an_error_is_one_line_on_stderr_and_status_1(run, arguments: list[str], monkeypatch) -> None:
    monkeypatch.setattr("chainkit.backends.llama_cpp.smollm2.ready", lambda: False)
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("chainkit: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback_and_then_the_line(run, place: str) -> None:
    arguments = ["complete", "x", "--model", "opnai:gpt"]
    result = run(*(["--debug", *arguments] if place == "before" else [*arguments, "--debug"]))
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1] == "chainkit: no provider 'opnai'; did you mean 'openai'?"


def test_a_fault_nobody_foresaw_is_one_line_too(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "models", COMMANDS["models"]._replace(home="chainkit.registry:nothing"))
    result = run("models")
    assert result.exit_code == 1
    assert result.stderr.startswith("chainkit: unexpected AttributeError: ")
    assert "--debug" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "chainkit", "models"], stdout=gone, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "chainkit", "models"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"chainkit: no space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("command", ["chat hi --model fake:", "complete hi --model fake:", "models", "--help"])
def test_a_closed_stream_is_no_crash(command: str, closed: str, tmp_path: Path) -> None:
    line = f"'{sys.executable}' -m chainkit {command} {closed}"
    home = os.environ | {"CHAINKIT_HOME": str(tmp_path)}  # the file of conversations may get the number of the stream
    done = subprocess.run(["sh", "-c", line], input=b"hi\n", capture_output=True, env=home, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    for file in tmp_path.rglob("*.sqlite"):
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_output_survives_an_encoding_that_lacks_the_characters(spawn, encoding: str) -> None:
    text = "naïve 日本 🙂"
    if sys.getfilesystemencoding() != "utf-8":
        pytest.skip("no argument can hold it here")
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = spawn("complete", text, "--model", "fake:", environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding).rstrip("\r\n") == text.encode(encoding, "replace").decode(encoding)
    as_json = spawn("complete", text, "--model", "fake:", "--json", environment=environment)
    assert json.loads(as_json.stdout.decode(encoding))["text"] == text


def test_tables_survive_ascii(spawn) -> None:
    done = spawn("models", environment={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if b"|" in line]  # the folder below them may have any name
    assert len(rows) > 20
    assert b"?" not in b"".join(rows)


def test_no_colour_codes_outside_a_terminal(spawn) -> None:
    for environment in ({}, {"NO_COLOR": "1"}, {"FORCE_COLOR": ""}):
        assert b"\x1b" not in spawn("models", environment=environment).stdout


def test_a_narrow_pipe_keeps_each_row_on_one_line(spawn) -> None:
    wide = spawn("keys", "list").stdout.decode()
    assert any("HF_TOKEN or HUGGINGFACEHUB_API_TOKEN or HUGGINGFACE_API_KEY" in line for line in wide.splitlines())


def test_no_message_shows_a_key(run, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-abcdef0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    for arguments in (
        ["complete", "x", "--model", f"fake:?api_key={secret}"],
        ["complete", "x", "--model", f"fake:?api_key={secret}&x"],
        ["complete", "x", "--model", f"{secret}:model"],
        ["embed", f"{secret}.txt", "--debug"],
        ["models", "--json"],
        ["keys", "list"],
    ):
        assert secret not in run(*arguments).output


def test_a_key_in_a_spec_is_hidden_even_if_it_is_no_known_key(run) -> None:
    assert "sk-unknown" not in run("complete", "x", "--model", "fake:?api_key=sk-unknown&x").output


@pytest.mark.parametrize(
    "arguments",
    [
        "ask x? absent --embeddings fake: --extract",
        "search x? absent --embeddings fake:",
        "index absent --embeddings fake:",
        "eval absent in.txt --embeddings fake:",
        "chat x? --docs absent --model fake: --embeddings fake:",
        "run absent --model fake:",
        "check absent",
        "embed absent --embeddings fake:",
        "cluster absent --embeddings fake:",
        "similar absent --embeddings fake:",
        "heatmap absent --embeddings fake:",
        "upscale absent out --drop 1",
        "size absent.gguf",
        "tokens text --model gguf:absent.gguf",
        "complete text --model gguf:absent.gguf",
        "convert absent new.gguf",
        "log --file absent",
    ],
)
def test_every_command_tells_of_a_missing_file_in_the_same_words(run, arguments: str) -> None:
    result = run(*arguments.split())
    assert result.exit_code == 1
    assert re.search(r"absent(\.gguf)?: there is no such file", result.stderr), result.stderr


# Ctrl-C in the imports of the program; in a callback, where Python can only write it down; in the import of a library
# that makes another error of it
EARLY = """
import importlib.abc, signal, sys
class Stop(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "click":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Stop())
"""
LOST = """
import signal, time, weakref
from chainkit.cli import models
class Thing: pass
def gone(_):
    signal.raise_signal(signal.SIGINT)
    for _ in range(3): pass
def command():
    thing = Thing()
    watched = weakref.ref(thing, gone)
    del thing
    time.sleep(300)
models.models.callback = lambda **_: command()
"""
DISGUISED = """
import signal
import sqlite3
from chainkit.cli import models
def command():
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException as error:
        raise ImportError("library cannot be loaded") from error
models.models.callback = lambda **_: command()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("how", [EARLY, LOST, DISGUISED], ids=["early", "lost", "disguised"])
def test_control_c_ends_with_130_and_not_a_word_wherever_it_falls(how: str) -> None:
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heard}\n{how}\nfrom chainkit.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code, "models"], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_chat_with_its_status_and_control_c_says_what_was_kept(
    number: signal.Signals, status: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, SLOW, "chat", "--lines", "--model", "slow:"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"slowly " + b"word " * 500 + b"\n")
    process.stdin.flush()
    assert process.stdout.read(6) == b"slowly"
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    told = b"\nchainkit: stopped; what you see is saved; 'chainkit chat -c' continues\n"
    assert (process.returncode, stderr) == (status, told if number == signal.SIGINT else b"")
    file = ConversationFile()
    assert [one.message.type for one in file.messages(file.find().id)] == ["human", "ai"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_sigterm_restores_the_terminal_and_leaves_no_temporary_folder(tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    (tmp_path / "texts.txt").write_text("one\ntwo\nthree\n" * 200)
    (tmp_path / "tmp").mkdir()
    command = [SLOW, "embed", str(tmp_path / "texts.txt"), "--embeddings", "slow:", "--output", str(tmp_path / "v.npy")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path / "tmp")}
    process = pexpect.spawn(sys.executable, command, env=environment | {"TERM": "xterm"}, timeout=60)
    process.expect(r"\x1b\[\?25l")  # the cursor is hidden for the progress bar
    process.kill(signal.SIGTERM)
    process.expect(r"\x1b\[\?25h")
    process.expect(pexpect.EOF)
    process.close()
    assert process.exitstatus == 143
    assert not list((tmp_path / "tmp").glob("chainkit-*"))
