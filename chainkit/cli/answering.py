"""The model that a command of the terminal talks to, and words that were meant for its name."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from chainkit.base.errors import ChainkitError, NoModel, SpecError
from chainkit.base.redaction import HIDDEN
from chainkit.cli.faults import without_keys
from chainkit.cli.screen import load, note, waiting

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, BaseLLM


def opened(spec: str, **settings: Any) -> tuple[BaseChatModel | BaseLLM, str]:
    """Load the model that answers; returns it and its full spec without keys, for storing and display."""
    from chainkit.registry import answering

    with waiting("loading the model") as bar:
        model = answering(spec, **settings)
        load(model, bar)
    return model, without_keys(lasting(spec))


def usual_spec() -> str:
    """The spec of the usual model; where none is set up, SmolLM2 if its package is installed, which is said.

    Raises:
        NoModel: There is none.
    """
    from chainkit.registry import default_spec

    try:
        return default_spec()
    except NoModel:
        from chainkit.backends.llama_cpp.smollm2 import ready

        if not ready():
            raise
    note("no model is set up: smollm2 answers, a very small one; 'chainkit models default SPEC' sets another")
    return "smollm2"


def lasting(spec: str) -> str:
    """A spec that means the same from any folder and after an alias has changed.

    Raises:
        SpecError: It cannot be understood.
    """
    from chainkit.base.spec import written
    from chainkit.registry import read_spec

    read = read_spec(spec)
    if Path(read.name).is_file():
        read = replace(read, name=str(Path(read.name).absolute()))
    return written(read)


def reopened(spec: str) -> str:
    """A kept spec without the options whose values were keys: those are found again as always."""
    from chainkit.base.spec import written
    from chainkit.registry import read_spec

    read = read_spec(spec)
    return written(replace(read, options={name: value for name, value in read.options.items() if value != HIDDEN}))


def maker_of(spec: str, model: object) -> str:
    """By what a model knows its own answers again: service, name and API, whatever its other settings."""
    from chainkit.base.spec import written
    from chainkit.registry import read_spec

    read = read_spec(spec)
    place = {name: value for name, value in read.options.items() if name in ("base_url", "service")}
    return f"{written(replace(read, options=place))} {getattr(model, 'api', '')}".strip()


def names_model(word: str) -> bool:
    """Whether a word is a spec: the name of a provider, `provider:name`, an alias or a model file."""
    from chainkit.registry import read_spec

    if not word or any(character.isspace() for character in word):
        return False
    try:
        read_spec(word)
    except SpecError:
        return False
    return True


def refuse_model(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Refuse a first word that names a model where none is named with -m, as in `chainkit chat smollm2 "Hello"`.

    Raises:
        ChainkitError: It does; the message holds the command to type.
    """
    if ctx.get_parameter_source("model_spec") is ParameterSource.COMMANDLINE or not words or not names_model(words[0]):
        return
    rest = [shlex.quote(" ".join(words[1:]))] if words[1:] else []
    command = " ".join([ctx.command_path, "-m", shlex.quote(without_keys(words[0])), *rest])
    raise ChainkitError(f"'{without_keys(words[0])}' names a model, which is said with -m: {command}")
