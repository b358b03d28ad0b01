"""`chainkit chats`: the conversations that were kept."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError
from chainkit.base.settings import change_settings, user_settings
from chainkit.cli.listing import ListingGroup
from chainkit.cli.moments import Moment
from chainkit.cli.named import CONVERSATION
from chainkit.cli.options import debug_option, json_option, require_folder_of
from chainkit.cli.rows import decoded
from chainkit.cli.screen import note, say, say_json, table

if TYPE_CHECKING:
    from chainkit.conversations.file import SavedConversation

_limit_option = click.option(
    "-n", "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="The most to show."
)


class _Chats(ListingGroup):
    otherwise = "search"


@click.group(cls=_Chats)
@debug_option
def chats() -> None:
    """Find, show, export and forget the conversations of 'chainkit chat'.

    Without a command they are listed; words that are not command are searched for: 'chainkit chats apple tree'. An ID
    may be cut to its beginning. They are kept in conversations.sqlite3 in the folder of settings, which only you can
    read; 'chainkit chats off' keeps none from then on.
    """


@chats.command("list")
@_limit_option
@json_option
@debug_option
def list_(limit: int, as_json: bool) -> None:
    """List the latest conversations, the newest first."""
    from chainkit.conversations.file import ConversationFile

    file = ConversationFile()
    _tell(file.recent(limit), as_json, f"no conversation is kept in {file.path}")


@chats.command()
@click.argument("words", nargs=-1, required=True)
@_limit_option
@json_option
@debug_option
def search(words: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Find conversations in which each of WORDS, or a part of it, was said."""
    from chainkit.conversations.file import ConversationFile

    found = ConversationFile().search([part for word in words for part in word.split()], limit)
    _tell(found, as_json, f"no conversation holds '{' '.join(words)}'; commands: {', '.join(chats.commands)}")


@chats.command()
@click.argument("id", type=CONVERSATION, required=False, default="")
@json_option
@debug_option
def show(id: str, as_json: bool) -> None:  # noqa: A002 - as it is called
    """Show the messages and the model of a conversation; without ID, of the latest."""
    show_one(id, as_json)


def show_one(id: str, as_json: bool) -> None:  # noqa: A002 - as it is called
    """Show the conversation of this id, or the latest for an empty one.

    Raises:
        ConversationFileError: There is none.
    """
    from chainkit.conversations.export import exported, shown
    from chainkit.conversations.file import ConversationFile

    file = ConversationFile()
    one = file.find(id)
    messages = file.messages(one.id)
    if as_json:
        click.echo(exported(one, messages, "json"), file=sys.stdout)
        return
    say(f"{one.id}  {_local(one.started)}")
    if one.system:
        say(f"system: {one.system}")
    model = ""
    for each in messages:
        if each.model != model:
            model = each.model
            say(f"model: {model}")
        say(f"\n{'> ' if each.message.type == 'human' else ''}{shown(each)}")


@chats.command()
@click.argument("ids", type=CONVERSATION, nargs=-1, metavar="[ID]...")
@click.option("-o", "--output", metavar="FILE", help="Write here; by default to standard output.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "markdown", "openai"]),
    default="json",
    show_default=True,
    help="json holds everything and can be imported; openai is what other programs take.",
)
@debug_option
def export(ids: tuple[str, ...], output: str | None, form: str) -> None:
    """Write these conversations, or all, as text: of json and openai one line for each."""
    from chainkit.conversations.export import exported
    from chainkit.conversations.file import ConversationFile

    file = ConversationFile()
    chosen = [file.find(one) for one in ids] if ids else file.recent(sys.maxsize)[::-1]
    if output is None:
        for one in chosen:
            say(exported(one, file.messages(one.id), form))
        return
    require_folder_of(Path(output))
    if Path(output).exists():
        raise ChainkitError(f"{output} is there already; choose another name")
    with open(output, "x", encoding="utf-8", opener=_private) as target:
        for one in chosen:
            target.write(f"{exported(one, file.messages(one.id), form)}\n")
    say(f"wrote {_counted(len(chosen))} to {output}")


@chats.command("import")
@click.argument("file")
@debug_option
def import_(file: str) -> None:
    """Add the conversations of FILE, which 'chainkit chats export' wrote as json."""
    from chainkit.conversations.export import take_in
    from chainkit.conversations.file import ConversationFile

    with open(file, "rb") as source:
        lines = ((number, decoded(file, line, number)) for number, line in enumerate(source, 1) if line.strip())
        count = take_in(ConversationFile(), lines)
    say(f"added {_counted(count)}")


@chats.command()
@click.argument("ids", type=CONVERSATION, nargs=-1, metavar="[ID]...")
@click.option("--older-than", "before", type=Moment(), metavar="WHEN", help="Those without a word since, like 30d.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@debug_option
def forget(ids: tuple[str, ...], before: datetime | None, everything: bool) -> None:
    """Delete conversations, so that the file holds their words no more."""
    from chainkit.conversations.file import ConversationFile

    if bool(ids) + bool(before) + everything != 1:
        raise click.UsageError("say which: an ID or several, --older-than WHEN, or --all")
    file = ConversationFile()
    chosen = [file.find(one).id for one in ids] if ids else None
    say(f"forgot {_counted(file.forget(chosen, before=before))}")


@chats.command()
@debug_option
def off() -> None:
    """Keep no conversation from now on; those that are kept stay until they are forgotten."""
    say(f"conversations are not kept from now on (set in {change_settings(save_conversations=False)})")


@chats.command()
@debug_option
def on() -> None:
    """Keep conversations from now on, which is how it is at first."""
    say(f"conversations are kept from now on (set in {change_settings(save_conversations=True)})")


def _tell(found: list[SavedConversation], as_json: bool, nothing: str) -> None:
    if as_json:
        say_json([_brief(one) for one in found])
        return
    if not found:
        note(nothing)
    else:
        last = "found" if any(one.excerpt for one in found) else "began with"
        rows = [[one.id, _local(one.changed), one.model, str(one.count), one.excerpt or one.title] for one in found]
        table(["id", "last said", "model", "messages", last], rows)
    if not user_settings().save_conversations:
        note("conversations are not kept now; 'chainkit chats on' keeps them")


def _brief(one: SavedConversation) -> dict[str, Any]:
    return {**vars(one), "started": one.started.isoformat(), "changed": one.changed.isoformat()}


def _counted(count: int) -> str:
    return f"{count} conversation{'' if count == 1 else 's'}"


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _private(path: str, flags: int) -> int:
    import os

    return os.open(path, flags, 0o600)
