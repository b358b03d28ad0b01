"""Runs that are going on, alone or side by side."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import patch_config

from chainkit.base.errors import UnsupportedProgram
from chainkit.programs.model.observed import observer
from chainkit.programs.model.protocol import Context, ProgramModel, Tally
from chainkit.programs.model.record import Event
from chainkit.programs.run.checks import TemplateChecks
from chainkit.programs.run.driver import Driver, RunTask, replayed
from chainkit.programs.run.executor import Executor
from chainkit.programs.run.run import Executable, Run, RunState
from chainkit.programs.run.scope import Scope
from chainkit.programs.run.shared import Shared
from chainkit.programs.run.values import copied


def engine_of(checks: TemplateChecks, model: Any) -> ProgramModel:
    """The runner of a program on a model.

    Raises:
        UnsupportedProgram: The model cannot do what the program needs.
        TypeError: It is not a model.
    """
    engine = program_model(model)
    checks.abilities(engine.abilities)
    return engine


class Live:
    """A run that is going on."""

    def __init__(
        self,
        program: Executable,
        given: Mapping[str, Any],
        log: Sequence[Any] = (),
        more: Mapping[str, Any] | None = None,
        *,
        config: RunnableConfig | None = None,
        engine: ProgramModel | None = None,
    ) -> None:
        self.program, self.given = program, copied(dict(given))
        program.checks.variables(self.given)
        self.engine = engine or program.runs_on or _no_model()
        self.tally = Tally()
        self.began = time.monotonic()
        self.seconds: float | None = None
        roles = program.checks.roles(self.given)
        options = program.options
        self.context = _context(self.engine, self.tally, roles, config, options.soft_prompt if program.model else ...)
        self.shared = Shared(self.engine.abilities, options.limits, self.tally, options.seed, options.shell)
        self.scope = Scope(copied(self.given))
        self.executor = Executor(self.shared, self.context, self.scope, program.template.source)
        replay = replayed(list(log), more) if more is not None else ()
        self.task = RunTask(self.executor.run(program.template.body), check=self.shared.check)
        self.task.replay.extend(replay)
        self.task.observer = observer(config, self.shared.abilities, self.tally)

    def run(self, events: tuple[Event, ...] = ()) -> Run:
        """The run in its current state."""
        task = self.task
        state = RunState(
            self.program,
            self.given,
            list(task.log),
            self.executor.record.spans,
            len(self.executor.record.spans),
            dict(self.scope.variables),
            replace(self.tally),
            time.monotonic() - self.began if self.seconds is None else self.seconds,
            task.waiting,
            task.done and task.waiting is None,
            dict(self.shared.finishes),
            events,
        )
        return Run(state)

    def end(self) -> None:
        """The run is over; its place in the model's memory is free for others."""
        if self.seconds is None:
            self.seconds = time.monotonic() - self.began
            self.context.release()

    def result(self) -> Run:
        """The run at its end.

        Raises:
            ProgramError: It has failed.
        """
        if self.task.error is not None:
            raise self.task.error
        return self.run()

    def outcome(self) -> Run | Exception:
        """The run at its end, or its error."""
        if isinstance(self.task.error, Exception):
            return self.task.error
        return self.run()

    def completed(self, events: Iterator[Any]) -> Run:
        """The finished run, after consuming its events."""
        for _ in events:
            pass
        return self.result()


def check_soft_prompt(engine: ProgramModel, soft_prompt: Any) -> None:
    """Refuse a soft prompt on a model that takes none.

    Raises:
        UnsupportedProgram: The model reads tokens only.
    """
    if soft_prompt is not ... and soft_prompt is not None and not engine.abilities.soft_prompts:
        raise UnsupportedProgram(f"soft prompts run on hf: and gguf: models, not on {engine.abilities.name}")


def _context(
    engine: ProgramModel, tally: Tally, roles: bool, config: RunnableConfig | None, soft_prompt: Any
) -> Context:
    check_soft_prompt(engine, soft_prompt)
    if soft_prompt is ... or not engine.abilities.soft_prompts:
        return engine.context(tally, roles=roles, config=config)
    steered: Any = engine
    return steered.context(tally, roles=roles, config=config, soft_prompt=soft_prompt)


def runs(
    lives: Sequence[Live], *, streaming: bool = False, rows: int | None = None
) -> Iterator[tuple[RunTask, Event | None]]:
    """Go on with runs until all are over, telling what happens in them; an event of None is the end of one."""
    if not lives:
        return
    by_task = {id(live.task): live for live in lives}
    try:
        with closing(_driver(lives, streaming, rows).run()) as events:
            for task, event in events:
                if event is None:
                    by_task[id(task)].end()
                yield task, event
    finally:
        for live in lives:
            live.end()


async def aruns(
    lives: Sequence[Live], *, streaming: bool = False, rows: int | None = None
) -> AsyncIterator[tuple[RunTask, Event | None]]:
    """As `runs`, without blocking the event loop."""
    if not lives:
        return
    by_task = {id(live.task): live for live in lives}
    try:
        async with aclosing(_driver(lives, streaming, rows).arun()) as events:
            async for task, event in events:
                if event is None:
                    by_task[id(task)].end()
                yield task, event
    finally:
        for live in lives:
            live.end()


def _driver(lives: Sequence[Live], streaming: bool, rows: int | None) -> Driver:
    driver = Driver(lives[0].engine.runner(streaming=streaming, rows=rows))
    for live in lives:
        driver.add(live.task)
    return driver


def rows_of(configs: Sequence[RunnableConfig]) -> int | None:
    """How many slots of a batch a hosted model may fill at once."""
    return configs[0].get("max_concurrency") if configs else None


def child(config: RunnableConfig, run_manager: Any) -> RunnableConfig:
    """The config for what happens inside a run."""
    return patch_config(config, callbacks=run_manager.get_child())


def _no_model() -> ProgramModel:
    from chainkit.programs.model.texts import NoProgramModel

    return NoProgramModel()


def program_model(model: Any) -> ProgramModel:
    """The runner of programs on a model.

    Args:
        model: A `ProgramModel`, a local model of chainkit, or any chat model or language model of langchain-core.

    Raises:
        TypeError: It is none of these.
    """
    from langchain_core.language_models import BaseChatModel, BaseLLM

    if hasattr(model, "abilities") and hasattr(model, "runner"):
        return model
    if _is_local(model):
        from chainkit.programs.model.local import LocalProgramModel

        return LocalProgramModel(model)
    if isinstance(model, BaseChatModel):
        from chainkit.programs.model.chats import ChatProgramModel

        return ChatProgramModel(model)
    if isinstance(model, BaseLLM):
        from chainkit.programs.model.texts import TextProgramModel

        return TextProgramModel(model)
    raise TypeError(f"a program runs on a language model or a chat model, not on {type(model).__name__}")


def _is_local(model: Any) -> bool:
    from chainkit.local.completion import LocalLLM

    if isinstance(model, LocalLLM):
        return True
    try:
        from chainkit.local.chat import LocalChat
    except ImportError:  # without jinja2 there can be no local chat model
        return False
    return isinstance(model, LocalChat)
