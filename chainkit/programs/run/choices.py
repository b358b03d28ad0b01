"""`select`: the model chooses one of several texts."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from chainkit.base.errors import ProgramError, UnsupportedProgram, nearest
from chainkit.programs.language.syntax import Arguments, Body, Select, Show, Text
from chainkit.programs.model.protocol import Form, Generate, Method, OptionScores, Score, Slot, SlotResult
from chainkit.programs.model.record import SlotBegun, SlotDone
from chainkit.programs.run.line import ExecutionLine
from chainkit.programs.run.steps import Ask, Steps
from chainkit.programs.run.values import shown

_METHODS: tuple[Method, ...] = ("joint", "greedy", "normalised", "unconditional")


def select(run: ExecutionLine, node: Select, following: str) -> Steps:
    """The model chooses; gives the chosen option."""
    hidden = yield from run.flag(node.arguments, "hidden", False)
    if not hidden:
        return (yield from _selected(run, node, following))
    inner, mark, tail = run.inside(), run.context.mark(), run.record.tail
    inner.hidden += 1
    try:
        return (yield from _selected(inner, node, following))
    finally:
        run.context.rewind(mark)
        run.record.tail = tail


def _selected(run: ExecutionLine, node: Select, following: str) -> Steps:
    arguments = node.arguments
    name = (yield from run.text(arguments, "name")) or "selected"
    options = yield from _options(run, node)
    logprobs = yield from run.text(arguments, "logprobs")
    method = yield from _method(run, arguments)
    temperature = yield from run.number(arguments, "temperature", 0.0)
    seed = yield from run.count(arguments, "seed", None)
    seed = run.next_seed(seed) if temperature > 0 or seed is not None else None
    retries = yield from run.count(arguments, "retries", run.shared.limits.retries)
    yield SlotBegun(name)
    chances: Mapping[str, float] | None = None
    texts = tuple(options)
    if len(texts) == 1:
        chosen, chances = texts[0], {texts[0]: 0.0}
        run.context.append(chosen)
    elif run.shared.abilities.scores and (method != "greedy" or logprobs):
        scored: OptionScores = yield Ask(
            Score(run.context, texts, following, "joint" if method == "greedy" else method)
        )
        chances = normalised(dict(zip(texts, scored.logprobs, strict=True)))
        if method != "greedy":
            chosen = _drawn(chances, temperature, seed)
            run.context.append(chosen)
        else:
            chosen = yield from _written(run, name, texts, following, temperature, seed, retries)
    else:
        chosen = yield from _written(run, name, texts, following, temperature, seed, retries)
    yield from run.add(chosen, "model", name)
    _store_choice(run, arguments, name, options[chosen], (yield from run.flag(arguments, "list_append", False)))
    if logprobs and chances is not None:
        run.scope.assign(logprobs, dict(chances))
    yield SlotDone(name, chosen, options[chosen], "complete")
    run.shared.check()
    return options[chosen]


def _written(
    run: ExecutionLine,
    name: str,
    texts: tuple[str, ...],
    following: str,
    temperature: float,
    seed: int | None,
    retries: int,
) -> Steps:
    given = frozenset({"temperature"}) if temperature else frozenset[str]()
    slot = Slot(
        name=name,
        temperature=temperature,
        seed=seed,
        form=Form(options=texts),
        following=following,
        retries=retries,
        given=given,
    )
    written: SlotResult = yield Ask(Generate(run.context, slot))
    if written.text not in texts:
        raise ProgramError(f"the model's text {written.text[:80]!r} is none of the options: {written.detail}")
    return written.text


def _store_choice(run: ExecutionLine, arguments: Arguments, name: str, value: Any, list_append: bool) -> None:
    if list_append:
        run.scope.append(name, [value])
    else:
        run.scope.assign(name, value)


def _options(run: ExecutionLine, node: Select) -> Steps:
    """The texts of the options, and what the variable holds for each."""
    given: Any
    if node.options:
        given = []
        for body in node.options:
            given.append((yield from _option(run, body)))
    else:
        given = yield from run.named(node.arguments, "options")
    if isinstance(given, str | Mapping) or not isinstance(given, list | tuple):
        raise ProgramError(f"options must be a list, not a {type(given).__name__}")
    options = {shown(option): option for option in given}
    if not options:
        raise ProgramError("select needs at least one option")
    if "" in options:
        raise ProgramError("an option of select is empty; a model cannot write nothing")
    return options


def _option(run: ExecutionLine, body: Body) -> Steps:
    parts: list[str] = []
    for node in body:
        if isinstance(node, Text):
            parts.append(node.text)
        elif isinstance(node, Show):
            value = yield from run.value(node.value)
            parts.append(shown(value))
    return "".join(parts)


def _method(run: ExecutionLine, arguments: Arguments) -> Steps:
    method = yield from run.text(arguments, "method", "joint")
    if method not in _METHODS:
        hint = nearest(method, _METHODS)
        advice = f"did you mean '{hint}'?" if hint else f"methods: {', '.join(_METHODS)}"
        raise ProgramError(f"select has no method '{method}'; {advice}")
    if "method" in arguments.values and method != "greedy" and not run.shared.abilities.scores:
        raise UnsupportedProgram(f"{run.shared.abilities.name} cannot compare options by {method} score")
    return method


def normalised(scores: Mapping[str, float]) -> dict[str, float]:
    """Log-probabilities whose probabilities have the sum 1.

    >>> round(sum(math.exp(one) for one in normalised({"a": -700.0, "b": -701.0}).values()), 9)
    1.0
    """
    top = max(scores.values())
    if top == -math.inf:
        return dict.fromkeys(scores, -math.log(len(scores)))
    total = top + math.log(math.fsum(math.exp(score - top) for score in scores.values()))
    return {text: score - total for text, score in scores.items()}


def _drawn(chances: Mapping[str, float], temperature: float, seed: int | None) -> str:
    best = max(chances, key=lambda text: chances[text])
    if temperature == 0:
        return best
    top = chances[best]
    weights = [math.exp((score - top) / temperature) for score in chances.values()]
    return random.Random(seed).choices(list(chances), weights)[0]  # noqa: S311 - no secret
