from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainkit.base.errors import ContextOverflow
from chainkit.cli.chat import ChatSession
from chainkit.testing import ScriptedChat

SLOW = str(Path(__file__).parent / "slow_model.py")


def ask(conversation: ChatSession, question: str) -> str:
    return "".join(conversation.ask(question))


def sent(model: ScriptedChat) -> list[list[tuple[str, str]]]:
    return [[(message.type, str(message.text)) for message in messages] for messages in model.conversations]


def test_the_whole_conversation_is_sent_each_time() -> None:
    model = ScriptedChat(["Hello.", "Ada."])
    conversation = ChatSession(model, system="Be brief.")
    assert ask(conversation, "I am Ada.") == "Hello."
    assert ask(conversation, "Who am I?") == "Ada."
    assert sent(model)[1] == [
        ("system", "Be brief."),
        ("human", "I am Ada."),
        ("ai", "Hello."),
        ("human", "Who am I?"),
    ]


def test_an_answer_that_was_stopped_stays_as_far_as_it_was_heard() -> None:
    model = ScriptedChat(["one two three", "yes"])
    conversation = ChatSession(model)
    answer = conversation.ask("Count.")
    assert [next(answer), next(answer)] == ["one", " two"]
    answer.close()  # type: ignore[attr-defined]
    ask(conversation, "And?")
    assert sent(model)[1][:2] == [("human", "Count."), ("ai", "one two")]


def test_a_question_without_an_answer_is_not_kept() -> None:
    class Full(ScriptedChat):
        def _stream(self, *_: object, **__: object) -> Iterator[object]:  # type: ignore[override]
            raise ContextOverflow(5000, 4096)

    conversation = ChatSession(Full([]))
    with pytest.raises(ContextOverflow):
        ask(conversation, "Long?")
    assert len(conversation) == 0


def test_a_reset_forgets_what_was_said_but_not_how_to_behave() -> None:
    model = ScriptedChat(["a", "b"])
    conversation = ChatSession(model, system="Be brief.")
    ask(conversation, "one")
    conversation.reset()
    ask(conversation, "two")
    assert sent(model)[1] == [("system", "Be brief."), ("human", "two")]


def test_each_piped_line_is_a_question(run) -> None:
    result = run("chat", "--model", "fake:", input="one\n\ntwo")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "one\ntwo\n", "")


def test_json_has_one_object_for_each_question(run) -> None:
    result = run("chat", "--model", "fake:?reply=r", "--json", input="one\ntwo\n")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"question": "one", "answer": "r", "model": "fake:?reply=r"},
        {"question": "two", "answer": "r", "model": "fake:?reply=r"},
    ]


def test_no_input_is_no_error(run) -> None:
    assert run("chat", "--model", "fake:", input="").exit_code == 0


def test_piped_commands_are_obeyed_and_a_path_is_no_command(run) -> None:
    result = run("chat", "--model", "fake:", input="/system Be brief.\n/etc/hosts is what?\n/exit\nnever\n")
    assert result.stdout == "/etc/hosts is what?\n"
    assert "system: Be brief." in result.stderr


