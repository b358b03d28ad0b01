"""`gen`: what the model is asked, and where its answer goes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from chainkit.base.errors import ConstraintError, ProgramError
from chainkit.base.session import Piece
from chainkit.programs.language.syntax import Arguments, Gen, Name
from chainkit.programs.model import forms
from chainkit.programs.model.protocol import Generate, Slot, SlotResult
from chainkit.programs.model.record import SlotBegun, SlotDone, TextAdded
from chainkit.programs.run import toolbox
from chainkit.programs.run.line import ExecutionLine
from chainkit.programs.run.steps import Ask, Steps, Together

_QUOTES = ("'''", '"""', "```", '"', "'", "`")
_TAG = re.compile(r"<([A-Za-z][\w.:-]*)(?:\s[^<>]*)?>\s*\Z")
_MOST_ROWS = 1000


@dataclass(frozen=True)
class _Plan:
    """A slot and what becomes of its text."""

    slot: Slot
    wanted: forms.Wanted
    rows: int
    list_append: bool
    save_stop_text: bool | str
    streamed: bool
    tools: toolbox.Tools | None


def gen(run: ExecutionLine, node: Gen, following: str) -> Steps:
    """The model writes; gives the value of the variable."""
    hidden = yield from run.flag(node.arguments, "hidden", False)
    plan = yield from _planned(run, node.arguments, following)
    prompt_name = yield from run.text(node.arguments, "save_prompt")
    if prompt_name:
        run.scope.assign(prompt_name, run.context.prompt)
    if not hidden:
        return (yield from _filled(run, plan))
    inner, mark, tail = run.inside(), run.context.mark(), run.record.tail
    inner.hidden += 1
    try:
        return (yield from _filled(inner, plan))
    finally:
        run.context.rewind(mark)
        run.record.tail = tail


def _filled(run: ExecutionLine, plan: _Plan) -> Steps:
    name = plan.slot.name
    yield SlotBegun(name)
    try:
        if plan.tools:
            all_written = [(yield from toolbox.answered(run, plan.slot, plan.tools))]
        else:
            all_written = yield from _rows(run, plan)
    except ConstraintError as error:  # of the pattern, schema or grammar
        raise ProgramError(str(error)) from error
    results = [_value(run, plan, written) for written in all_written]
    first = all_written[0]
    _store(run, plan, all_written, results)
    value = results if plan.rows > 1 else results[0]
    yield SlotDone(name, first.text, value, first.finish, first.detail, first.scores)
    run.shared.check()
    return results if plan.rows > 1 else results[0]


def _rows(run: ExecutionLine, plan: _Plan) -> Steps:
    """The result of each row; the first one is in the context and in the text."""
    shown_already = [0]

    def heard(piece: Piece) -> TextAdded | None:
        shown_already[0] += len(piece.text)
        return run.note(piece.text, "model", plan.slot.name)

    streamed = plan.streamed and plan.rows == 1
    first = Ask(Generate(run.context, plan.slot), heard if streamed else None)
    if plan.rows == 1:
        written: list[SlotResult] = [(yield first)]
    else:
        written = yield from _several(run, plan, first)
    rest = written[0].text[shown_already[0] :]
    yield from run.add(rest, "model", plan.slot.name, [other.text for other in written[1:]])
    return written


def _several(run: ExecutionLine, plan: _Plan, first: Ask) -> Steps:
    others = [run.context.fork() for _ in range(plan.rows - 1)]
    seeds = [run.next_seed(plan.slot.seed, row) for row in range(1, plan.rows)]
    slots = [replace(plan.slot, seed=seed) for seed in seeds]
    asks = [first, *(Ask(Generate(context, slot)) for context, slot in zip(others, slots, strict=True))]
    try:
        return (yield Together([_one(ask) for ask in asks]))
    finally:
        for context in others:
            context.release()


def _one(ask: Ask) -> Steps:
    return (yield ask)


def _value(run: ExecutionLine, plan: _Plan, written: SlotResult) -> Any:
    form = plan.wanted.form
    if form is None:
        return plan.wanted.read(written.text)
    if written.finish == "length" and not forms.fits(form, written.text):
        run.shared.finishes[plan.slot.name] = written.detail or "a limit was reached"
        return None if plan.wanted.read is not str else written.text
    try:
        return plan.wanted.read(written.text)
    except ValueError as error:
        raise ProgramError(f"the model's text {written.text[:80]!r} is not {form}: {error}") from error


