"""`chainkit keys`: API keys in a file that only the user can read."""

from __future__ import annotations

import sys

import click

from chainkit.base.errors import ChainkitError, nearest
from chainkit.base.keys import KEY_VARIABLES, find_key, forget_key, keys_file, store_key, stored_providers
from chainkit.base.spec import normalised
from chainkit.cli.options import debug_option, json_option
from chainkit.cli.screen import note, say, say_json, table
from chainkit.registry import ALIASES


@click.group()
@debug_option
def keys() -> None:
    """Store, list and forget API keys.

    They are kept in a file that only you can read. An environment variable wins over a stored key, and so does one in
    a file .env of the current folder.
    """


@keys.command("set", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@click.argument("provider")
@debug_option
@click.pass_context
def set_(ctx: click.Context, provider: str) -> None:
    """Store the key of PROVIDER, asked for at a hidden prompt or read from standard input.

    The key is never an argument: the shell would write it into its history.
    """
    name = _known(provider)
    if ctx.args:
        # click's own words would repeat the argument, which may be the key
        raise click.UsageError(
            f"a key is not given as an argument, where the shell's history would keep it; "
            f"run 'chainkit keys set {name}' and paste it at the prompt, or pipe it in"
        )
    path = store_key(name, _checked(name, _read(name)))
    say(f"stored the key for {name} in {path}")
    if variable := _set_variable(name):
        note(f"{variable} is set too and wins over the stored key")


@keys.command("list")
@json_option
@debug_option
def list_(as_json: bool) -> None:
    """Show where each provider's key comes from; never the key."""
    rows = [{"provider": name, "source": _source(name), "variables": list(KEY_VARIABLES[name])} for name in _listed()]
    if as_json:
        say_json(rows)
        return
    shown = [[row["provider"], row["source"] or f"not set ({' or '.join(row['variables'])})"] for row in rows]
    table(["provider", "key from"], shown)


@keys.command("forget")
@click.argument("provider")
@debug_option
def forget(provider: str) -> None:
    """Remove the stored key of PROVIDER."""
    name = normalised(provider) if normalised(provider) in stored_providers() else _known(provider)
    if not forget_key(name):
        variable = _set_variable(name)
        advice = f"; {variable} is set, unset it there" if variable else ""
        raise ChainkitError(f"no key for {name} is stored in {keys_file()}{advice}")
    say(f"forgot the stored key for {name}")
    if variable := _set_variable(name):
        note(f"{variable} is still set and is used")


def _listed() -> list[str]:
    return [*KEY_VARIABLES]


def _source(provider: str) -> str | None:
    key = find_key(provider)
    return key.source if key else None


def _set_variable(provider: str) -> str | None:
    """What wins over the stored key: a variable of the environment or of .env."""
    key = find_key(provider)
    return key.source if key and key.source != str(keys_file()) else None


def _known(provider: str) -> str:
    name = normalised(provider)
    name = ALIASES.get(name, name)
    if name in KEY_VARIABLES:
        return name
    hint = nearest(name, KEY_VARIABLES)
    advice = f"did you mean '{hint}'?" if hint else f"providers with keys: {', '.join(KEY_VARIABLES)}"
    raise ChainkitError(f"no provider named '{provider}' has a key; {advice}")


def _read(provider: str) -> str:
    if sys.stdin.isatty():
        return click.prompt(f"Key for {provider} (hidden)", hide_input=True, err=True)
    return sys.stdin.read()


def _checked(provider: str, text: str) -> str:
    secret = text.strip()
    if not secret:
        raise ChainkitError(f"the key for {provider} is empty; pipe it in or paste it at the prompt")
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        # the key itself is not shown
        raise ChainkitError(f"that is not a key for {provider}: it has spaces, line breaks or characters outside ASCII")
    return secret
