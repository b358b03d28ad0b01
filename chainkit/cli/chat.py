"""`chainkit chat`: a question answered once, or a conversation in the terminal."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from chainkit.base.errors import ChainkitError, NoModel
from chainkit.cli.answering import opened, refuse_model, reopened, usual_spec
from chainkit.cli.attachments import with_files
from chainkit.cli.faults import keeps, without_keys
from chainkit.cli.named import CONVERSATION, TEMPLATE
from chainkit.cli.options import (
    chosen,
    debug_option,
    embeddings_option,
    json_option,
    model_options,
    style_option,
    trace_option,
)
from chainkit.cli.rows import STDIN, read_text
from chainkit.cli.screen import note, say_json, waiting
from chainkit.cli.talk import answer_lines, converse, show

if TYPE_CHECKING:
    from chainkit.cli.chat_docs import DocumentConversation
    from chainkit.cli.chat_session import ChatSession, Keeping
    from chainkit.conversations.file import SavedConversation
    from chainkit.knowledge.answer.ways import Style


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What the command line says beside the model."""

    question: str | list[Any]
    once: bool
    as_json: bool
    max_tokens: int | None


@click.command()
@click.argument("question", nargs=-1)
@model_options
@click.option("-s", "--system", metavar="TEXT", default="", help="Tell the model how to behave.")
@click.option(
    "-t", "--template", type=TEMPLATE, metavar="NAME", help="Use a saved prompt; 'chainkit templates' lists them."
)
@click.option("--var", "given", multiple=True, metavar="NAME=TEXT", help="A variable of the template.")
@click.option(
    "-a", "--attach", multiple=True, metavar="FILE", help="Show the model an image, a PDF, a recording or text."
)
@click.option("-c", "--continue", "go_on", is_flag=True, help="Go on with the latest conversation.")
@click.option(
    "--conversation",
    "id_",
    type=CONVERSATION,
    metavar="ID",
    default="",
    help="Go on with this one; 'chainkit chats' lists them.",
)
@click.option("-l", "--last", is_flag=True, help="Show the latest conversation with the prompts sent, and ask nothing.")
@click.option("--no-save", is_flag=True, help="Keep nothing of this conversation.")
@click.option(
    "--docs", multiple=True, metavar="PATH", help="Answer from these files, folders, or an index, with citations."
)
@style_option
@embeddings_option
@click.option("--lines", is_flag=True, help="Take each line of standard input as a question.")
@trace_option
@json_option
@debug_option
@click.pass_context
def chat(
    ctx: click.Context,
    question: tuple[str, ...],
    model_spec: str | None,
    temperature: float | None,
    max_tokens: int | None,
    system: str,
    template: str | None,
    given: tuple[str, ...],
    attach: tuple[str, ...],
    go_on: bool,
    id_: str,
    last: bool,
    no_save: bool,
    docs: tuple[str, ...],
    style: Style | None,
    embeddings_spec: str,
    lines: bool,
    as_json: bool,
) -> None:
    """Answer QUESTION once, or talk with a model in the terminal.

    What comes through a pipe belongs to the question: 'cat notes.txt | chainkit chat -s "Summarise."'. Without a
    question, in a terminal, it is a conversation: the model sees all of it each time, Ctrl-C stops an answer, Ctrl-D
    leaves, /help shows the rest. --json writes {"question", "answer", "model", "conversation"}.

    Conversations are saved in a file that only you can read; 'chainkit chats' finds them, 'chainkit chats off' stops
    saving, --continue resumes the latest, with another model too.

    With --docs, answers come from documents and cite them; a follow-up like "and when?" is looked up in full. Without
    a model, the nearest sentences are shown.
    """
    if last:
        from chainkit.cli.chats import show_one

        show_one("", as_json)
        return
    refuse_model(ctx, question)
    keeps(lambda: "nothing was saved")
    _check(style=style, docs=docs, system=system, template=template, attach=attach, goes_on=go_on or bool(id_))
    text = _text(question, lines)
    saved = _from_template(template, given, text)
    text = saved.get("prompt", text)
    wanted = _Wanted(
        question=with_files(text, attach), once=_once(text, attach, lines), as_json=as_json, max_tokens=max_tokens
    )
    settings = chosen(temperature=temperature, max_tokens=max_tokens)
    if docs:
        _over_documents(wanted, docs, model_spec, settings, style, embeddings_spec)
        return
    earlier = _earlier(id_) if go_on or id_ else None
    named = model_spec if ctx.get_parameter_source("model_spec") is ParameterSource.COMMANDLINE else saved.get("model")
    system = system or saved.get("system", "")
    session = _session(named, model_spec, settings, system, earlier, save=not no_save)
    _talk(session, session.spec, wanted)