def test_a_piped_command_that_does_not_exist_ends_the_run(run) -> None:
    result = run("chat", "--model", "fake:", input="/rest\nquestion\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no command /rest" in result.stderr


def test_piped_bytes_that_are_not_utf8_are_named_with_their_line(run) -> None:
    result = run("chat", "--model", "fake:", input=b"one\n\xff\n")
    assert (result.exit_code, result.stdout) == (1, "one\n")
    assert "standard input: line 2 is not UTF-8" in result.stderr


def test_without_any_model_the_ways_to_get_one_are_told(run) -> None:
    result = run("chat", input="hi\n")
    assert result.exit_code == 1
    assert "no language model is set up" in result.stderr


pexpect = pytest.importorskip("pexpect")
PROMPT = "\r\n> " if sys.platform != "win32" else "> "


@pytest.fixture
def terminal() -> Iterator[object]:
    """The chat in a terminal of its own, at its first prompt."""
    environment = os.environ | {"TERM": "xterm", "INPUTRC": os.devnull, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = pexpect.spawn(
        sys.executable, [SLOW, "chat", "--model", "slow:"], env=environment, encoding="utf-8", timeout=90, echo=False
    )
    child.expect("> ")
    yield child
    child.close(force=True)


def wait_until_it_waits(child) -> None:
    """Until the program sleeps, and has used no CPU for a while: then it reads, or waits for the next word."""
    stat = Path(f"/proc/{child.pid}/stat")
    if not stat.exists():
        time.sleep(0.5)
        return
    seen: list[tuple[str, ...]] = []
    while len(seen) < 6 or len(set(seen[-6:])) > 1 or seen[-1][0] != "S":
        time.sleep(0.05)
        fields = stat.read_text().rpartition(")")[2].split()
        seen.append((fields[0], *fields[11:13]))


def interrupt(child) -> None:
    wait_until_it_waits(child)  # Python's prompt misses a signal that comes between its being shown and its being read
    child.sendintr()


def status(child) -> int:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def test_a_terminal_gets_a_prompt_and_a_streamed_answer(terminal) -> None:
    terminal.sendline("Hello there")
    terminal.expect("Hello there\r\n.*> ")
    terminal.sendeof()
    assert status(terminal) == 0


def test_control_c_stops_the_answer_and_not_the_program(terminal) -> None:
    terminal.sendline("slowly " + "word " * 200)
    terminal.expect("slowly word word")
    interrupt(terminal)
    terminal.expect_exact("(stopped)")
    terminal.expect("> ")
    terminal.sendline("count")
    terminal.expect_exact("3 messages")  # what was heard before Ctrl-C belongs to the conversation
    terminal.expect("> ")
    terminal.sendline("/exit")
    assert status(terminal) == 0


def test_a_second_control_c_at_the_empty_prompt_leaves(terminal) -> None:
    interrupt(terminal)
    terminal.expect_exact("Ctrl-C again leaves")
    terminal.expect("> ")
    interrupt(terminal)
    assert status(terminal) == 0


def test_control_c_after_a_stopped_answer_leaves(terminal) -> None:
    terminal.sendline("slowly " + "word " * 200)
    terminal.expect("slowly word word")
    interrupt(terminal)
    terminal.expect_exact("(stopped)")
    terminal.expect("> ")
    interrupt(terminal)
    assert status(terminal) == 0


def test_control_c_on_a_typed_line_only_drops_the_line(terminal) -> None:
    interrupt(terminal)
    terminal.expect("> ")
    terminal.send("half a question")
    interrupt(terminal)
    terminal.expect("> ")
    terminal.sendline("count")
    terminal.expect_exact("1 messages")
    terminal.expect("> ")


def test_an_error_is_told_and_the_conversation_goes_on(terminal) -> None:
    terminal.sendline("overflow")
    terminal.expect_exact("chainkit: the text needs 5000 tokens and the context holds 4096")
    terminal.expect_exact("/reset forgets the conversation")
    terminal.expect("> ")
    terminal.sendline("break off here now")
    terminal.expect_exact("chainkit: the line broke")
    terminal.expect("> ")
    terminal.sendline("count")
    terminal.expect_exact("3 messages")


def test_commands_at_the_prompt(terminal) -> None:
    for typed, told in [
        ("/help", "/system TEXT"),
        ("/system Be brief.", "system: Be brief."),
        ("/system", "system: Be brief."),
        ("count", "2 messages"),
        ("/reset", "forgotten"),
        ("count", "2 messages"),
        ("/rest", "no command /rest"),
    ]:
        terminal.sendline(typed)
        terminal.expect_exact(told)
        terminal.expect("> ")


def test_a_line_that_ends_with_a_backslash_goes_on_in_the_next(terminal) -> None:
    terminal.sendline("first\\")
    terminal.expect(r"\. ")
    terminal.sendline("second")
    terminal.expect("first\r\nsecond\r\n")


def test_an_answer_cannot_steer_the_terminal(terminal) -> None:
    terminal.sendline("count")
    terminal.expect("> ")
    terminal.sendline("\x16\x1b[31mred")  # ctrl-v takes the escape as it is
    terminal.expect_exact("[31mred")
    assert not terminal.before.endswith("\x1b")
