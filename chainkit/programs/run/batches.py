"""Batched runs of one program: until all are finished, or streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import (
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    get_config_list,
)

from chainkit.base.errors import ChainkitError
from chainkit.programs.run.live import Live, aruns, check_soft_prompt, child, rows_of, runs
from chainkit.programs.run.run import Executable, Run

Config = RunnableConfig | list[RunnableConfig] | None
RunUpdate = tuple[int, Run | Exception]


def completed(
    program: Executable,
    inputs: Sequence[Any],
    managers: Sequence[Any],
    configs: Sequence[RunnableConfig],
    soft_prompt: Any,
) -> list[Run | Exception]:
    """The runs, or their errors.

    Args:
        program: The program to run.
        inputs: As `Program.invoke` takes them.
        managers: Of the callbacks of each.
        configs: Of each; `max_concurrency` bounds how many slots a hosted model fills at once.
        soft_prompt: One for all, or a list with one for each; `...` leaves the program's own.

    Raises:
        ValueError: There are more or fewer soft prompts than inputs.
        UnsupportedProgram: The model takes no soft prompts.
    """
    lives, results = _begun(program, inputs, managers, configs, soft_prompt)
    for _ in runs([live for live in lives if live], rows=rows_of(configs)):
        pass
    return [live.outcome() if live else result for live, result in zip(lives, results, strict=True)]


async def acompleted(
    program: Executable,
    inputs: Sequence[Any],
    managers: Sequence[Any],
    configs: Sequence[RunnableConfig],
    soft_prompt: Any,
) -> list[Run | Exception]:
    """As `completed`, without blocking the event loop."""
    lives, results = _begun(program, inputs, managers, configs, soft_prompt)
    async for _ in aruns([live for live in lives if live], rows=rows_of(configs)):
        pass
    return [live.outcome() if live else result for live, result in zip(lives, results, strict=True)]


def streamed(program: Executable, inputs: Sequence[Any], config: Config, soft_prompt: Any) -> Iterator[RunUpdate]:
    """The place of a run and the run as it grows, or at its end its error."""
    configs = get_config_list(config, len(inputs))
    managers = [
        get_callback_manager_for_config(one).on_chain_start(None, given, **_named(program, one))
        for one, given in zip(configs, inputs, strict=True)
    ]
    lives, errors = _begun(program, inputs, managers, configs, soft_prompt)
    places = {id(live.task): place for place, live in enumerate(lives) if live}
    for place, error in enumerate(errors):
        if error is not None:
            managers[place].on_chain_error(error)
            yield place, error
    going: Any = runs([live for live in lives if live], streaming=True, rows=rows_of(configs))
    with closing(going) as events:
        for task, event in events:
            place = places[id(task)]
            live: Any = lives[place]
            if event is not None:
                yield place, live.run((event,))
                continue
            outcome = live.outcome()
            if isinstance(outcome, Exception):
                managers[place].on_chain_error(outcome)
            else:
                managers[place].on_chain_end(outcome)
            yield place, outcome


async def astreamed(
    program: Executable, inputs: Sequence[Any], config: Config, soft_prompt: Any
) -> AsyncGenerator[RunUpdate, None]:
    """As `streamed`, without blocking the event loop."""
    configs = get_config_list(config, len(inputs))
    managers = [
        await get_async_callback_manager_for_config(one).on_chain_start(None, given, **_named(program, one))
        for one, given in zip(configs, inputs, strict=True)
    ]
    lives, errors = _begun(program, inputs, managers, configs, soft_prompt)
    places = {id(live.task): place for place, live in enumerate(lives) if live}
    for place, error in enumerate(errors):
        if error is not None:
            await managers[place].on_chain_error(error)
            yield place, error
    going: Any = aruns([live for live in lives if live], streaming=True, rows=rows_of(configs))
    async with aclosing(going) as events:
        async for task, event in events:
            place = places[id(task)]
            live: Any = lives[place]
            if event is not None:
                yield place, live.run((event,))
                continue
            outcome = live.outcome()
            if isinstance(outcome, Exception):
                await managers[place].on_chain_error(outcome)
            else:
                await managers[place].on_chain_end(outcome)
            yield place, outcome


def _begun(
    program: Executable,
    inputs: Sequence[Any],
    managers: Sequence[Any],
    configs: Sequence[RunnableConfig],
    soft_prompt: Any,
) -> tuple[list[Live | None], list[Any]]:
    """The runs of a batch; where one cannot begin, its error."""
    programs = [program.with_options(soft_prompt=one) for one in _one_each(soft_prompt, len(inputs))]
    engine = program.runs_on
    if engine is not None:
        for one in programs:
            check_soft_prompt(engine, one.options.soft_prompt)
    lives: list[Live | None] = []
    errors: list[Any] = []
    for one, given, manager, config in zip(programs, inputs, managers, configs, strict=True):
        try:
            live = Live(one, program.variables_for(given), config=child(config, manager), engine=engine)
        except (ChainkitError, TypeError) as error:
            lives.append(None)
            errors.append(error)
        else:
            engine = live.engine
            lives.append(live)
            errors.append(None)
    return lives, errors


def _one_each(soft_prompt: Any, count: int) -> list[Any]:
    if not isinstance(soft_prompt, list | tuple):
        return [soft_prompt] * count
    if len(soft_prompt) != count:
        raise ValueError(f"soft_prompt names {len(soft_prompt)} for {count} runs; give one, or one for each")
    return list(soft_prompt)


def _named(program: Executable, config: RunnableConfig) -> dict[str, Any]:
    return {"name": config.get("run_name") or program.get_name(), "run_id": config.pop("run_id", None)}
