"""`each` and `geneach`: rounds over a list that is given, and over one that the model writes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainkit.base.errors import ProgramError
from chainkit.programs.language.syntax import Body, Each, Gen, GenEach, Literal, Text
from chainkit.programs.model import forms
from chainkit.programs.model.protocol import Generate, Slot, SlotResult
from chainkit.programs.model.record import SlotBegun, SlotDone
from chainkit.programs.run.line import ExecutionLine
from chainkit.programs.run.shared import Leave, Skip
from chainkit.programs.run.steps import Ask, Steps, Together, beside

_LONGEST_PROBE = 20  # tokens
_IN_LOOP = re.compile(r"\s*\S{1,12}")


def each(run: ExecutionLine, node: Each) -> Steps:
    """Go through a list, a dict, a text or a range."""
    given = yield from run.named(node.arguments, "list")
    rounds = _rounds(given)
    hidden = yield from run.flag(node.arguments, "hidden", False)
    parallel = yield from run.flag(node.arguments, "parallel", False)
    name = (yield from run.text(node.arguments, "item_name")) or "this"
    if not name.isidentifier():
        raise ProgramError(f"item_name must be a name, not {name!r}")
    start = yield from run.count(node.arguments, "start_index", 0)
    join = (yield from run.text(node.arguments, "join")) or ""
    chosen = list(enumerate(rounds))[start:]
    if not chosen:
        yield from run.inside().run(node.otherwise)
        return
    places = [
        {"@index": index, "@first": index == start, "@last": index == len(rounds) - 1, "@key": key, name: item}
        for index, (key, item) in chosen
    ]
    way = _at_once if parallel else _in_turn
    yield from way(run, node, places, hidden, "" if hidden else join)


def _rounds(given: Any) -> list[tuple[Any, Any]]:
    if isinstance(given, Mapping):
        return list(given.items())
    if isinstance(given, Sequence | range | set | frozenset):
        return list(enumerate(given))
    raise ProgramError(f"each goes through a list, dict, text or range, not through a {type(given).__name__}")


def _in_turn(run: ExecutionLine, node: Each, places: list[dict[str, Any]], hidden: bool, join: str) -> Steps:
    for number, place in enumerate(places):
        run.shared.round()
        if number:
            yield from run.write(join, "template")
        inner = run.inside(**place)
        try:
            yield from inner.covered(node.body, "", hidden)
        except Skip:
            continue
        except Leave:
            return


def _at_once(run: ExecutionLine, node: Each, places: list[dict[str, Any]], hidden: bool, join: str) -> Steps:
    branches: list[ExecutionLine] = []
    try:
        for number, place in enumerate(places):
            run.shared.round()
            branch = run.branch(number)
            branch.scope = branch.scope.within(place)
            branch.hidden += hidden
            branches.append(branch)
        yield Together([beside(branch.path, _round(branch, node.body)) for branch in branches])
        for number, branch in enumerate(branches):
            if number:
                yield from run.write(join, "template")
            yield from run.join(branch, hidden=hidden)
    finally:
        for branch in branches:
            branch.context.release()


def _round(branch: ExecutionLine, body: Body) -> Steps:
    try:
        yield from branch.run(body)
    except Skip:
        return
    except Leave:
        raise ProgramError("break cannot end rounds that run at the same time") from None


@dataclass(frozen=True)
class _Plan:
    """The parameters of `geneach`."""

    name: str
    stop: str | bool | None
    most: int
    least: int
    exactly: bool
    join: str


def gen_each(run: ExecutionLine, node: GenEach, following: str) -> Steps:
    """The model writes a list, item by item."""
    arguments = node.arguments
    exact = yield from run.count(arguments, "num_iterations", None)
    most = yield from run.count(arguments, "max_iterations", 100)
    least = yield from run.count(arguments, "min_iterations", 0)
    stop = yield from run.named(arguments, "stop")
    if stop is not None and stop is not False and (not isinstance(stop, str) or not stop):
        raise ProgramError("stop of geneach must be a text that is not empty, or False")
    if exact is None and least > most:
        raise ProgramError(f"min_iterations is {least} and max_iterations is {most}")
    if stop is None and (match := _IN_LOOP.match(following)):
        stop = match[0].strip()
    name = yield from run.text(arguments, "list_name")
    join = (yield from run.text(arguments, "join")) or ""
    plan = _Plan(name, stop, most if exact is None else exact, least, exact is not None, join)
    hidden = yield from run.flag(arguments, "hidden", False)
    single = yield from run.flag(arguments, "single_call", False)
    run.scope.assign(name, [])
    inner, mark, tail = run.inside(), run.context.mark(), run.record.tail
    inner.hidden += hidden
    try:
        if single:
            yield from _single(inner, node, plan, following)
        else:
            yield from _one_by_one(inner, node, plan)
    finally:
        if hidden:
            run.context.rewind(mark)
            run.record.tail = tail


def _one_by_one(run: ExecutionLine, node: GenEach, plan: _Plan) -> Steps:
    for index in range(plan.most):
        run.shared.round()
        if index and not plan.exactly and index >= plan.least and plan.stop is not False:
            ended = yield from _ended(run, plan)
            if ended:
                return
        if index:
            yield from run.write(plan.join, "template")
        names: dict[str, Any] = {"this": {}, "@index": index, "@first": index == 0}
        if plan.exactly:
            names["@last"] = index == plan.most - 1
        inner = run.inside(**names)
        left = False
        try:
            yield from inner.run(node.body)
        except Skip:
            pass
        except Leave:
            left = True
        if not left or inner.scope["this"] != {}:
            run.scope.append(plan.name, [inner.scope["this"]])
        if left:
            return


def _ended(run: ExecutionLine, plan: _Plan) -> Steps:
    """Whether the model would end the list here: it writes a few tokens, which are then forgotten."""
    stop = (plan.stop,) if isinstance(plan.stop, str) else ()
    length = min(len(stop[0]) + 2, _LONGEST_PROBE) if stop else 2
    mark = run.context.mark()
    slot = Slot(name=plan.name, max_tokens=length, stop=stop, given=frozenset({"max_tokens"}))
    written: SlotResult = yield Ask(Generate(run.context, slot))
    run.context.rewind(mark)
    run.shared.check()
    return written.finish != "length" and not written.text.strip()


def _single(run: ExecutionLine, node: GenEach, plan: _Plan, following: str) -> Steps:
    """The whole list in one slot, taken apart afterwards."""
    arguments = node.arguments
    pattern, names = _pattern(run, node.body, plan.join)
    temperature = yield from run.number(arguments, "single_call_temperature", 0.0)
    slot = Slot(
        name=plan.name,
        temperature=temperature,
        top_p=(yield from run.number(arguments, "single_call_top_p", 1.0)),
        max_tokens=(yield from run.count(arguments, "single_call_max_tokens", 500, 1)),
        seed=run.next_seed(None) if temperature > 0 else None,
        stop=(plan.stop,) if isinstance(plan.stop, str) else (),
        following=following,
        given=frozenset({"max_tokens", "temperature"} if temperature else {"max_tokens"}),
    )
    yield SlotBegun(plan.name)
    # a model that cannot go on inside a message writes the text before its first item as well
    leads = run.shared.abilities.continues and isinstance(node.body[0], Text)
    lead = node.body[0].text if leads and isinstance(node.body[0], Text) else ""
    yield from run.write(lead, "template")
    begun = len(run.record.spans)
    written: SlotResult = yield Ask(Generate(run.context, slot), lambda piece: run.note(piece.text, "model", plan.name))
    yield from run.add(written.text[len(run.text_since(begun)) :], "model", plan.name)
    items: list[Any] = []
    for match in pattern.finditer(lead + written.text + plan.join):
        if len(items) < plan.most:
            items.append(_item(match, names))
    run.scope.assign(plan.name, items)
    yield SlotDone(plan.name, written.text, items, written.finish, written.detail, written.scores)
    run.shared.check()


def _pattern(run: ExecutionLine, body: Body, join: str) -> tuple[re.Pattern[str], list[str]]:
    """The pattern of an item: the literal text of the body, and a group for each slot."""
    parts: list[str] = []
    names: list[str] = []
    for number, node in enumerate(body):
        if isinstance(node, Text):
            parts.append(re.escape(node.text))
            continue
        name = node.arguments.values.get("name") if isinstance(node, Gen) else None
        if not isinstance(name, Literal) or not re.fullmatch(r"this(\.\w+)?", str(name.value)):
            raise ProgramError("with single_call the body is text and {{gen 'this'}} or {{gen 'this.name'}}").at(
                run.source, node.at
            )
        given = node.arguments.values.get("pattern") if isinstance(node, Gen) else None
        own = given.value if isinstance(given, Literal) else None
        last = number == len(body) - 1
        until_end = rf"(.+?)(?={re.escape(join)}|\Z)" if join else r"([^\n]+)"
        parts.append(f"({_checked(own)})" if own else until_end if last else r"(.*?)")
        names.append(str(name.value))
    if not names:
        raise ProgramError("with single_call the body needs a {{gen 'this'}}")
    return re.compile("".join(parts), re.DOTALL), names


def _checked(pattern: Any) -> str:
    forms.compiled(pattern)
    return re.sub(r"\((?!\?)", "(?:", pattern)


def _item(match: re.Match[str], names: Sequence[str]) -> Any:
    found = dict(zip(names, match.groups(), strict=True))
    if "this" in found:
        return found["this"]
    return {name.removeprefix("this."): text for name, text in found.items()}
