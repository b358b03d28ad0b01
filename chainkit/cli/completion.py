"""`chainkit completion`: Tab completes commands, options, models, templates, conversations and files."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any, ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from chainkit.base.errors import ChainkitError
from chainkit.base.paths import config_dir
from chainkit.cli.options import debug_option
from chainkit.cli.screen import say

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_CHAINKIT_COMPLETE"
"""The environment variable with which a shell asks for completions."""

_MARK = "# completion of chainkit"

# bash cuts words at colons, which stand in the name of every model: the whole line is read in Python, and of an answer
# the part up to the colon, which is on the line already, is removed. No space is added after : or /.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' word="${COMP_LINE:0:COMP_POINT}" type value
    COMPREPLY=()
    while IFS=',' read -r type value; do
        if [[ $type == file ]]; then
            compopt -o default
        elif [[ $type == dir ]]; then
            compopt -o dirnames
        else
            [[ $value == *[:/] ]] && compopt -o nospace
            [[ $COMP_WORDBREAKS == *:* && ${word##* } == *:* ]] && value="${value#"${value%%%%:*}:"}"
            [[ $value == *' '* ]] && printf -v value %%q "$value"
            COMPREPLY+=("$value")
        fi
    done < <(COMP_WORDS="$word" %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s chainkit ck
"""


class _FilesElse(ShellComplete):
    """Where a command knows nothing to complete, files are."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        found = super().get_completions(args, incomplete)
        if found or incomplete.startswith("-"):
            return found
        return [CompletionItem(incomplete, type="file")]


class _Bash(_FilesElse, BashComplete):
    source_template: ClassVar[str] = _BASH

    @staticmethod
    def _check_version() -> None:
        """An older bash ignores unknown options."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)
        if line[-1:].isspace() or len(words) < 2:
            return words[1:], ""
        return words[1:-1], words[-1]


class _Zsh(_FilesElse, ZshComplete):
    source_template: ClassVar[str] = (
        "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }\n"
        + ZshComplete.source_template.replace(
            "compdef %(complete_func)s %(prog_name)s", "compdef %(complete_func)s chainkit ck"
        )
    )


class _Fish(_FilesElse, FishComplete):
    source_template: ClassVar[str] = FishComplete.source_template + "\ncomplete --command ck --wraps chainkit\n"


def register() -> None:
    """Let a shell that asks for completions get them as they are made here."""
    for one in (_Bash, _Zsh, _Fish):
        add_completion_class(one)


def script(shell: str) -> str:
    """What a shell has to run once in each session."""
    from chainkit.cli.main import cli

    kinds: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}
    return kinds[shell](cli, {}, "chainkit", VARIABLE).source()


_shell_argument = click.argument("shell", required=False, type=click.Choice(SHELLS))


@click.group()
@debug_option
def completion() -> None:
    """Let Tab complete commands, options, models, aliases, templates, conversations and files.

    'chainkit completion install' does it for your shell; a new terminal has it then.
    """


@completion.command()
@_shell_argument
@debug_option
def install(shell: str | None) -> None:
    """Install it for SHELL (bash, zsh or fish), by default the one in $SHELL.

    Writes a script into chainkit's folder of settings and one line into ~/.bashrc or ~/.zshrc; for fish, a file into
    its conf.d.
    """
    shell = shell or _own_shell()
    if shell == "fish":
        say(f"installed: {_written(_fish_file(), script(shell))}; open a new terminal")
        return
    path = _written(config_dir() / f"completion.{shell}", script(shell))
    start = _start_file(shell)
    if _MARK not in _read(start):
        with start.open("a", encoding="utf-8") as file:
            quoted = shlex.quote(str(path))
            file.write(f"\n[ -f {quoted} ] && . {quoted}  {_MARK}\n")
    say(f"installed: {path}, which {start} reads; open a new terminal, or run: . {shlex.quote(str(path))}")


@completion.command()
@_shell_argument
@debug_option
def remove(shell: str | None) -> None:
    """Take away what 'install' wrote."""
    shell = shell or _own_shell()
    path = _fish_file() if shell == "fish" else config_dir() / f"completion.{shell}"
    path.unlink(missing_ok=True)
    start = None if shell == "fish" else _start_file(shell)
    if start is not None and _MARK in _read(start):
        lines = _read(start).splitlines(keepends=True)
        start.write_text("".join(line for line in lines if _MARK not in line), encoding="utf-8")
    say(f"removed the completion of {shell}")


@completion.command()
@click.argument("shell", type=click.Choice(SHELLS))
@debug_option
def show(shell: str) -> None:
    """Write the script for SHELL to standard output, to install it yourself."""
    say(script(shell))


def _own_shell() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise ChainkitError(f"the shell '{name}' is not known here; name one of {', '.join(SHELLS)}")
    return name


def _start_file(shell: str) -> Path:
    if shell == "zsh":
        return Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc"
    return Path.home() / ".bashrc"


def _fish_file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "fish" / "conf.d" / "chainkit.fish"


def _read(path: Path) -> str:
    return path.read_text("utf-8", errors="surrogateescape") if path.is_file() else ""


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
