"""`chainkit log`: logged prompts, answers, tokens and costs."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.faults import without_keys
from chainkit.cli.listing import ListingGroup
from chainkit.cli.moments import Moment
from chainkit.cli.options import USUAL_LOG, Decorated, debug_option, json_option
from chainkit.cli.screen import note, say, say_json, table

if TYPE_CHECKING:
    from chainkit.observe.log import Filter, Sum
    from chainkit.observe.step import Step

_SHOWN = 60  # characters of a prompt in the list
_EMPTY = f"nothing is kept yet: run a command with --trace={USUAL_LOG}, or name a --file"


_file_option = click.option("--file", metavar="FILE", default=USUAL_LOG, help="The log; by default the usual one.")


def _filter_options(command: Decorated) -> Decorated:
    for option in (
        click.option("--before", type=Moment(), metavar="WHEN", help="Only what began before, like 2026-11-21 or 7d."),
        click.option("--since", type=Moment(), metavar="WHEN", help="Only what began since then."),
        click.option("--errors", is_flag=True, help="Only runs in which something failed."),
        click.option("--model", metavar="NAME", default="", help="Only runs that called a model of this name."),
        click.option("--text", metavar="TEXT", default="", help="Only runs in which this was said or asked."),
    ):
        command = option(command)
    return command


@click.group(cls=ListingGroup)
@debug_option
def log() -> None:
    """Browse what --trace=FILE or chainkit.trace(FILE) kept.

    Without a command, or with options only, it is 'log list'. Prompts and answers are kept whole, API keys never.
    """


@log.command("list")
@_filter_options
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="The most to show."
)
@_file_option
@json_option
@debug_option
def list_(limit: int, file: str, as_json: bool, **wanted: Any) -> None:
    """List the latest runs, the newest first."""
    from chainkit.observe import log as kept

    path = _path(file)
    steps = [] if path is None else kept.recent(path, limit=limit, only=_filter(**wanted))
    if as_json:
        say_json([_brief(step) for step in steps])
        return
    if not steps:
        note(_EMPTY if path is None else "no run is kept that fits")
        return
    columns = ["id", "began", "run", "models", "tokens", "cost", "seconds", "asked"]
    table(columns, [_row(step) for step in steps])


@log.command()
@click.argument("id")
@click.option("--shorten", type=click.IntRange(min=1), metavar="N", help="Cut each text to N characters.")
@_file_option
@json_option
@debug_option
def show(id: str, shorten: int | None, file: str, as_json: bool) -> None:  # noqa: A002 - as it is called
    """Show the run ID, or the beginning or end of an id, as a tree with every prompt and answer."""
    from chainkit.observe import log as kept
    from chainkit.observe.tree import tree

    path = _path(file)
    if path is None:
        raise ChainkitError(_EMPTY)
    step = kept.read(path, id)
    if as_json:
        say_json(_whole(step))
        return
    say(f"{step.id}  {_local(step.started)}")
    say(without_keys(tree([step], shorten)))


@log.command()
@_filter_options
@_file_option
@json_option
@debug_option
def totals(file: str, as_json: bool, **wanted: Any) -> None:
    """Add up calls, tokens, time and cost for each model."""
    from chainkit.observe import log as kept

    path = _path(file)
    sums = [] if path is None else kept.sums(path, _filter(**wanted))
    if as_json:
        say_json([asdict(one) for one in sums])
        return
    if not sums:
        note(_EMPTY if path is None else "no call of a model is kept that fits")
        return
    columns = ["model", "calls", "failed", "tokens in", "tokens out", "cached", "seconds", "cost"]
    table(columns, [*map(_sum_row, sums), *([_sum_row(_added(sums))] if len(sums) > 1 else [])])


@log.command()
@click.option("--older-than", type=Moment(), metavar="WHEN", help="A date, or an age like 30d.")
@click.option("--all", "everything", is_flag=True, help="All of it.")
@_file_option
@debug_option
def forget(older_than: datetime | None, everything: bool, file: str) -> None:
    """Delete runs older than a date or an age, or all."""
    from chainkit.observe import log as kept

    if (older_than is None) != everything:
        raise click.UsageError("give --older-than WHEN or --all")
    path = _path(file)
    count = 0 if path is None else kept.forget(path, before=older_than)
    say(f"deleted {count} run{'s' * (count != 1)}")


def _path(file: str) -> Path | None:
    """The log to read; None as long as nothing was kept in the usual one."""
    from chainkit.observe.log import log_file

    if file != USUAL_LOG:
        return Path(file)
    path = log_file()
    return path if path.exists() else None


def _filter(text: str, model: str, errors: bool, since: datetime | None, before: datetime | None) -> Filter:
    from chainkit.observe.log import Filter

    return Filter(containing=text, model=model, failed=errors, since=since, before=before)


def _row(step: Step) -> list[str]:
    from chainkit.observe.tree import dollars

    brief = _brief(step)
    tokens = f"{brief['input_tokens']}/{brief['output_tokens']}" if brief["input_tokens"] is not None else "unknown"
    failed = " (failed)" if brief["failed"] else ""
    asked = " ".join(brief["asked"].split())
    return [
        step.id[-8:],
        _local(step.started),
        step.name + failed,
        ", ".join(brief["models"]),
        tokens if brief["models"] else "",
        dollars(brief["cost"]).replace("cost ", "") if brief["models"] else "",
        "" if step.seconds is None else f"{step.seconds:.2f}",
        asked if len(asked) <= _SHOWN else f"{asked[:_SHOWN]}...",
    ]


def _brief(step: Step) -> dict[str, Any]:
    calls = step.models
    costs = [call.cost for call in calls]
    counted = any(call.input_tokens is not None for call in calls)
    return {
        "id": step.id,
        "started": step.started.isoformat(),
        "name": step.name,
        "models": list(dict.fromkeys(f"{call.provider}:{call.model}".strip(":") for call in calls)),
        "calls": len(calls),
        "input_tokens": sum(call.input_tokens or 0 for call in calls) if counted else None,
        "output_tokens": sum(call.output_tokens or 0 for call in calls) if counted else None,
        "cost": None if not calls or None in costs else sum(cost or 0 for cost in costs),
        "seconds": step.seconds,
        "failed": any(one.error for one in step.walk()),
        "asked": _asked(step),
    }


def _asked(step: Step) -> str:
    """What the last message to the first model was."""
    messages = step.models[0].messages if step.models else ()
    content = messages[-1][1] if messages else step.inputs
    return content if isinstance(content, str) else str(content or "")


def _whole(step: Step) -> dict[str, Any]:
    plain = {field.name: getattr(step, field.name) for field in fields(step)}
    children = [_whole(child) for child in step.children]
    return {**plain, "started": step.started.isoformat(), "children": children}


def _sum_row(one: Sum) -> list[str]:
    from chainkit.observe.tree import dollars

    unknown = one.calls == one.unpriced
    cost = "unknown" if unknown else dollars(one.cost) + (f" without {one.unpriced} calls" if one.unpriced else "")
    counted = one.calls > one.uncounted
    tokens = [f"{one.input_tokens:,}", f"{one.output_tokens:,}"] if counted else ["unknown", "unknown"]
    name = f"{one.provider}:{one.model}".strip(":") or "unnamed"
    return [name, str(one.calls), str(one.failed), *tokens, f"{one.cached_tokens:,}", f"{one.seconds:.1f}", cost]


def _added(sums: list[Sum]) -> Sum:
    from chainkit.observe.log import Sum

    numbers = [field.name for field in fields(Sum)][2:]
    return Sum(provider="", model="all", **{name: sum(getattr(one, name) for one in sums) for name in numbers})


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