def _store(run: ExecutionLine, plan: _Plan, all_written: Sequence[SlotResult], results: list[Any]) -> None:
    name, scope = plan.slot.name, run.scope
    if not name:
        return
    if plan.list_append:
        scope.append(name, results)
    else:
        scope.assign(name, results if plan.rows > 1 else results[0])
    first = all_written[0]
    if plan.save_stop_text:
        other = plan.save_stop_text if isinstance(plan.save_stop_text, str) else f"{name}_stop_text"
        scope.assign(other, first.stop_text)
    if plan.slot.logprobs is not None:
        scores = [
            {"token": score.text, "logprob": score.logprob, "top_logprobs": dict(score.others)}
            for score in first.scores
        ]
        scope.assign(f"{name}_logprobs", scores)


def _planned(run: ExecutionLine, arguments: Arguments, following: str) -> Steps:
    wanted = yield from _wanted(run, arguments)
    stop = yield from _texts(run, arguments, "stop")
    stop_regex = yield from _texts(run, arguments, "stop_regex")
    if stop is None and stop_regex is None and not (wanted.form and (wanted.form.schema or wanted.form.grammar)):
        stop = closing(run.record.tail, following)
    temperature = yield from run.number(arguments, "temperature", 0.0)
    top_p = yield from run.number(arguments, "top_p", 1.0)
    if temperature < 0:
        raise ProgramError(f"temperature must be 0 or more, not {temperature}")
    if not 0 < top_p <= 1:
        raise ProgramError(f"top_p must be above 0 and at most 1, not {top_p}")
    logprobs = yield from _logprobs(run, arguments)
    rows = yield from run.count(arguments, "n", 1, 1)
    if rows > _MOST_ROWS:
        raise ProgramError(f"n must be at most {_MOST_ROWS}, not {rows}")
    save_stop_text = yield from run.named(arguments, "save_stop_text", False)
    tools = yield from toolbox.planned(run, arguments)
    if tools and (rows > 1 or wanted.form):
        raise ProgramError("a slot with tools has no form and n=1")
    healing = yield from run.named(arguments, "token_healing")
    settings: dict[str, Any] = {}
    for name, expression in arguments.extra.items():
        settings[name] = yield from run.value(expression)
    seed = yield from run.count(arguments, "seed", None)
    slot = Slot(
        name=(yield from run.text(arguments, "name")) or "",
        temperature=temperature,
        top_p=top_p,
        max_tokens=(yield from run.count(arguments, "max_tokens", 500, 1)),
        seed=run.next_seed(seed) if temperature > 0 or seed is not None else None,
        stop=stop or (),
        stop_regex=stop_regex or (),
        form=wanted.form,
        logprobs=logprobs,
        token_healing=None if healing is None else bool(healing),
        following=following,
        retries=(yield from run.count(arguments, "retries", run.shared.limits.retries)),
        settings=settings,
        given=frozenset(arguments.values),
    )
    return _Plan(
        slot,
        wanted,
        rows,
        (yield from run.flag(arguments, "list_append", False)),
        save_stop_text if isinstance(save_stop_text, str) else bool(save_stop_text),
        (yield from run.named(arguments, "stream")) is not False,
        tools,
    )


def _logprobs(run: ExecutionLine, arguments: Arguments) -> Steps:
    value = yield from run.named(arguments, "logprobs")
    if value is None or value is False:
        return None
    if value is True:
        return 0
    return (yield from run.count(arguments, "logprobs", None))


def _wanted(run: ExecutionLine, arguments: Arguments) -> Steps:
    given: dict[str, Any] = {}
    for name in forms.form_parameters():
        expression = arguments.values.get(name)
        if expression is None:
            continue
        value: Any
        if name == "type" and isinstance(expression, Name) and expression.name not in run.scope:
            value = expression.name
        else:
            value = yield from run.value(expression)
        if value is not None:
            given[name] = value
    return forms.wanted(given)


def _texts(run: ExecutionLine, arguments: Arguments, name: str) -> Steps:
    value = yield from run.named(arguments, name)
    if value is None:
        return None
    if value is False:  # nothing stops it, not even the quote that follows
        return ()
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) and one for one in found):
        raise ProgramError(f"{name} must be a text or a list of texts, none of them empty")
    if name == "stop_regex":
        for one in found:
            try:
                re.compile(one)
            except re.error as error:
                raise ProgramError(f"stop_regex {one!r} cannot be read: {error}") from error
    return tuple(found)


def closing(before: str, following: str) -> tuple[str, ...]:
    """The closing quote or XML tag around a slot, which ends it.

    >>> closing('name: "', '", age'), closing("<b>", "</b>"), closing("a", "b")
    (('"',), ('</b>',), ())
    """
    for quote in _QUOTES:
        if before.endswith(quote) and following.startswith(quote):
            return (quote,)
    if (match := _TAG.search(before)) and following.lstrip().startswith(f"</{match[1]}>"):
        return (f"</{match[1]}>",)
    return ()
