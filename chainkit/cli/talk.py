"""A conversation at a prompt, or with a question for each line of standard input."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from chainkit.base.errors import ChainkitError, ContextOverflow
from chainkit.cli.faults import one_line, trace
from chainkit.cli.rows import decoded
from chainkit.cli.screen import note, say, say_json, waiting

try:
    import readline  # importing it is what makes arrow keys work at the prompt
except ImportError:  # not part of Python on Windows
    readline = None

if TYPE_CHECKING:
    from chainkit.cli.chat_docs import DocumentConversation
    from chainkit.cli.chat_session import ChatSession

    Talk: TypeAlias = ChatSession | DocumentConversation

_COMMAND = re.compile(r"/[a-z]+(\s|$)")  # a path, like /etc/hosts, is part of a question

_STAYS = "what you see stays in the conversation"
_FORGOTTEN = "the question was not answered and is forgotten"

HELP = """\
/model SPEC   go on with another model; /model alone shows which one answers
/reset        forget the conversation and begin another
/system TEXT  set the system prompt; /system alone shows it
/help         show this
/exit         leave; so do Ctrl-D, and Ctrl-C twice
Ctrl-C stops an answer. A line that ends with \\ continues in the next."""


class _Leave(Exception):
    """/exit was typed."""


def answer_lines(talk: Talk, json_model: str | None) -> None:
    """Answer each line of standard input; with the name of a model as JSON."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        question = decoded("standard input", line, number).strip()
        try:
            if not question or _obeyed(talk, question):
                continue
        except _Leave:
            return
        if json_model is None:
            show(talk, question)
        else:
            say_json(talk.as_json(question, json_model))


def converse(talk: Talk, spec: str) -> None:
    """Ask for a question and answer it until the user leaves."""
    say(f"{spec}. /help shows what you can type; Ctrl-D leaves.")
    interrupted = False
    while True:
        try:
            line = _read_line()
            interrupted = not _turn(talk, line)
        except (EOFError, _Leave):
            return
        except KeyboardInterrupt:
            say("")
            if interrupted and not _typed():
                return
            interrupted = True
            note("Ctrl-C again leaves")


def show(talk: Talk, question: str | list[Any]) -> None:
    """Write the answer as it comes."""
    with waiting("thinking") as bar, closing(talk.ask(question)) as pieces:  # pyright: ignore[reportArgumentType]
        empty = True
        for piece in pieces:
            bar.stop()
            empty = empty and not piece.strip()
            say(piece, end="")
    say("")
    if empty:
        note("(the model wrote nothing)")


def _turn(talk: Talk, line: str) -> bool:
    """Execute one line of input; False if Ctrl-C stopped the answer."""
    said = len(talk)
    try:
        if line and not _obeyed(talk, line):
            show(talk, line)
    except KeyboardInterrupt:
        say(f"\n(stopped; {_STAYS if len(talk) > said else _FORGOTTEN})")
        return False
    except ChainkitError as error:
        trace(click.get_current_context(), error)
        advice = "; /reset forgets the conversation and starts afresh" if isinstance(error, ContextOverflow) else ""
        note(one_line(f"{error}{advice}"))
    return True


def _obeyed(talk: Talk, line: str) -> bool:
    """Do what a line like /reset says; False if it is no such line.

    Raises:
        _Leave: It says /exit.
    """
    if not _COMMAND.match(line):
        return False
    word, _, rest = line.partition(" ")
    match word:
        case "/exit" | "/quit" | "/bye":
            raise _Leave
        case "/reset" | "/clear":
            talk.reset()
            note("the conversation is forgotten")
        case "/system":
            talk.system = rest.strip() or talk.system
            note(f"system: {talk.system or 'nothing is set'}")
        case "/model":
            _change_model(talk, rest.strip())
        case "/help":
            say(HELP)
        case _:
            raise ChainkitError(f"no command {word}; /help shows them")
    return True


def _change_model(talk: Talk, spec: str) -> None:
    from chainkit.cli.answering import opened

    if not hasattr(talk, "take"):
        raise ChainkitError("with --docs, the model stays the same; leave and name another with -m")
    if spec:
        model, name = opened(spec)
        talk.take(model, name)  # pyright: ignore[reportAttributeAccessIssue]
    note(f"model: {talk.spec}")  # pyright: ignore[reportAttributeAccessIssue]


def _read_line() -> str:
    lines = [input("> ")]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input(". "))
    return "\n".join(lines).strip()


def _typed() -> str:
    """What stood at the prompt when it was interrupted."""
    return readline.get_line_buffer() if readline else ""