def _check(*, docs: tuple[str, ...], style: Style | None, goes_on: bool, **beside: object) -> None:
    if style and not docs:
        raise ChainkitError("--style says how to answer from documents; name them with --docs")
    if docs and goes_on:
        raise ChainkitError("--docs begins a new conversation: those over documents are not kept")
    for name in (name for name, value in beside.items() if docs and value):
        raise ChainkitError(f"--{name} and --docs do not go together: with --docs, how to answer is fixed")


def _text(words: tuple[str, ...], lines: bool) -> str:
    """The question: piped text, then the typed words."""
    typed = " ".join(words).strip()
    if lines and typed:
        raise ChainkitError("--lines takes the questions from standard input; leave out the one that is typed")
    piped = "" if sys.stdin.isatty() or lines else read_text(STDIN).strip()
    return "\n\n".join(filter(None, (piped, typed)))


def _once(text: str, attach: tuple[str, ...], lines: bool) -> bool:
    """Whether there is one question to answer.

    Raises:
        ChainkitError: There is none, and nobody to ask for one.
    """
    if lines:
        return False
    if not text and not attach and not sys.stdin.isatty():
        example = "'chainkit chat \"Why is the sky blue?\"'"
        raise ChainkitError(f"there is no question: type one, as in {example}, or pipe one in")
    return bool(text or attach)


def _from_template(name: str | None, given: tuple[str, ...], text: str) -> dict[str, str]:
    if name is None:
        if given:
            raise ChainkitError("--var gives a variable to a template; name it with -t")
        return {}
    from chainkit.cli.run import given_variables
    from chainkit.cli.templates import filled

    return filled(name, given_variables(given), text)


def _earlier(id_: str) -> SavedConversation:
    from chainkit.conversations.file import ConversationFile

    return ConversationFile().find(id_)


def _session(
    named: str | None,
    model_spec: str | None,
    settings: dict[str, Any],
    system: str,
    earlier: SavedConversation | None,
    *,
    save: bool,
) -> ChatSession:
    """The conversation to go on with, or a new one."""
    from chainkit.cli.chat_session import ChatSession
    from chainkit.conversations.file import ConversationFile

    earlier_spec = reopened(earlier.model) if earlier and earlier.model else None
    model, spec = opened(named or earlier_spec or model_spec or usual_spec(), **settings)
    file = ConversationFile()
    said = [one.message for one in file.messages(earlier.id)] if earlier else []
    system = system or (earlier.system if earlier else "")
    keeping = _keeping(file, earlier) if save else None
    return ChatSession(model, system, spec=spec, said=said, keeping=keeping)


def _keeping(file: Any, earlier: SavedConversation | None) -> Keeping | None:
    from chainkit.base.settings import user_settings
    from chainkit.cli.chat_session import Keeping

    if not user_settings().save_conversations:
        return None
    if not file.path.exists() and sys.stderr.isatty():
        note(f"conversations are kept in {file.path}, which only you can read; 'chainkit chats off' keeps none")
    return Keeping(file, earlier.id if earlier else "")


def _over_documents(
    wanted: _Wanted,
    docs: tuple[str, ...],
    model_spec: str | None,
    settings: dict[str, Any],
    style: Style | None,
    embeddings_spec: str,
) -> None:
    from chainkit.cli.chat_docs import over_documents

    spec = model_spec or _default_or_none()
    model = opened(spec, **settings)[0] if spec else None
    with over_documents(docs, model, embeddings_spec, wanted.max_tokens, style if model else None) as conversation:
        if model is None:
            note(str(NoModel()))
        _talk(conversation, without_keys(spec or "nearest sentences"), wanted)


def _default_or_none() -> str | None:
    from chainkit.registry import default_spec

    try:
        return default_spec()
    except NoModel:
        return None


def _talk(talk: ChatSession | DocumentConversation, spec: str, wanted: _Wanted) -> None:
    if not wanted.once and sys.stdin.isatty() and sys.stdout.isatty() and not wanted.as_json:
        converse(talk, spec)
        return
    keeping, before = getattr(talk, "keeping", None), len(talk)
    kept = "what you see is saved; 'chainkit chat -c' continues"
    keeps(lambda: kept if keeping and keeping.id and len(talk) > before else "nothing was saved")
    if not wanted.once:
        answer_lines(talk, spec if wanted.as_json else None)
    elif wanted.as_json:
        with waiting("thinking"):
            said = talk.as_json(wanted.question, spec)
        say_json(said)
    else:
        show(talk, wanted.question)
