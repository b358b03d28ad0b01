"""`chainkit templates`: prompts that are saved by name, with variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click

from chainkit.base.errors import ChainkitError, nearest
from chainkit.base.settings import change_settings, user_settings
from chainkit.cli.answering import lasting
from chainkit.cli.faults import without_keys
from chainkit.cli.listing import ListingGroup
from chainkit.cli.named import MODEL, TEMPLATE
from chainkit.cli.options import debug_option, json_option
from chainkit.cli.screen import note, say, say_json, table

INPUT = "input"
"""The variable for typed or piped text."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_SHOWN = 60  # characters of a template in the list


def filled(name: str, variables: Mapping[str, Any], question: str) -> dict[str, str]:
    """A template with its variables put in: the "system" text, the "prompt" and the "model".

    Typed or piped text replaces {input}; without {input} in the prompt, it follows the prompt.

    Raises:
        ChainkitError: There is no such template, or variables are missing; all of them are named.
    """
    template = _template(name)
    prompts = {part: _prompt(part, template.get(part, "")) for part in ("system", "prompt")}
    wanted = list(dict.fromkeys(one for prompt in prompts.values() for one in prompt.input_variables))
    values = {**variables, **({INPUT: question} if question else {})}
    if unknown := sorted({*variables} - {*wanted}):
        has = f"it has {', '.join(wanted)}" if wanted else "it has none"
        raise ChainkitError(f"the template '{name}' has no variable {', '.join(unknown)}; {has}")
    if missing := [one for one in wanted if one not in values]:
        ways = [f"--var {one}=..." for one in missing if one != INPUT]
        ways += ["type or pipe the text for {input}"] if INPUT in missing else []
        raise ChainkitError(f"the template '{name}' needs {', '.join(missing)}: {', '.join(ways)}")
    texts = {
        part: prompt.format(**{one: values[one] for one in prompt.input_variables}) for part, prompt in prompts.items()
    }
    if INPUT not in wanted:
        texts["prompt"] = "\n\n".join(filter(None, (texts["prompt"], question)))
    return {**texts, "model": template.get("model", "")}


@click.group(cls=ListingGroup)
@debug_option
def templates() -> None:
    """Save prompts by name for 'chainkit chat -t NAME'.

    {name} in a text is a variable, given with --var name=...; {input} is the typed or piped text; {{ and }} are
    braces. Templates are saved in settings.json in the settings folder.
    """


@templates.command("list")
@json_option
@debug_option
def list_(as_json: bool) -> None:
    """List the templates."""
    known = user_settings().templates
    if as_json:
        say_json({name: {**known[name], "variables": _variables(known[name])} for name in sorted(known)})
        return
    if not known:
        note('no template is saved yet: chainkit templates save NAME -s "..." -p "..."')
        return
    rows = [
        [
            name,
            ", ".join(_variables(known[name])),
            _short(known[name].get("system", "")),
            _short(known[name].get("prompt", "")),
        ]
        for name in sorted(known)
    ]
    table(["template", "variables", "system", "prompt"], rows)


@templates.command()
@click.argument("name")
@click.option("-s", "--system", metavar="TEXT", default="", help="The system prompt.")
@click.option("-p", "--prompt", metavar="TEXT", default="", help="The prompt.")
@click.option("-m", "--model", "model_spec", type=MODEL, metavar="SPEC", default="", help="The model to use with it.")
@click.option("--overwrite", is_flag=True, help="Replace a template of this name.")
@debug_option
def save(name: str, system: str, prompt: str, model_spec: str, overwrite: bool) -> None:
    """Save a system text, a prompt or both as NAME."""
    known = dict(user_settings().templates)
    if not _NAME.fullmatch(name):
        raise ChainkitError(f"'{name}' cannot be a template's name: letters, digits and the signs . _ - only")
    if name in known and not overwrite:
        raise ChainkitError(f"there is a template '{name}'; --overwrite replaces it")
    if not system.strip() and not prompt.strip():
        raise ChainkitError("a template needs a text: -s for the system prompt, -p for the prompt")
    for part, text in (("system", system), ("prompt", prompt)):
        _prompt(part, text)
    model = lasting(model_spec) if model_spec else ""
    texts = {"system": system, "prompt": prompt, "model": model}
    known[name] = {part: text for part, text in texts.items() if text}
    change_settings(templates=known)
    wanted = [one for one in _variables(known[name]) if one != INPUT]
    say(f"saved; to use it: {' '.join(['chainkit chat -t', name, *(f'--var {one}=...' for one in wanted)])}")


@templates.command()
@click.argument("name", type=TEMPLATE)
@debug_option
def show(name: str) -> None:
    """Show the template NAME."""
    for part, text in _template(name).items():
        say(f"{part}: {without_keys(text)}")


@templates.command()
@click.argument("name", type=TEMPLATE)
@debug_option
def forget(name: str) -> None:
    """Delete the template NAME."""
    _template(name)
    change_settings(templates={one: texts for one, texts in user_settings().templates.items() if one != name})
    say(f"forgot the template {name}")


def _template(name: str) -> Mapping[str, str]:
    known = user_settings().templates
    if name not in known:
        hint = nearest(name, known)
        advice = f"did you mean '{hint}'?" if hint else "'chainkit templates' lists them"
        raise ChainkitError(f"no template is named '{name}'; {advice}")
    return known[name]


def _prompt(part: str, text: str) -> Any:
    from chainkit.prompts.short import prompt

    try:
        return prompt(text)
    except ValueError as error:
        raise ChainkitError(f"the {part} text of a template cannot be read: {error}") from error


def _variables(template: Mapping[str, str]) -> list[str]:
    texts = [_prompt(part, template.get(part, "")) for part in ("system", "prompt")]
    return list(dict.fromkeys(one for text in texts for one in text.input_variables))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN - 3]}..."
