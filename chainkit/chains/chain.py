"""A chain of any Runnables, functions and dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, overload

from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_core.runnables import base as core
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.passthrough import RunnableAssign

from chainkit.base import opening
from chainkit.base.hiding import hides_given_keys
from chainkit.prompts.sequence import RunnableSequence

Part: TypeAlias = Runnable[Any, Any] | Callable[..., Any] | Mapping[str, Any]


@overload
def chain(*steps: Part | str, name: str | None = None) -> RunnableSequence[Any, Any]: ...


@overload
def chain(**named: Part) -> RunnableSequence[Any, Any]: ...


@hides_given_keys
def chain(*steps: Part | str, name: Any = None, **named: Part) -> RunnableSequence[Any, Any]:
    """Steps one after the other, run without langchain-core's run managers while nobody listens.

    Args:
        steps: Runnables, functions, dictionaries of them, and specs of models, such as "openai:gpt-4o-mini"; each gets
            what the one before it gave.
        name: What tracers call the chain.
        named: Steps by name instead. Each gets a dictionary of the inputs and of the answers of the steps before
            it, and the chain gives that dictionary with all answers.

    Raises:
        ValueError: There are no steps, or both kinds, or a step is called `name`.
        TypeError: A step is nothing that can be run.
        SpecError: A step is a string that names no model; a prompt is `chainkit.prompt(text)`.

    >>> shout = chain(str.strip, str.upper)
    >>> shout.invoke(" hello ")
    'HELLO'
    >>> chain(twice=lambda x: x["n"] * 2, answer=lambda x: x["twice"] + x["n"]).invoke({"n": 7})
    {'n': 7, 'twice': 14, 'answer': 21}
    """
    if name is not None and not isinstance(name, str):
        raise ValueError("name=... is the name of the chain; a step needs another one")
    if bool(steps) == bool(named):
        raise ValueError("chain(...) takes either steps, chain(a, b), or named steps, chain(first=a, second=b)")
    opened: list[Any] = [opening.answering(step) for step in steps]
    parts: list[Any] = opened or [_assigned(key, step) for key, step in named.items()]
    # A sequence of langchain-core needs two steps.
    alone = len(parts) == 1 and not isinstance(coerce_to_runnable(parts[0]), core.RunnableSequence)
    return RunnableSequence(*([RunnablePassthrough(), *parts] if alone else parts), name=name)


def _assigned(key: str, step: Part) -> RunnableAssign:
    return RunnablePassthrough.assign(**{key: step})
