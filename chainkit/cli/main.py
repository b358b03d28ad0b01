"""The `chainkit` command itself: a table of commands, each imported when it runs."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any, NamedTuple

import click

from chainkit import __version__
from chainkit.base.errors import nearest
from chainkit.cli.faults import end_on_sigterm, exit_status, interrupt_again
from chainkit.cli.options import debug_option, with_trace_file


class Command(NamedTuple):
    """Where a command lives and the line that `chainkit --help` shows for it."""

    home: str
    help: str


# command -> "module:command" and its help; shown in this order
COMMANDS: dict[str, Command] = {
    "ask": Command("chainkit.cli.ask:ask", "Answer a question from your files, with citations."),
    "index": Command("chainkit.cli.index:index", "Read documents into an index, or copy one to a vector store."),
    "search": Command("chainkit.cli.search:search", "Find passages by meaning and words."),
    "eval": Command("chainkit.cli.eval:evaluate", "Score answers to questions that you know the answers to."),
    "chat": Command("chainkit.cli.chat:chat", "Answer a question once, or talk with a model in the terminal."),
    "chats": Command("chainkit.cli.chats:chats", "Find, show, export and forget conversations of 'chat'."),
    "complete": Command("chainkit.cli.complete:complete", "Let a model continue a text."),
    "decide": Command("chainkit.cli.decide:decide", "Answer typed questions about texts, with probabilities."),
    "run": Command("chainkit.cli.run:run", "Run a program: a template in which a model writes."),
    "map": Command("chainkit.cli.map:map_command", "Run a model, program or chain on every row of a file."),
    "check": Command("chainkit.cli.check:check", "Check whether programs can be read."),
    "embed": Command("chainkit.cli.embed:embed", "Turn texts into vectors."),
    "cluster": Command("chainkit.cli.cluster:cluster", "Sort texts into groups by meaning."),
    "similar": Command("chainkit.cli.similar:similar", "Find texts that nearly repeat each other, or are like a text."),
    "heatmap": Command("chainkit.cli.heatmap:heatmap", "Draw how alike texts are."),
    "tune": Command("chainkit.cli.tune:tune", "Teach a model a task from examples."),
    "upscale": Command("chainkit.cli.upscale:upscale", "Make a deeper model from a model's own layers."),
    "pull": Command("chainkit.cli.pull:pull", "Fetch a model from a Hugging Face hub."),
    "size": Command("chainkit.cli.size:size", "Show how much memory a model needs and where it fits."),
    "bench": Command("chainkit.cli.bench:bench", "Measure how fast a local model reads and writes on this machine."),
    "tokens": Command("chainkit.cli.tokens:tokens", "Show how a text is cut into tokens and what may come next."),
    "convert": Command("chainkit.cli.convert:convert", "Convert an old GGML file to GGUF."),
    "models": Command("chainkit.cli.models:models", "Show which providers are usable and what is missing."),
    "serve": Command("chainkit.cli.serve:serve", "Serve models, documents and chains over OpenAI's API."),
    "doctor": Command("chainkit.cli.doctor:doctor", "Test which features an OpenAI-compatible server supports."),
    "log": Command("chainkit.cli.log:log", "Browse the prompts, answers and costs that --trace logged."),
    "cache": Command("chainkit.cli.cache:cache", "Show or clear the answer cache."),
    "keys": Command("chainkit.cli.keys:keys", "Store, list and forget API keys."),
    "templates": Command("chainkit.cli.templates:templates", "Save prompts by name for 'chat -t'."),
    "completion": Command("chainkit.cli.completion:completion", "Let Tab complete commands, models and files."),
}


# what people type who know other programs -> the command that does it here
_ELSEWHERE = {
    "config": "models", "help": "--help", "history": "chats", "list": "models", "logs": "chats", "ls": "models",
    "prompt": "chat", "ps": "models", "settings": "models", "template": "templates", "alias": "models alias",
    "aliases": "models alias", "default": "models default", "version": "--version", "download": "pull",
}  # fmt: skip
_CHAT = "chat"
"""The command that a question without a command goes to."""


class Commands(click.Group):
    """A group that knows the names and help lines of its commands without importing them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does it; short options but -h are those of `chat`, as in `chainkit -c "And why?"`."""
        if args and args[0][:1] == "-" and args[0][1:2].isalpha() and args[0] not in ctx.help_option_names:
            args = [_CHAT, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].home.partition(":")
        return getattr(importlib.import_module(module), name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but with the nearest name for one that does not exist."""
        name = args[0]
        if any(character.isspace() for character in name):  # no command is named so: it is a question
            args = [_CHAT, *args]
        elif name not in COMMANDS and not name.startswith("-"):
            hint = _ELSEWHERE.get(name) or nearest(name, COMMANDS)
            advice = f"Did you mean '{hint}'?" if hint else f"To ask a model: chainkit {_CHAT} {' '.join(args)}"
            ctx.fail(f"No such command '{name}'. {advice}")
        return super().resolve_command(ctx, with_trace_file(args))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help lines from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; its errors become one line and an exit status."""
        with exit_status(ctx):
            return super().invoke(ctx)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chainkit")
@debug_option
def cli() -> None:
    """Language models, embeddings and questions about your files, local or hosted.

    'chainkit COMMAND --help' explains a command; 'chainkit models' shows what can be used here. A question without a
    command goes to 'chat': chainkit "Why is the sky blue?"
    """


def main() -> None:
    """Run the command that the program's arguments name, and exit."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as in 'chainkit models >&-'
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115 - open until the end
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot show a character gets a '?' in its place, not a crash
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if "_CHAINKIT_COMPLETE" in os.environ:
        importlib.import_module("chainkit.cli.completion").register()
    sys.unraisablehook = interrupt_again
    end_on_sigterm()
    cli.main(prog_name="chainkit")


if __name__ == "__main__":
    main()
