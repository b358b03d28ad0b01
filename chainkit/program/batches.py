"""Batches told while they are written."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import (
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    get_config_list,
)

from chainkit.program.live import aruns, rows_of, runs
from chainkit.program.run import Run

if TYPE_CHECKING:
    from chainkit.program.runnable import Program

Config = RunnableConfig | list[RunnableConfig] | None
Told = tuple[int, Run | Exception]


def streamed(program: Program, inputs: Sequence[Any], config: Config, soft_prompt: Any) -> Iterator[Told]:
    """The place of a run and the run as it grows, or at its end its error."""
    configs = get_config_list(config, len(inputs))
    managers = [
        get_callback_manager_for_config(one).on_chain_start(None, given, **_named(program, one))
        for one, given in zip(configs, inputs, strict=True)
    ]
    lives, errors = program.begun(inputs, managers, configs, soft_prompt)
    places = {id(live.task): place for place, live in enumerate(lives) if live}
    for place, error in enumerate(errors):
        if error is not None:
            managers[place].on_chain_error(error)
            yield place, error
    going: Any = runs([live for live in lives if live], streaming=True, rows=rows_of(configs))
    with closing(going) as told:
        for task, event in told:
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
    program: Program, inputs: Sequence[Any], config: Config, soft_prompt: Any
) -> AsyncGenerator[Told, None]:
    """As `streamed`, without blocking the event loop."""
    configs = get_config_list(config, len(inputs))
    managers = [
        await get_async_callback_manager_for_config(one).on_chain_start(None, given, **_named(program, one))
        for one, given in zip(configs, inputs, strict=True)
    ]
    lives, errors = program.begun(inputs, managers, configs, soft_prompt)
    places = {id(live.task): place for place, live in enumerate(lives) if live}
    for place, error in enumerate(errors):
        if error is not None:
            await managers[place].on_chain_error(error)
            yield place, error
    going: Any = aruns([live for live in lives if live], streaming=True, rows=rows_of(configs))
    async with aclosing(going) as told:
        async for task, event in told:
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


def _named(program: Program, config: RunnableConfig) -> dict[str, Any]:
    return {"name": config.get("run_name") or program.get_name(), "run_id": config.pop("run_id", None)}
