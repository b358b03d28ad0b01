"""`chainkit chat`: a conversation in the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError, ContextOverflow, NoModel
from chainkit.base.repetition import Repetition
from chainkit.cli.faults import one_line, trace, without_keys
from chainkit.cli.options import (
    chosen,
    debug_option,
    embeddings_option,
    json_option,
    model_options,
    style_option,
    trace_option,
)
from chainkit.cli.rows import decoded
from chainkit.cli.screen import load, note, say, say_json, waiting

try:
    import readline  # importing it is what makes arrow keys work at the prompt
except ImportError:  # not part of Python on Windows
    readline = None

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM
    from langchain_core.messages import BaseMessage

    from chainkit.cli.chat_docs import DocumentConversation
    from chainkit.knowledge.answer.ways import Style

_SPEAKERS = {"system": "", "human": "Question: ", "ai": "Answer: "}
_COMMAND = re.compile(r"/[a-z]+(\s|$)")  # a path, like /etc/hosts, is part of a question

HELP = """\
/reset        forget the conversation
/system TEXT  tell the model how to behave; /system alone shows what it was told
/help         show this
/exit         leave; so do Ctrl-D, and Ctrl-C twice
Ctrl-C stops an answer. A line that ends with \\ goes on in the next."""


@click.command()
@model_options
@trace_option
@click.option("--system", metavar="TEXT", default="", help="Tell the model how to behave.")
@click.option(
    "--docs", multiple=True, metavar="PATH", help="Answer from these files, folders, or an index, with citations."
)
@style_option
@embeddings_option
@json_option
@debug_option
def chat(
    model_spec: str | None,
    temperature: float | None,
    max_tokens: int | None,
    system: str,
    docs: tuple[str, ...],
    style: Style | None,
    embeddings_spec: str,
    as_json: bool,
) -> None:
    """Talk with a model in the terminal.

    The model sees the whole conversation each time. Ctrl-C stops an answer; a second Ctrl-C at the empty prompt,
    Ctrl-D or /exit leaves; /help shows the rest. Without a terminal, each line of standard input is a question, and
    --json writes {"question": "...", "answer": "...", "model": "..."} for each.

    With --docs, answers come from documents and cite them; a follow-up like "and when?" is looked up in full. Without
    a model, the nearest sentences are shown.
    """
    from chainkit.registry import answering, default_spec

    if style and not docs:
        raise ChainkitError("--style says how to answer from documents; name them with --docs")
    if docs and system:
        raise ChainkitError("--system and --docs do not go together: with --docs, how to answer is fixed")
    spec = model_spec or (_default_or_none() if docs else default_spec())
    with waiting("loading the model") as bar:
        model = answering(spec, **chosen(temperature=temperature, max_tokens=max_tokens)) if spec else None
        load(model, bar)
    if docs:
        from chainkit.cli.chat_docs import over_documents

        with over_documents(docs, model, embeddings_spec, max_tokens, style if model else None) as conversation:
            if model is None:
                note(str(NoModel()))
            _talk(conversation, spec or "nearest sentences", as_json)
    elif model is not None:
        assert spec is not None
        _talk(ChatSession(model, system), spec, as_json)


def _default_or_none() -> str | None:
    from chainkit.registry import default_spec

    try:
        return default_spec()
    except NoModel:
        return None


def _talk(conversation: ChatSession | DocumentConversation, spec: str, as_json: bool) -> None:
    if sys.stdin.isatty() and sys.stdout.isatty() and not as_json:
        _converse(conversation, without_keys(spec))
    else:
        _answer_lines(conversation, without_keys(spec) if as_json else None)


class ChatSession:
    """What was said so far; sent to the model with every question.

    Attributes:
        system: How the model shall behave; empty for nothing.
    """

    def __init__(self, model: BaseChatModel | BaseLLM, system: str = "") -> None:
        self._model = model
        self._said: list[BaseMessage] = []
        self.system = system

    def ask(self, question: str) -> Iterator[str]:
        """The answer, piece by piece.

        What was heard of it becomes part of the conversation, also when the answer is stopped; a question that got
        no word of an answer does not.

        Raises:
            ContextOverflow: The conversation has grown longer than what the model can read.
        """
        from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

        asked = HumanMessage(question)
        start = [SystemMessage(self.system)] if self.system else []
        heard: list[str] = []
        looping = Repetition()
        try:
            with closing(self._stream([*start, *self._said, asked])) as chunks:  # pyright: ignore[reportArgumentType]
                for chunk in chunks:
                    heard.append(chunk if isinstance(chunk, str) else str(chunk.text))
                    yield heard[-1]
                    if looping.feed(heard[-1]) or _stopped_in_a_loop(chunk):
                        note("(stopped: the model repeats itself)")
                        break
        finally:
            if any(heard):
                self._said += [asked, AIMessage("".join(heard))]

    def _stream(self, messages: list[BaseMessage]) -> Iterator[Any]:
        """What the model writes; one that only continues text reads the turns as a text, and stops where one begins."""
        from langchain_core.language_models import BaseChatModel

        if isinstance(self._model, BaseChatModel):
            return self._model.stream(messages)
        turns = "".join(f"{_SPEAKERS[message.type]}{message.text}\n" for message in messages)
        return self._model.stream(f"{turns}{_SPEAKERS['ai'].rstrip()}", stop=[f"\n{_SPEAKERS['human'].rstrip()}"])

    def as_json(self, question: str, model: str | None) -> dict[str, Any]:
        """A turn for programs."""
        return {"question": question, "answer": "".join(self.ask(question)), "model": model}

    def reset(self) -> None:
        """Forget what was said; how to behave stays."""
        self._said.clear()

    def __len__(self) -> int:
        return len(self._said)


def _stopped_in_a_loop(chunk: Any) -> bool:
    return getattr(chunk, "response_metadata", {}).get("finish_reason") == "repetition"


class _Leave(Exception):
    """/exit was typed."""


def _answer_lines(conversation: ChatSession | DocumentConversation, json_model: str | None) -> None:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        question = decoded("standard input", line, number).strip()
        try:
            if not question or _obeyed(conversation, question):
                continue
        except _Leave:
            return
        if json_model is None:
            _show(conversation, question)
        else:
            say_json(conversation.as_json(question, json_model))


def _converse(conversation: ChatSession | DocumentConversation, spec: str) -> None:
    say(f"{spec}. /help shows what you can type; Ctrl-D leaves.")
    interrupted = False
    while True:
        try:
            line = _read_line()
            interrupted = not _turn(conversation, line)
        except (EOFError, _Leave):
            return
        except KeyboardInterrupt:
            say("")
            if interrupted and not _typed():
                return
            interrupted = True
            note("Ctrl-C again leaves")


def _turn(conversation: ChatSession | DocumentConversation, line: str) -> bool:
    """Do what was typed; False if Ctrl-C stopped the answer."""
    try:
        if line and not _obeyed(conversation, line):
            _show(conversation, line)
    except KeyboardInterrupt:
        say("\n(stopped)")
        return False
    except ChainkitError as error:
        trace(click.get_current_context(), error)
        advice = "; /reset forgets the conversation and starts afresh" if isinstance(error, ContextOverflow) else ""
        note(one_line(f"{error}{advice}"))
    return True


def _show(conversation: ChatSession | DocumentConversation, question: str) -> None:
    with waiting("thinking") as bar, closing(conversation.ask(question)) as pieces:  # pyright: ignore[reportArgumentType]
        for piece in pieces:
            bar.stop()
            say(piece, end="")
    say("")


def _obeyed(conversation: ChatSession | DocumentConversation, line: str) -> bool:
    """Do what a line like /reset says; False if it is no such line.

    Raises:
        _Leave: It says /exit.
    """
    if not _COMMAND.match(line):
        return False
    word, _, rest = line.partition(" ")
    match word:
        case "/exit" | "/quit":
            raise _Leave
        case "/reset":
            conversation.reset()
            note("the conversation is forgotten")
        case "/system":
            conversation.system = rest.strip() or conversation.system
            note(f"system: {conversation.system or 'nothing is set'}")
        case "/help":
            say(HELP)
        case _:
            raise ChainkitError(f"no command {word}; /help shows them")
    return True


def _read_line() -> str:
    lines = [input("> ")]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input(". "))
    return "\n".join(lines).strip()


def _typed() -> str:
    """What stood at the prompt when it was interrupted."""
    return readline.get_line_buffer() if readline else ""
